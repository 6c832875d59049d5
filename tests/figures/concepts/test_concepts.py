"""What the concept figures compute: kernels, convolution, padding, pooling, dropout."""

import numpy as np
import paddle
import pytest
from paddle import nn

from lenet_paddle.analysis.saturation import Saturation
from lenet_paddle.figures.concepts.activations import plot_activations
from lenet_paddle.figures.concepts.channels import colour_digit, convolve
from lenet_paddle.figures.concepts.convolution import Sliding, choose_places
from lenet_paddle.figures.concepts.dropout import draw_masks
from lenet_paddle.figures.concepts.kernels import KERNELS, apply_kernel, as_shown, paint
from lenet_paddle.figures.concepts.padding import count_views, output_size
from lenet_paddle.figures.concepts.pooling import MATRIX, find_maxima, pool_with_gradient


def test_the_kernels_sum_to_what_they_are_for() -> None:
    sums = {name: round(float(kernel.sum()), 9) for name, kernel in KERNELS.items()}
    assert sums == {
        **dict.fromkeys(("the picture", "blur", "sharpen"), 1.0),
        **dict.fromkeys(("emboss", "edges", "vertical edges", "horizontal edges"), 0.0),
    }
    assert KERNELS["sharpen"][1, 1] > 1


def test_a_kernel_is_applied_as_a_loop_would(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (6, 7)).astype(np.uint8)
    wide = np.pad(picture.astype(float), 1, mode="edge")
    for kernel in KERNELS.values():
        expected = np.zeros((6, 7))
        for row, col in np.ndindex(6, 7):
            for i, j in np.ndindex(3, 3):
                expected[row, col] += wide[row + i, col + j] * kernel[i, j]
        np.testing.assert_allclose(apply_kernel(picture, kernel), expected, atol=1e-9)


def test_water_colour_is_a_5x5_median_then_sharpen(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    wide = np.pad(picture, 2, mode="edge")
    median = np.array([[np.median(wide[r : r + 5, c : c + 5]) for c in range(8)] for r in range(8)])
    np.testing.assert_allclose(paint(picture), apply_kernel(median, KERNELS["sharpen"]))


def test_a_flat_picture_is_black_in_edges_and_grey_in_emboss() -> None:
    flat = np.full((5, 5), 200, np.uint8)
    for name, expected in (("edges", 0), ("vertical edges", 0), ("emboss", 128), ("blur", 200)):
        assert (as_shown(name, apply_kernel(flat, KERNELS[name])) == expected).all(), name


def _convolve_by_loops(channels, kernels, bias, stride, padding):  # type: ignore[no-untyped-def]
    wide = np.pad(channels, ((0, 0), (padding, padding), (padding, padding)))
    side = kernels.shape[-1]
    height = (wide.shape[1] - side) // stride + 1
    width = (wide.shape[2] - side) // stride + 1
    result = np.zeros((len(kernels), height, width))
    for o, row, col in np.ndindex(result.shape):
        window = wide[:, row * stride : row * stride + side, col * stride : col * stride + side]
        result[o, row, col] = (window * kernels[o]).sum() + bias[o]
    return result


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (3, 0)])
def test_convolution_by_paddle_is_that_of_numpy_loops(
    rng: np.random.Generator, stride: int, padding: int
) -> None:
    channels, kernels = rng.normal(size=(3, 8, 8)), rng.normal(size=(2, 3, 3, 3))
    bias = rng.normal(size=2)
    np.testing.assert_allclose(
        convolve(channels, kernels, bias, stride, padding),
        _convolve_by_loops(channels, kernels, bias, stride, padding),
        atol=1e-12,
    )


