"""The operators: what Paddle computes against plain loops, and the counts against counting."""

import numpy as np
import pytest

from lenet_paddle.figures.concepts.operator_cards import plot_operators
from lenet_paddle.figures.concepts.operator_parts import Cost
from lenet_paddle.figures.concepts.operators import (
    depthwise_separable,
    dilated,
    grouped,
    make_operators,
    pointwise,
    spatially_separable,
    strided,
    three_dimensional,
    transposed,
)
from lenet_paddle.figures.words import language


class Counter:
    """Multiplies and counts."""

    def __init__(self):
        self.count = 0

    def times(self, a, b):
        self.count += 1
        return a * b


def convolve(image, kernel, counter, stride=1, dilation=1, groups=1):
    """(C, H, W) by (C_out, C_in / groups, h, w), in loops."""
    num_out, num_in, high, wide = kernel.shape
    rows = (image.shape[1] - dilation * (high - 1) - 1) // stride + 1
    cols = (image.shape[2] - dilation * (wide - 1) - 1) // stride + 1
    output = np.zeros((num_out, rows, cols))
    for out, row, col in np.ndindex(output.shape):
        first = out // (num_out // groups) * num_in
        for channel, i, j in np.ndindex(num_in, high, wide):
            pixel = image[first + channel, row * stride + i * dilation, col * stride + j * dilation]
            output[out, row, col] += counter.times(pixel, kernel[out, channel, i, j])
    return output


def arrays(operator):
    """Its parts as (C, H, W) or kernels, by position."""
    return [part.blocks.reshape(part.shape) for part in operator.parts]


def assert_costs(operator, kernels, counter):
    assert operator.parameters.total == sum(kernel.size for kernel in kernels)
    assert operator.multiplications.total == counter.count


@pytest.mark.parametrize(
    ("make", "settings"),
    [(pointwise, {}), (strided, {"stride": 2}), (dilated, {"dilation": 2})],
    ids=["1x1", "strided", "dilated"],
)
def test_one_kernel_operators_equal_loops(make, settings):
    operator, counter = make(), Counter()
    image, kernel, output = arrays(operator)
    np.testing.assert_array_equal(output, convolve(image, kernel, counter, **settings))
    assert_costs(operator, [kernel], counter)


def test_the_dilated_3x3_spans_5_cells_a_side():
    rows, cols = np.nonzero(dilated().parts[0].marked[0, 0])
    assert np.ptp(rows) + 1 == np.ptp(cols) + 1 == 5
    assert len(rows) == 9


def test_transposed_spreads_and_adds_copies_of_the_kernel():
    operator, counter = transposed(), Counter()
    image, kernel, *copies, output = arrays(operator)
    expected = np.zeros((1, 3, 3))
    for row, col, i, j in np.ndindex(2, 2, 2, 2):
        expected[0, row + i, col + j] += counter.times(image[0, row, col], kernel[0, 0, i, j])
    np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(output[0], [[0, 0, 1], [0, 4, 6], [4, 12, 9]])
    np.testing.assert_array_equal(sum(copies), output)
    assert_costs(operator, [kernel], counter)


def test_three_dimensional_equals_loops_on_1_to_27():
    operator, counter = three_dimensional(), Counter()
    image, kernel, output = arrays(operator)
    np.testing.assert_array_equal(image.ravel(), np.arange(1, 28))
    np.testing.assert_array_equal(kernel.ravel(), np.arange(1, 9))
    expected = np.zeros((1, 2, 2, 2))
    for place in np.ndindex(2, 2, 2):
        for offset in np.ndindex(2, 2, 2):
            seen = image[0][tuple(np.add(place, offset))]
            expected[0][place] += counter.times(seen, kernel[0, 0][offset])
    np.testing.assert_array_equal(output, expected)
    assert_costs(operator, [kernel], counter)


def test_spatially_separable_equals_its_outer_product_in_fewer_multiplications():
    operator, counter, whole = spatially_separable(), Counter(), Counter()
    image, column, between, row, output, product = arrays(operator)
    np.testing.assert_array_equal(product, np.outer(column, row))
    np.testing.assert_array_equal(between, convolve(image, column, counter))
    np.testing.assert_array_equal(output, convolve(between, row, counter))
    np.testing.assert_array_equal(output, convolve(image, product[None, None], whole))
    assert_costs(operator, [column, row], counter)
    parameters, multiplications = operator.plain
    assert (parameters.total, multiplications.total) == (9, whole.count)
    assert operator.parameters.total == 3 + 3


def test_depthwise_separable_equals_loops_and_a_full_convolution():
    operator, counter, full = depthwise_separable(), Counter(), Counter()
    image, depth, between, point, output = arrays(operator)
    np.testing.assert_array_equal(between, convolve(image, depth, counter, groups=3))
    np.testing.assert_array_equal(output, convolve(between, point, counter))
    one_kernel = point * depth.swapaxes(0, 1)
    np.testing.assert_array_equal(output, convolve(image, one_kernel, full))
    assert_costs(operator, [depth, point], counter)
    assert [cost.total for cost in operator.plain] == [one_kernel.size, full.count]


def test_grouped_equals_loops_and_the_shuffle_alternates_the_groups():
    operator, counter, full = grouped(), Counter(), Counter()
    image, kernel, between, output = arrays(operator)
    np.testing.assert_array_equal(between, convolve(image, kernel, counter, groups=2))
    np.testing.assert_array_equal(output, between[[0, 2, 1, 3]])
    np.testing.assert_array_equal(operator.parts[-1].groups.ravel(), [0, 1, 0, 1])
    assert_costs(operator, [kernel], counter)
    convolve(image, np.zeros((4, 4, 2, 2)), full)
    assert [cost.total for cost in operator.plain] == [64, full.count]


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 6, 7])
def test_the_marked_cells_are_all_that_the_first_output_number_depends_on(number):
    """Marked: exactly the cells under the window at the first place, of the channels it sees."""
    operator = make_operators()[number]
    marked = operator.parts[0].marked.reshape(operator.parts[0].shape)
    windows = {
        0: np.s_[:, 0, 0],
        1: np.s_[:, :3, :3],
        2: np.s_[:, :5:2, :5:2],
        4: np.s_[:, :2, :2, :2],
        5: np.s_[:, :3, :3],
        6: np.s_[:, :3, :3],
        7: np.s_[:2, :2, :2],
    }
    expected = np.zeros_like(marked)
    expected[windows[number]] = True
    np.testing.assert_array_equal(marked, expected)


def test_a_cost_shows_its_formula():
    assert str(Cost(((3, 3), (2, 4)))) == "3·3 + 2·4 = 17"


def test_the_figure_shows_every_number_and_both_counts_in_both_languages():
    for name, word in (("en", "parameters"), ("zh", "参数")):
        with language(name):
            operators = make_operators()
            figure = plot_operators(operators)
        assert len(figure.axes) == 8
        for axes, operator in zip(figure.axes, operators, strict=True):
            texts = [text.get_text() for text in axes.texts]
            numbers = sum(part.blocks.size for part in operator.parts)
            assert sum(text.lstrip("-").isdecimal() for text in texts) >= numbers
            assert any(word in text and str(operator.multiplications) in text for text in texts)
