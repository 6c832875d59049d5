"""The faster layers against Paddle's."""

import numpy as np
import paddle
import pytest
from paddle import nn

from lenet_paddle import build_model
from lenet_paddle.kernels.library import SWITCH
from lenet_paddle.models import MODELS
from lenet_paddle.models.layers import ChainedSequential, Conv2D, LateReLU, PoolReLU, fast_layers


def outputs_and_gradients(network, batch):
    images = paddle.to_tensor(batch, stop_gradient=False)
    paddle.seed(0)  # for dropout
    logits = network(images)
    (logits * paddle.arange(logits.shape[-1], dtype="float32")).sum().backward()
    trained = {name: p for name, p in network.named_parameters() if not p.stop_gradient}
    gradients = {name: p.grad.numpy() for name, p in trained.items()}
    network.clear_gradients()
    return logits.numpy(), {**gradients, "images": images.grad.numpy()}


@pytest.fixture
def without_operators(monkeypatch):
    monkeypatch.setenv(SWITCH, "off")


def outputs_and_gradients_of_both(name, batch_size):
    """Return those of Paddle's layers, then those of the faster ones."""
    network, size = build_model(name), MODELS[name][1]
    batch = np.random.default_rng(0).standard_normal((batch_size, 1, size, size)).astype("float32")
    expected = outputs_and_gradients(network, batch)
    with fast_layers(network):
        return expected, outputs_and_gradients(network, batch)


def assert_close(values, expected, share):
    assert list(values) == list(expected)
    for key, value in values.items():
        atol = share * np.abs(expected[key]).max()
        np.testing.assert_allclose(value, expected[key], atol=atol, err_msg=key)


@pytest.mark.usefixtures("without_operators")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_without_operators_forward_is_the_same_bit_for_bit_and_gradients_to_rounding(
    name, batch_size
):
    (expected, expected_gradients), (logits, gradients) = outputs_and_gradients_of_both(
        name, batch_size
    )
    np.testing.assert_array_equal(logits, expected)
    assert_close(gradients, expected_gradients, 1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_with_operators_logits_and_gradients_are_the_same_to_rounding(name, batch_size):
    (expected, expected_gradients), (logits, gradients) = outputs_and_gradients_of_both(
        name, batch_size
    )
    assert_close({"logits": logits}, {"logits": expected}, 2e-6)
    assert_close(gradients, expected_gradients, 1e-5)


@pytest.mark.usefixtures("without_operators")
@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2},
        {"padding": 3},
        {"padding": "SAME"},
        {"padding": [1, 2]},
        {"dilation": 2},
        {"groups": 2},
    ],
    ids=str,
)
def test_every_setting_of_the_convolution_is_kept(settings):
    network = nn.Conv2D(4, 6, 3, **settings)
    batch = np.random.default_rng(0).standard_normal((3, 4, 11, 9)).astype("float32")
    expected = network(paddle.to_tensor(batch)).numpy()
    with fast_layers(network):
        assert type(network) is Conv2D
        np.testing.assert_array_equal(network(paddle.to_tensor(batch)).numpy(), expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2D(1, 2, 3, bias_attr=False),
        nn.Conv2D(1, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2D(1, 2, 3, data_format="NHWC"),
        nn.Conv1D(1, 2, 3),
        type("Own", (nn.Conv2D,), {})(1, 2, 3),
    ],
)
def test_a_convolution_that_is_not_plain_is_left_alone(layer):
    kind = type(layer)
    with fast_layers(layer):
        assert type(layer) is kind


def test_afterwards_the_network_is_what_it_was_also_after_an_error():
    network = build_model("lenet_builtin")
    names = list(network.state_dict())
    with pytest.raises(RuntimeError), fast_layers(network):
        assert list(network.state_dict()) == names
        assert type(network.features[0]) is Conv2D
        raise RuntimeError
    assert type(network.features[0]) is nn.Conv2D
    assert type(network) is paddle.vision.models.LeNet


def test_on_a_gpu_nothing_happens(monkeypatch):
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    network = build_model("lenet_builtin")
    with fast_layers(network):
        assert type(network.features[0]) is nn.Conv2D


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 1}, {"padding": 1}, {"ceil_mode": True}], ids=str
)
def test_relu_behind_pooling_is_relu_before_it_bit_for_bit_also_with_ties(settings):
    network = nn.Sequential(nn.ReLU(), nn.MaxPool2D(2, **settings))
    batch = np.random.default_rng(0).integers(-2, 3, (8, 3, 7, 7)).astype("float32")
    expected, expected_gradients = outputs_and_gradients(network, batch)
    with fast_layers(network):
        assert [type(layer) for layer in network] == [LateReLU, PoolReLU]
        values, gradients = outputs_and_gradients(network, batch)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(gradients["images"], expected_gradients["images"])
    assert [type(layer) for layer in network] == [nn.ReLU, nn.MaxPool2D]


def test_a_hook_on_the_relu_sees_the_output_of_a_relu():
    network, seen = nn.Sequential(nn.ReLU(), nn.MaxPool2D(2)), []
    with fast_layers(network):
        network[0].register_forward_post_hook(lambda layer, given, made: seen.append(made.numpy()))
        network(paddle.full([1, 1, 2, 2], -3.0))
    assert seen[0].max() == 0.0


SHARED = nn.ReLU()


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.ReLU(), nn.AvgPool2D(2)),
        nn.Sequential(nn.ReLU(), nn.MaxPool2D(2, return_mask=True)),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 4)),
        nn.Sequential(nn.LeakyReLU(), nn.MaxPool2D(2)),
        nn.LayerList([nn.ReLU(), nn.MaxPool2D(2)]),
        nn.Sequential(SHARED, nn.MaxPool2D(2), nn.Sequential(SHARED)),
        nn.Sequential(SHARED, nn.MaxPool2D(2), nn.Flatten(), SHARED),
    ],
)
def test_other_layers_keep_their_places(network):
    kinds = [type(layer) for layer in network.sublayers()]
    with fast_layers(network):
        now = [type(layer) for layer in network.sublayers()]
        assert [nn.Sequential if kind is ChainedSequential else kind for kind in now] == kinds