def test_8x8x3_becomes_8x8x2_and_the_channels_add_up(rng: np.random.Generator) -> None:
    channels = colour_digit(rng.integers(0, 256, (28, 28)).astype(np.uint8))
    assert channels.shape == (3, 8, 8)
    assert set(np.unique(channels)) <= set(range(10))
    kernels, bias = rng.normal(size=(2, 3, 3, 3)), np.array([2.0, -3.0])
    answer = convolve(channels, kernels, bias, padding=1)
    assert answer.shape == (2, 8, 8)
    none = np.zeros(1)
    for o in range(2):
        parts = [
            convolve(channels[c : c + 1], kernels[o : o + 1, c : c + 1], none, padding=1)[0]
            for c in range(3)
        ]
        np.testing.assert_allclose(answer[o], sum(parts) + bias[o], atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_window_makes_the_maps_value(rng: np.random.Generator, stride: int) -> None:
    sliding = Sliding(rng.normal(size=(10, 9)), rng.normal(size=(3, 3)), 0.5, stride)
    found = sliding.compute_map()
    for row, col in np.ndindex(found.shape):
        total = (sliding.window(row, col) * sliding.kernel).sum() + 0.5
        assert found[row, col] == pytest.approx(total)


def test_the_animation_walks_the_liveliest_row_and_ends_at_the_end() -> None:
    values = np.zeros((10, 12))
    values[4, 3] = 5
    places = choose_places(values, 30)
    assert len(places) <= 30 and places[-1] == 119
    assert (np.diff(places) > 0).all()
    assert set(range(48, 60)) <= set(places.tolist())


def test_output_sizes_of_the_course() -> None:
    assert output_size(32, 5, 0, 3) == 10
    assert output_size(32, 5, 0, 2) == 14.5
    assert output_size(28, 5, 2, 1) == 28


@pytest.mark.parametrize("setting", [(32, 5, 0, 3), (32, 5, 0, 2), (7, 3, 1, 1), (9, 4, 2, 2)])
def test_whole_output_sizes_and_views_are_paddles(setting: tuple[int, int, int, int]) -> None:
    size, kernel, pad, stride = setting
    image = paddle.ones([1, 1, size, size])
    image.stop_gradient = False
    output = nn.functional.conv2d(image, paddle.ones([1, 1, kernel, kernel]), None, stride, pad)
    assert output.shape[-1] == int(output_size(*setting))
    output.sum().backward()  # each window passes 1 to every pixel that it sees
    np.testing.assert_array_equal(count_views(*setting), image.grad[0, 0].numpy())


def _pool_by_loops(matrix, upstream, kind):  # type: ignore[no-untyped-def]
    output, gradient = np.zeros_like(upstream), np.zeros_like(matrix)
    for row, col in np.ndindex(upstream.shape):
        window = matrix[2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        if kind == "average":
            output[row, col] = window.sum() / 4
            gradient[2 * row : 2 * row + 2, 2 * col : 2 * col + 2] = upstream[row, col] / 4
        else:
            output[row, col] = window.max()
            i, j = np.argwhere(window == window.max())[0]
            gradient[2 * row + i, 2 * col + j] = upstream[row, col]
    return output, gradient


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_and_its_gradient_are_those_of_numpy_loops(
    rng: np.random.Generator, kind: str
) -> None:
    ties = rng.integers(0, 3, (8, 8)).astype(float)
    for matrix in (MATRIX, ties, rng.normal(size=(28, 28))):
        upstream = rng.normal(size=(len(matrix) // 2, len(matrix) // 2))
        pooled = pool_with_gradient(matrix, upstream, kind)
        output, gradient = _pool_by_loops(matrix, upstream, kind)
        np.testing.assert_allclose(pooled.output, output)
        np.testing.assert_allclose(pooled.gradient, gradient)


def test_marked_maxima_are_where_the_gradient_goes(rng: np.random.Generator) -> None:
    matrix = rng.integers(0, 4, (6, 10)).astype(float)  # with ties
    places = find_maxima(matrix)
    gradient = pool_with_gradient(matrix, np.ones((3, 5)), "max").gradient
    assert {tuple(p) for p in places} == {tuple(p) for p in np.argwhere(gradient)}


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropouts_scale_keeps_the_mean(p: float) -> None:
    paddle.seed(1)
    masks = draw_masks(100, p, 2000)
    kept = masks != 0
    np.testing.assert_allclose(masks[kept], 1 / (1 - p), rtol=1e-6)
    assert kept.mean() == pytest.approx(1 - p, abs=0.01)
    assert masks.mean() == pytest.approx(1, abs=0.01)


def test_of_many_activation_layers_the_title_says_how_many_are_shown() -> None:
    one = Saturation("a", np.linspace(-1, 1, 9), np.zeros(9, bool), 0.0)
    assert plot_activations([one] * 20, "all").get_suptitle() == "all (12 of 20 layers)"
    assert plot_activations([one] * 2, "all").get_suptitle() == "all"
