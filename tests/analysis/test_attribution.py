"""Attributions against what can be worked out by hand."""

import numpy as np
import paddle
import pytest
from paddle import nn

from lenet_paddle.analysis.attribution import (
    BACKGROUND,
    cam_layer,
    compute_slopes,
    grad_cam,
    integrated_gradients,
    occlude,
)
from lenet_paddle.errors import InputError
from lenet_paddle.figures.network.saliency import explain
from lenet_paddle.models import MODELS, build_model


@pytest.fixture
def linear(rng):
    """A network that is a weighted sum of 16 pixels for each of 3 classes, and its weights."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return network, network[1].weight.numpy().T.reshape(3, 4, 4)


def random_batch(rng, count, side):
    return rng.uniform(-1, 1, (count, 1, side, side)).astype(np.float32)


def logits_of(network, batch):
    network.eval()
    return network(paddle.to_tensor(batch)).numpy()


def test_the_gradient_of_a_linear_network_is_its_weights(linear, rng):
    network, weights = linear
    labels = np.array([0, 2])
    slopes = compute_slopes(network, random_batch(rng, 2, 4), labels)
    np.testing.assert_allclose(slopes, weights[labels], rtol=1e-6)


def test_the_gradient_equals_finite_differences(rng):
    network, batch = build_model("lenet5"), random_batch(rng, 1, 32)
    slopes = compute_slopes(network, batch, np.array([3]))
    for row, col in [(0, 0), (15, 16), (20, 9)]:
        moved = np.repeat(batch, 2, axis=0)
        moved[0, 0, row, col] += 0.05
        moved[1, 0, row, col] -= 0.05
        above, below = logits_of(network, moved)[:, 3].astype(np.float64)
        assert slopes[0, row, col] == pytest.approx((above - below) / 0.1, rel=0.02, abs=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients_sum_to_the_difference_of_the_logits(name, rng):
    paddle.seed(1)
    network, side = build_model(name), MODELS[name][1]
    batch, labels = random_batch(rng, 3, side), np.array([1, 5, 9])
    black = np.full_like(batch, BACKGROUND)
    gains = (logits_of(network, batch) - logits_of(network, black))[np.arange(3), labels]
    sums = integrated_gradients(network, batch, labels).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, gains, atol=0.02 * np.abs(gains).max())


def test_integrated_gradients_of_a_linear_network_are_exact(linear, rng):
    network, weights = linear
    batch, labels = random_batch(rng, 2, 4), np.array([1, 0])
    maps = integrated_gradients(network, batch, labels, steps=3)
    np.testing.assert_allclose(maps, weights[labels] * (batch[:, 0] + 1), rtol=1e-5, atol=1e-7)


def test_grad_cam_by_hand_on_a_tiny_network(rng):
    """Maps A of a 2-channel convolution, then a dense layer: dlogit/dA is its weight."""
    network = nn.Sequential(nn.Conv2D(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    batch, labels = random_batch(rng, 2, 4), np.array([1, 0])
    maps = network[0](paddle.to_tensor(batch)).numpy()
    dense = network[2].weight.numpy().T.reshape(2, 2, 2, 2)[labels]  # (B, C, h, w)
    expected = np.zeros((2, 2, 2))
    for picture, channel in np.ndindex(2, 2):
        weight = dense[picture, channel].mean()
        expected[picture] += weight * maps[picture, channel]
    np.testing.assert_allclose(
        grad_cam(network, batch, labels, "0"), np.maximum(expected, 0), rtol=1e-4, atol=1e-7
    )


def test_grad_cam_is_not_negative_and_as_large_as_the_layers_maps(rng):
    maps = grad_cam(
        build_model("lenet_builtin"), random_batch(rng, 3, 28), np.array([0, 1, 2]), "features.4"
    )
    assert maps.shape == (3, 10, 10)
    assert maps.min() >= 0


def test_grad_cam_looks_behind_the_activation_of_the_deepest_maps():
    chosen = {name: cam_layer(build_model(name), side) for name, (_, side) in MODELS.items()}
    assert chosen == {
        "lenet5": "5",  # C5's maps are single pixels; C3's tanh
        "lenet_sequential": "4",
        "lenet_subclass": "features.4",
        "lenet_builtin": "features.4",
        "mlp": None,
        "lenet_relu": "4",
        "lenet_d2l": "4",
        "cnn_regularized": "4",
        "lenet_modern": "10",
        "lenet_deep": "13",
        "cnn_modern": "12",  # the convolution itself: pooling to one pixel follows it
    }


def test_grad_cam_names_the_layers_that_it_can_use(rng):
    with pytest.raises(InputError, match=r"'fc\.0' has no feature maps.*features\.0"):
        grad_cam(build_model("lenet_builtin"), random_batch(rng, 1, 28), np.array([0]), "fc.0")


def test_occlusion_of_a_linear_network_is_the_sum_under_the_square(linear, rng):
    network, weights = linear
    batch, labels = random_batch(rng, 2, 4), np.array([2, 1])
    maps = occlude(network, batch, labels, patch=3)
    for picture, row, col in np.ndindex(2, 4, 4):
        drop = 0.0
        for i in range(max(0, row - 1), min(4, row + 2)):
            for j in range(max(0, col - 1), min(4, col + 2)):
                drop += weights[labels[picture], i, j] * (batch[picture, 0, i, j] - BACKGROUND)
        assert maps[picture, row, col] == pytest.approx(drop, abs=1e-5)


def test_an_occluding_square_needs_a_middle(linear, rng):
    with pytest.raises(InputError, match="patch is 4"):
        occlude(linear[0], random_batch(rng, 1, 4), np.array([0]), patch=4)


def test_attributions_leave_pictures_and_weights_as_they_were(rng):
    network, batch = build_model("lenet_sequential"), random_batch(rng, 2, 28)
    before, weights = batch.copy(), [p.numpy().copy() for p in network.parameters()]
    explain(network, batch, np.array([0, 1]), "4")
    np.testing.assert_array_equal(batch, before)
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        np.testing.assert_array_equal(parameter.numpy(), weight)
        assert parameter.grad is None
