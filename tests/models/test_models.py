"""Parameters counted by hand, shapes by stage, and three LeNets with equal outputs."""

from __future__ import annotations

import importlib

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from lenet_paddle.errors import InputError
from lenet_paddle.models import MODELS, build_model, input_size

# A convolution has out * (in * k * k) weights and out biases, a linear layer in * out and out.
LENET = [
    60,  # 6 * 1 * 3 * 3 + 6
    2_416,  # 16 * 6 * 5 * 5 + 16
    48_120,  # 400 * 120 + 120
    10_164,  # 120 * 84 + 84
    850,  # 84 * 10 + 10
]
PARAMETERS = {
    "lenet5": [
        156,  # 6 * 1 * 5 * 5 + 6
        2_416,
        48_120,  # 120 * 16 * 5 * 5 + 120
        10_164,
        850,
    ],
    "lenet_sequential": LENET,
    "lenet_subclass": LENET,
    "lenet_builtin": LENET,
    "mlp": [
        401_920,  # 784 * 512 + 512
        131_328,  # 512 * 256 + 256
        2_570,  # 256 * 10 + 10
    ],
    "lenet_relu": LENET,
    "lenet_d2l": [
        156,  # 6 * 1 * 5 * 5 + 6
        2_416,
        48_120,
        10_164,
        850,
    ],
    "cnn_regularized": [
        320,  # 32 * 1 * 3 * 3 + 32
        18_496,  # 64 * 32 * 3 * 3 + 64
        204_928,  # 64 * 5 * 5 * 128 + 128
        8_256,  # 128 * 64 + 64
        650,  # 64 * 10 + 10
    ],
    "lenet_modern": [
        200,  # 8 * 1 * 5 * 5
        16,  # a scale and a shift for each map
        8_000,  # 40 * 8 * 5 * 5
        80,
        43_200,  # 120 * 40 * 3 * 3
        240,
        4_810,  # 120 * 2 * 2 * 10 + 10
    ],
    "lenet_deep": [
        400,  # 16 * 1 * 5 * 5
        32,  # a scale and a shift for each map
        5_760,  # 40 * 16 * 3 * 3
        80,
        25_920,  # 72 * 40 * 3 * 3
        144,
        25_920,  # 40 * 72 * 3 * 3
        80,
        1_610,  # 40 * 2 * 2 * 10 + 10
    ],
    "cnn_modern": [
        288,  # 32 * 1 * 3 * 3
        64,  # a scale and a shift for each map
        18_432,  # 64 * 32 * 3 * 3
        128,
        73_728,  # 128 * 64 * 3 * 3
        256,
        147_456,  # 128 * 128 * 3 * 3
        256,
        1_290,  # 128 * 10 + 10
    ],
}
LENETS = ["lenet_sequential", "lenet_subclass", "lenet_builtin"]


@pytest.fixture
def images(rng: np.random.Generator) -> paddle.Tensor:
    return paddle.to_tensor(rng.uniform(-1, 1, (3, 1, 28, 28)).astype(np.float32))


def _count(layer: paddle.nn.Layer) -> int:
    """Count the trained parameters, without the running statistics of batch normalisation."""
    trained = [parameter for parameter in layer.parameters() if not parameter.stop_gradient]
    return sum(int(np.prod(parameter.shape)) for parameter in trained)


@pytest.mark.parametrize("name", MODELS)
def test_each_layer_has_the_parameters_counted_by_hand(name: str) -> None:
    network = build_model(name)
    leaves = [layer for layer in network.sublayers() if not layer.sublayers()]
    counts = [_count(layer) for layer in leaves]
    assert [count for count in counts if count] == PARAMETERS[name]
    assert _count(network) == sum(PARAMETERS[name])


@pytest.mark.parametrize("name", MODELS)
def test_the_docstring_gives_the_number_of_parameters(name: str) -> None:
    module = importlib.import_module(f"lenet_paddle.models.{MODELS[name].module}")
    assert f"{sum(PARAMETERS[name]):,} parameters" in getattr(module, name).__doc__


