"""The operators of chain.c and convolution.c against Paddle's own layers."""

import itertools
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest
from paddle import nn

from lenet_paddle.kernels import library
from lenet_paddle.kernels.operators import Chain
from lenet_paddle.models.chains import find_stages

ACTIVATIONS = {"": [], "relu": [nn.ReLU()], "tanh": [nn.Tanh()], "sigmoid": [nn.Sigmoid()]}
POOLS = {"": [], "max": [nn.MaxPool2D(2)], "average": [nn.AvgPool2D(2)]}

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture(scope="module")
def compiler():
    try:
        library.find_compiler()
    except library.Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture(autouse=True)
def seed():
    paddle.seed(0)


def chain_of(network, shape):
    """Return the chain that computes the whole of `network`, an nn.Sequential."""
    stages, length, output_shape = find_stages(list(network), shape)
    assert length == len(network)
    return Chain(stages, output_shape)


def outputs_and_gradients(function, network, images, weights):
    images = paddle.to_tensor(images, stop_gradient=False)
    output = function(images)
    (output * paddle.to_tensor(weights.reshape(output.shape))).sum().backward()
    gradients = [p.grad.numpy() for p in network.parameters()]
    network.clear_gradients()
    return [output.numpy(), images.grad.numpy(), *gradients]


def compare(network, images, exact=False):
    """Compare chain and layers: output, and gradients of the images and of all parameters."""
    network.train()
    shape = network(paddle.to_tensor(images)).shape
    weights = np.random.default_rng(1).integers(-3, 4, shape).astype("float32")
    expected = outputs_and_gradients(network, network, images, weights)
    found = outputs_and_gradients(chain_of(network, images.shape[1:]), network, images, weights)
    for ours, theirs in zip(found, expected, strict=True):
        if exact:
            np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, atol=4e-6 * max(1e-3, np.abs(theirs).max()))


def convolution(*, channels=3, maps=4, kernel=3, before="", pool="", behind="", **settings):
    layer = nn.Conv2D(channels, maps, kernel, **settings)
    return nn.Sequential(layer, *ACTIVATIONS[before], *POOLS[pool], *ACTIVATIONS[behind])


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def whole(network, *shape):
    """Set small whole weights, and return small whole images: sums are exact, ties frequent."""
    rng = np.random.default_rng(0)
    for parameter in network.parameters():
        parameter.set_value(rng.integers(-1, 2, parameter.shape).astype("float32"))
    return rng.integers(-1, 2, shape).astype("float32")


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("before", ACTIVATIONS)
def test_each_activation_and_pooling(before, pool):
    compare(convolution(before=before, pool=pool), normal(5, 3, 9, 8))


@pytest.mark.parametrize("behind", ACTIVATIONS)
def test_an_activation_behind_average_pooling(behind):
    compare(convolution(before="tanh", pool="average", behind=behind), normal(5, 3, 8, 8))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (2, 1), (3, 1), (4, 0), (5, 2), (7, 3)])
def test_each_kernel_and_padding(kernel, padding, pool):
    network = convolution(kernel=kernel, padding=padding, before="relu", pool=pool)
    compare(network, normal(3, 3, 9, 11))


@pytest.mark.parametrize("maps", [1, 2, 5, 6, 7, 8, 9])
def test_each_number_of_maps(maps):
    compare(convolution(maps=maps, pool="max"), normal(3, 3, 6, 6))


@pytest.mark.parametrize("side", [4, 5, 17, 30, 35])
def test_each_side(side):
    compare(convolution(channels=1, pool="max", behind="relu"), normal(2, 1, side, side))


def test_a_convolution_without_bias():
    compare(convolution(bias_attr=False, pool="max", behind="relu"), normal(5, 3, 8, 8))


def test_a_kernel_over_the_whole_map():
    compare(convolution(maps=10, kernel=5, before="tanh"), normal(18, 3, 5, 5))


@pytest.mark.parametrize("images", [1, 3, 4, 5, 15, 16, 17, 33, 64])
def test_each_number_of_images(images):
    network = nn.Sequential(
        *convolution(channels=1, before="relu", pool="max"),
        *convolution(channels=4, maps=6, before="relu", pool="max"),
        *(nn.Flatten(), nn.Linear(24, 21), nn.ReLU(), nn.Linear(21, 10)),
    )
    compare(network, normal(images, 1, 14, 14))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("before", ["", "relu"])
def test_sums_of_whole_numbers_are_equal_ties_and_zeros_included(before, pool):
    network = convolution(channels=2, maps=6, before=before, pool=pool)
    compare(network, whole(network, 17, 2, 8, 8), exact=True)
    compare(network, np.zeros((17, 2, 8, 8), "float32"), exact=True)


