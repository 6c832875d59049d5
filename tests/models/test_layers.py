"""The faster layers against Paddle's."""

import copy

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


# ---- what else a network of a library's user may do --------------------------------------------


def small_network():
    paddle.seed(0)
    return nn.Sequential(
        *(nn.Conv2D(1, 6, 3), nn.ReLU(), nn.MaxPool2D(2)),
        *(nn.Flatten(), nn.Linear(54, 10), nn.Tanh()),
    )


IMAGES = paddle.to_tensor(np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype("float32"))


def test_the_default_dtype_does_not_change_the_result():
    network = small_network()
    expected = network(IMAGES).numpy()
    paddle.set_default_dtype("float64")
    try:
        with fast_layers(network):
            found = network(IMAGES)
    finally:
        paddle.set_default_dtype("float32")
    assert found.dtype == paddle.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_weights_of_another_dtype_are_refused_by_paddle_and_not_read_as_float32(dtype):
    network = nn.Sequential(nn.Linear(4, 3)).to(dtype=dtype)
    with fast_layers(network), pytest.raises((ValueError, RuntimeError), match="operator <"):
        network(paddle.ones([2, 4]))


def test_batch_normalisation_of_another_dtype_is_refused_by_paddle_too():
    network = nn.Sequential(nn.Conv2D(1, 2, 3), nn.BatchNorm2D(2))
    network[1].to(dtype="float64")
    network.eval()
    with fast_layers(network), paddle.no_grad(), pytest.raises(ValueError, match="dtype"):
        network(IMAGES)


def test_a_sequence_may_take_a_tuple_or_one_number():
    class Sum(nn.Layer):
        def forward(self, pair):
            return pair[0] + pair[1]

    network = nn.Sequential(Sum(), nn.ReLU())
    with fast_layers(network):
        assert network((IMAGES, IMAGES)).shape == IMAGES.shape
        assert network[1:](paddle.to_tensor(-1.0)).item() == 0


def test_in_evaluation_mode_gradients_are_paddles_with_all_that_it_offers():
    network = small_network()
    network.eval()
    images = paddle.to_tensor(IMAGES.numpy(), stop_gradient=False)
    [expected] = paddle.grad(network(images).sum(), images)
    with fast_layers(network):
        total = network(images).sum()
        [found] = paddle.grad(total, images, retain_graph=True)
        total.backward()  # a second time
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    np.testing.assert_array_equal(images.grad.numpy(), expected.numpy())


def test_a_layer_in_the_place_of_another_is_used_from_then_on():
    network = small_network()
    with fast_layers(network):
        network(IMAGES)
        network[5] = nn.ReLU()
        assert network(IMAGES).min() == 0
        network[4] = nn.Linear(54, 3)
        assert network(IMAGES).shape == [5, 3]


def test_a_forward_that_a_layer_has_of_its_own_is_called():
    network = small_network()
    network[5].forward = paddle.zeros_like
    with fast_layers(network):
        assert not network(IMAGES).any()


def test_a_network_can_be_copied_while_it_has_faster_layers():
    network = small_network()
    with fast_layers(network):
        expected = network(IMAGES).numpy()
        twin = copy.deepcopy(network)
        network[4].weight.set_value(paddle.zeros([54, 10]))
        np.testing.assert_array_equal(twin(IMAGES).numpy(), expected)


def test_a_layer_that_is_used_twice_gets_the_sum_of_its_gradients():
    layer = nn.Linear(7, 7)
    network = nn.Sequential(layer, nn.Tanh(), layer)
    batch = np.random.default_rng(0).standard_normal((5, 7)).astype("float32")
    _, expected = outputs_and_gradients(network, batch)
    with fast_layers(network):
        _, found = outputs_and_gradients(network, batch)
    assert_close(found, expected, 1e-5)
