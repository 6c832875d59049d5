"""What is read out of a network is what it computed, and the network stays as it was."""

import numpy as np
import paddle
import pytest

from lenet_paddle import MODELS, build_model, normalise
from lenet_paddle.explain import probe
from lenet_paddle.explain.figures import render


@pytest.fixture
def batch(rng):
    return normalise(rng.integers(0, 256, (4, 28, 28)).astype(np.uint8))


@pytest.fixture
def network():
    paddle.seed(0)
    return build_model("lenet_subclass")


def test_activations_are_the_layers_outputs(network, batch):
    found = probe.compute_activations(network, batch)
    maps = paddle.to_tensor(batch)
    for index, layer in enumerate(network.features):
        maps = layer(maps)
        name = f"features.{index} {type(layer).__name__}"
        np.testing.assert_array_equal(found[name], maps.numpy())
    np.testing.assert_array_equal(found["fc.2 Linear"], network(paddle.to_tensor(batch)).numpy())


def test_activations_survive_a_layer_that_works_in_place(batch):
    class InPlace(paddle.nn.Layer):
        def forward(self, x):
            return x.add_(paddle.ones_like(x))

    network = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(784, 3), InPlace())
    found = probe.compute_activations(network, batch)
    np.testing.assert_allclose(found["2 InPlace"], found["1 Linear"] + 1)


def test_gradients_are_those_of_finite_differences(network, batch):
    labels = np.array([1, 2, 3, 4])
    bias = network.fc[2].bias
    gradient = probe.compute_gradients(network, batch, labels)["fc.2.bias"]

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
    found = probe.compute_gradients(network, batch, np.zeros(4, np.int64))
    assert list(found) == list(before)
    for name, parameter in network.named_parameters():
        assert parameter.grad is None
        np.testing.assert_array_equal(parameter.numpy(), before[name])


def test_features_times_the_last_layer_are_the_logits(network, batch):
    features = probe.compute_features(network, batch)
    last = network.fc[2]
    logits = features @ last.weight.numpy() + last.bias.numpy()
    expected = network(paddle.to_tensor(batch)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert probe.compute_features(paddle.nn.Sequential(paddle.nn.Flatten()), batch) is None


def test_no_hook_is_left_behind(network, batch):
    probe.compute_activations(network, batch)
    probe.compute_features(network, batch)
    for layer in network.sublayers(include_self=True):
        assert not layer._forward_post_hooks and not layer._forward_pre_hooks


def test_a_twin_is_equal_and_shares_nothing(network, batch):
    generator = paddle.base.unique_name.generator
    counters = dict(generator.ids)
    copy = probe.twin(network)
    assert dict(generator.ids) == counters
    expected = network(paddle.to_tensor(batch)).numpy()
    np.testing.assert_array_equal(copy(paddle.to_tensor(batch)).numpy(), expected)
    for parameter in copy.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    np.testing.assert_array_equal(network(paddle.to_tensor(batch)).numpy(), expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_networks_description_counts_all_parameters(name):
    network, size = build_model(name), MODELS[name][1]
    *layers, total = probe.describe_layers(network, np.zeros((1, 1, size, size), np.float32))
    counts = [line.split(", ")[1].split()[0].replace(",", "") for line in layers if ", " in line]
    expected = sum(p.size for p in network.parameters())
    assert sum(map(int, counts)) == expected and f"{expected:,}" in total


def test_the_first_filters_are_kernels_or_a_units_weights_as_a_picture(network):
    np.testing.assert_array_equal(
        probe.first_filters(network, 28), network.features[0].weight.numpy()[:, 0]
    )
    mlp = build_model("mlp")
    filters = probe.first_filters(mlp, 28)
    assert filters.shape == (512, 28, 28)
    assert filters[5, 3, 7] == mlp[1].weight.numpy()[3 * 28 + 7, 5]
    assert probe.first_filters(mlp, 30) is None  # they see no picture of that size


def test_maps_are_drawn_for_each_layer_that_has_any(network, batch):
    image = np.zeros((28, 28), np.uint8)
    figure = probe.plot_maps(image, probe.compute_activations(network, batch[:1]), "epoch 1")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["epoch 1", "features.0 Conv2D: 6 x 28 x 28"] and len(titles) == 7
    assert render(figure).std() > 0
    mlp = probe.compute_activations(build_model("mlp"), batch[:1])
    assert probe.plot_maps(image, mlp) is None


def test_filters_have_one_scale_centred_at_0(rng):
    figure = probe.plot_filters(rng.normal(size=(40, 3, 3)))
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    limits = {image.get_clim() for image in images}
    assert len(images) == 32 and len(limits) == 1
    low, high = limits.pop()
    assert low == -high