@pytest.mark.parametrize("before", ["", "relu"])
def test_nan_and_infinity_are_pooled_as_by_paddle(before):
    special = [np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0]
    windows = np.array(list(itertools.product(special, repeat=4)), "float32")
    network = nn.Sequential(nn.Conv2D(1, 1, 1), *ACTIVATIONS[before], nn.MaxPool2D(2))
    network[0].weight.set_value(np.ones((1, 1, 1, 1), "float32"))
    images = windows.reshape(-1, 1, 2, 2)
    with np.errstate(invalid="ignore"):
        expected = outputs_and_gradients(network, network, images, np.ones(len(images), "float32"))
        chain = chain_of(network, (1, 2, 2))
        found = outputs_and_gradients(chain, network, images, np.ones(len(images), "float32"))
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_activations_of_every_size_of_number(name):
    network = nn.Sequential(nn.Linear(1, 1), *ACTIVATIONS[name])
    network[0].weight.set_value(np.ones((1, 1), "float32"))
    values = np.concatenate([np.linspace(-20, 20, 4001), [0.0, 1e-30, 1e-7, 80, -80, 1e30, -1e30]])
    values = np.append(values, [np.inf, -np.inf, np.nan]).astype("float32")[:, None]
    found = chain_of(network, [1])(paddle.to_tensor(values)).numpy()
    with np.errstate(all="ignore"):
        exact = values.astype("float64")
        exact = {
            "relu": np.where(exact > 0, exact, 0),
            "tanh": np.tanh(exact),
            "sigmoid": 1 / (1 + np.exp(-exact)),
        }[name]
    np.testing.assert_allclose(found, exact, rtol=4e-7, atol=1e-37)


def lenet():
    return nn.Sequential(
        *convolution(channels=1, maps=6, padding=1, before="relu", pool="max"),
        *convolution(channels=6, maps=16, kernel=5, before="relu", pool="max"),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Linear(120, 10)),
    )


def bits(network, images, threads):
    chain = chain_of(network, images.shape[1:])
    chain.struct.threads = threads
    weights = normal(len(images), 10)
    return [a.tobytes() for a in outputs_and_gradients(chain, network, images, weights)]


def test_any_number_of_threads_gives_the_same_bits():
    network, images = lenet(), normal(200, 1, 28, 28)
    one = bits(network, images, 1)
    for threads in (2, 3, 8):
        for _ in range(5):
            assert bits(network, images, threads) == one


def _send_bits(pipe, network, images):
    pipe.send(hash(tuple(bits(network, images, 2))))


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_child_after_fork_has_threads_of_its_own():
    network, images = lenet(), normal(100, 1, 28, 28)
    expected = hash(tuple(bits(network, images, 2)))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_send_bits, args=(theirs, network, images))
    child.start()
    assert ours.poll(60)
    assert ours.recv() == expected
    child.join(60)
    assert child.exitcode == 0
    assert hash(tuple(bits(network, images, 2))) == expected


def test_frozen_weights_have_no_gradient_and_the_others_have_theirs():
    network, images = lenet(), normal(20, 1, 28, 28)
    every = outputs_and_gradients(
        chain_of(network, (1, 28, 28)), network, images, np.ones((20, 10), "float32")
    )[2:]
    parameters = network.parameters()
    for parameter in parameters:
        parameter.clear_gradient(False)
    for frozen in ([0, 1], [2], [5], [0, 1, 2, 3, 4, 5]):
        for i, parameter in enumerate(parameters):
            parameter.stop_gradient = i in frozen
        chain_of(network, (1, 28, 28))(paddle.to_tensor(images)).sum().backward()
        for i, parameter in enumerate(parameters):
            assert (parameter.grad is None) == (i in frozen)
            if i not in frozen:
                np.testing.assert_array_equal(parameter.grad.numpy(), every[i])
            parameter.clear_gradient(False)


def test_a_tensor_that_is_not_contiguous_is_read_in_its_order():
    network, images = lenet(), paddle.to_tensor(normal(28, 28, 3, 1))
    turned = images.transpose([2, 3, 1, 0])
    chain = chain_of(network, (1, 28, 28))
    expected = chain(paddle.to_tensor(turned.numpy())).numpy()
    np.testing.assert_array_equal(chain(turned).numpy(), expected)


def test_two_batches_forward_then_both_backward():
    network = lenet()
    chain = chain_of(network, (1, 28, 28))
    batches = [paddle.to_tensor(normal(n, 1, 28, 28)) for n in (5, 40)]
    sums = [chain(batch).sum() for batch in batches]
    for total in sums:
        total.backward()
    both = [p.grad.numpy() for p in network.parameters()]
    network.clear_gradients()
    for batch in batches:
        chain(batch).sum().backward()
    for parameter, expected in zip(network.parameters(), both, strict=True):
        np.testing.assert_array_equal(parameter.grad.numpy(), expected)


def test_small_numbers_are_not_rounded_to_zero():
    chain_of(lenet(), (1, 28, 28))  # loads the library
    assert np.float32(1e-38) / np.float32(100) > 0


def test_a_gradient_of_another_shape_is_refused_before_it_is_read():
    chain = chain_of(lenet(), (1, 28, 28))
    images = paddle.to_tensor(normal(5, 1, 28, 28))
    _, blocks = chain.forward(images, keep=True)
    with pytest.raises(ValueError, match=r"\[5, 1\], expected \[5, 10\]"):
        chain.backward(paddle.ones([5, 1]), blocks, images)


def test_python_threads_at_once_get_the_same_bits():
    network, images = lenet(), normal(100, 1, 28, 28)
    images = paddle.to_tensor(images)
    chains = [chain_of(network, (1, 28, 28)) for _ in range(2)]
    expected = chains[0](images).numpy().tobytes()
    with ThreadPoolExecutor(4) as threads:  # two for each chain
        found = list(threads.map(lambda i: chains[i % 2](images).numpy().tobytes(), range(40)))
    assert set(found) == {expected}