def test_lenet5_has_the_maps_of_the_paper_stage_by_stage() -> None:
    maps = paddle.zeros([2, 1, 32, 32])
    shapes = []
    for layer in build_model("lenet5"):
        maps = layer(maps)
        if layer.parameters() or isinstance(layer, paddle.nn.AvgPool2D):
            shapes.append(tuple(maps.shape[1:]))
    assert shapes == [
        (6, 28, 28),  # C1
        (6, 14, 14),  # S2
        (16, 10, 10),  # C3
        (16, 5, 5),  # S4
        (120, 1, 1),  # C5
        (84,),  # F6
        (10,),
    ]


def test_lenet5_squashes_as_its_documentation_says(rng: np.random.Generator) -> None:
    network = build_model("lenet5")
    w = network.parameters()  # weight and bias of C1, C3, C5, F6 and the output, in turn
    images = paddle.to_tensor(rng.uniform(-1, 1, (2, 1, 32, 32)).astype(np.float32))
    maps = F.sigmoid(F.avg_pool2d(F.tanh(F.conv2d(images, w[0], w[1])), 2))
    maps = F.sigmoid(F.avg_pool2d(F.tanh(F.conv2d(maps, w[2], w[3])), 2))
    values = F.tanh(F.conv2d(maps, w[4], w[5])).reshape([2, 120])
    expected = F.linear(F.tanh(F.linear(values, w[6], w[7])), w[8], w[9])
    np.testing.assert_allclose(network(images).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("num_classes", [2, 10, 26])
def test_a_network_gives_a_logit_for_each_class(name: str, num_classes: int) -> None:
    size = input_size(name)
    logits = build_model(name, num_classes)(paddle.zeros([3, 1, size, size]))
    assert logits.shape == [3, num_classes]
    assert logits.dtype == paddle.float32


def test_lenet5_alone_takes_32x32() -> None:
    assert {name: input_size(name) for name in MODELS if input_size(name) != 28} == {"lenet5": 32}


def test_the_three_lenets_give_equal_logits_for_equal_weights(images: paddle.Tensor) -> None:
    networks = [build_model(name) for name in LENETS]
    for network in networks[1:]:
        pairs = zip(network.parameters(), networks[0].parameters(), strict=True)
        for target, source in pairs:
            target.set_value(source)
    first, *others = [network(images).numpy() for network in networks]
    assert np.ptp(first) > 0
    for logits in others:
        np.testing.assert_allclose(logits, first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "target"),
    [("lenet_builtin", "lenet_subclass"), ("lenet_subclass", "lenet_builtin")],
)
def test_the_builtin_and_the_subclass_take_each_others_weights_by_name(
    source: str, target: str, images: paddle.Tensor
) -> None:
    theirs, ours = build_model(source), build_model(target)
    missing, unexpected = ours.set_state_dict(theirs.state_dict())
    assert (missing, unexpected) == ([], [])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    np.testing.assert_allclose(ours(images).numpy(), theirs(images).numpy(), rtol=1e-5, atol=1e-6)


def test_the_mlp_is_the_chain_of_products_that_numpy_computes(images: paddle.Tensor) -> None:
    network = build_model("mlp")
    values = images.numpy().reshape(3, 784)
    w1, b1, w2, b2, w3, b3 = [parameter.numpy() for parameter in network.parameters()]
    values = np.maximum(values @ w1 + b1, 0)
    values = np.maximum(values @ w2 + b2, 0)
    np.testing.assert_allclose(network(images).numpy(), values @ w3 + b3, rtol=1e-4, atol=1e-5)


