"""What is read out of a network is what it computed, and the network stays as it was."""

import numpy as np
import paddle
import pytest

from lenet_paddle import build_model, normalise
from lenet_paddle.analysis import hooks


@pytest.fixture
def batch(rng):
    return normalise(rng.integers(0, 256, (4, 28, 28)).astype(np.uint8))


@pytest.fixture
def network():
    paddle.seed(0)
    return build_model("lenet_subclass")


def test_activations_are_the_layers_outputs(network, batch):
    found = hooks.layer_outputs(network, batch)
    maps = paddle.to_tensor(batch)
    for index, layer in enumerate(network.features):
        maps = layer(maps)
        np.testing.assert_array_equal(found[f"features.{index}"], maps.numpy())
    np.testing.assert_array_equal(found["fc.2"], network(paddle.to_tensor(batch)).numpy())


def test_gradients_are_those_of_finite_differences(network, batch):
    labels = np.array([1, 2, 3, 4])
    bias = network.fc[2].bias
    gradient = hooks.compute_gradients(network, batch, labels)["fc.2.bias"]

    def loss(change):
        with paddle.no_grad():
            logits = network(paddle.to_tensor(batch)) + paddle.to_tensor(change)
            return float(paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(labels)))

    steps = 1e-2 * np.eye(10, dtype=np.float32)
    numeric = [(loss(step) - loss(-step)) / 2e-2 for step in steps]
    assert gradient.shape == tuple(bias.shape)
    np.testing.assert_allclose(gradient, numeric, atol=1e-4)


def test_gradients_leave_none_in_the_network_and_move_nothing(network, batch):
    before = {name: p.numpy().copy() for name, p in network.named_parameters()}
    found = hooks.compute_gradients(network, batch, np.zeros(4, np.int64))
    assert list(found) == list(before)
    for name, parameter in network.named_parameters():
        assert parameter.grad is None
        np.testing.assert_array_equal(parameter.numpy(), before[name])


def test_no_hook_is_left_behind(network, batch):
    hooks.layer_outputs(network, batch)
    hooks.layer_inputs(network, batch, hooks.leaf_layers(network))
    for layer in network.sublayers(include_self=True):
        assert not layer._forward_post_hooks and not layer._forward_pre_hooks


def test_a_copy_is_equal_and_shares_nothing(network, batch):
    generator = paddle.base.unique_name.generator
    counters = dict(generator.ids)
    copy = hooks.copy_network(network)
    assert dict(generator.ids) == counters
    expected = network(paddle.to_tensor(batch)).numpy()
    np.testing.assert_array_equal(copy(paddle.to_tensor(batch)).numpy(), expected)
    for parameter in copy.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    np.testing.assert_array_equal(network(paddle.to_tensor(batch)).numpy(), expected)