SHAPES = {  # behind each layer that has weights or pools
    "lenet_relu": [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)],
    "lenet_d2l": [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)],
    "cnn_regularized": [
        *((32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 5, 5)),
        *((128,), (64,), (10,)),
    ],
    "lenet_modern": [
        *((8, 24, 24), (8, 12, 12), (40, 8, 8), (40, 4, 4)),
        *((120, 2, 2), (10,)),
    ],
    "lenet_deep": [
        *((16, 24, 24), (16, 12, 12), (40, 12, 12), (40, 6, 6)),
        *((72, 4, 4), (40, 2, 2), (10,)),
    ],
}
POOLS = (paddle.nn.AvgPool2D, paddle.nn.MaxPool2D)


@pytest.mark.parametrize("name", SHAPES)
def test_a_sequential_network_has_the_shapes_written_beside_its_layers(name: str) -> None:
    maps, shapes = paddle.zeros([2, 1, 28, 28]), []
    for layer in build_model(name):
        maps = layer(maps)
        if isinstance(layer, (paddle.nn.Conv2D, paddle.nn.Linear, *POOLS)):
            shapes.append(tuple(maps.shape[1:]))
    assert shapes == SHAPES[name]


def test_lenet_relu_differs_from_lenet_sequential_by_two_relus(images: paddle.Tensor) -> None:
    plain, ours = build_model("lenet_sequential"), build_model("lenet_relu")
    for target, source in zip(ours.parameters(), plain.parameters(), strict=True):
        target.set_value(source)
    w = plain.parameters()
    values = plain[:7](images)
    values = F.relu(F.linear(F.relu(F.linear(values, w[4], w[5])), w[6], w[7]))
    expected = F.linear(values, w[8], w[9])
    np.testing.assert_allclose(ours(images).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_lenet_d2l_is_the_chain_that_the_book_writes(images: paddle.Tensor) -> None:
    network = build_model("lenet_d2l")
    w = network.parameters()
    values = F.avg_pool2d(F.sigmoid(F.conv2d(images, w[0], w[1], padding=2)), 2)
    values = F.avg_pool2d(F.sigmoid(F.conv2d(values, w[2], w[3])), 2).flatten(1)
    values = F.sigmoid(F.linear(F.sigmoid(F.linear(values, w[4], w[5])), w[6], w[7]))
    expected = F.linear(values, w[8], w[9])
    np.testing.assert_allclose(network(images).numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lenet_d2l", "cnn_regularized"])
def test_weights_start_even_within_xaviers_bounds_and_biases_at_0(name: str) -> None:
    for parameter in build_model(name).parameters():
        values = parameter.numpy()
        if values.ndim == 1:
            assert not values.any()
            continue
        if values.ndim == 4:  # (out, in, k, k)
            fan_in, fan_out = values[0].size, values[:, 0].size
        else:  # (in, out)
            fan_in, fan_out = values.shape
        bound = (6 / (fan_in + fan_out)) ** 0.5
        assert np.abs(values).max() <= bound
        few = 3 / values.size**0.5  # how far a mean of so many may stray
        assert values.std() == pytest.approx(bound / 3**0.5, rel=few)
        assert abs(values.mean()) < few * bound


def test_cnn_regularized_penalises_the_kernels_of_its_four_hidden_layers() -> None:
    network = build_model("cnn_regularized")
    kernels = [p for p in network.parameters() if p.ndim > 1]
    penalties = [p.regularizer._coeff if p.regularizer else 0 for p in kernels]
    assert penalties == [0.002] * 4 + [0]  # Paddle's c/2 * sum(w^2) is Keras's 0.001 * sum(w^2)
    assert all(p.regularizer is None for p in network.parameters() if p.ndim == 1)


@pytest.mark.parametrize("name", ["lenet_modern", "lenet_deep"])
def test_a_modern_lenet_is_no_larger_than_62000_parameters(name: str) -> None:
    assert _count(build_model(name)) <= 62_000


def test_an_unknown_model_lists_the_valid_ones() -> None:
    with pytest.raises(InputError, match="model 'resnet' is unknown") as caught:
        build_model("resnet")
    assert [name for name in MODELS if name not in str(caught.value)] == []
