"""X or O: the course's numbers, our two layers against Paddle's, and changed letters."""

import numpy as np
import paddle
import pytest
from paddle.nn import functional

from lenet_paddle.figures.concepts.xo import (
    COURSE_VALUES,
    FEATURES,
    O,
    X,
    cut,
    look,
    match,
    pool,
    rectify,
    rotate,
    shift,
    thicken,
    vote,
    weigh,
)


def test_match_is_the_mean_of_products_at_every_place() -> None:
    for feature in FEATURES:
        found = match(X, feature)
        for row, col in np.ndindex(7, 7):
            products = [X[row + i, col + j] * feature[i, j] for i in range(3) for j in range(3)]
            assert found[row, col] == pytest.approx(sum(products) / 9)


def test_the_first_row_of_the_first_map_is_the_courses() -> None:
    first = [cut(value) for value in match(X, FEATURES[0])[0]]
    assert first == ["0.77", "-0.11", "0.11", "0.33", "0.55", "-0.11", "0.33"]
    assert match(X, FEATURES[0])[1, 1] == 1  # matched wholly


def test_max_pooling_keeps_one_of_the_courses_four_numbers() -> None:
    corner = match(X, FEATURES[0])[:2, :2]
    assert [cut(value) for value in corner.ravel()] == ["0.77", "-0.11", "-0.11", "1.00"]
    assert pool(corner).tolist() == [[1.0]]


@pytest.mark.parametrize("letter", [X, O], ids="XO")
def test_the_layers_agree_with_paddles(letter: np.ndarray) -> None:
    kernels = paddle.to_tensor(FEATURES[:, None] / 9)
    maps = functional.relu(functional.conv2d(paddle.to_tensor(letter[None, None]), kernels))
    once = functional.max_pool2d(maps, 2, 2, ceil_mode=True)
    twice = functional.max_pool2d(once, 2, 2, ceil_mode=True)
    np.testing.assert_allclose(look(letter), twice.numpy().ravel(), atol=1e-12)


def test_relu_and_max_pooling_may_change_places() -> None:
    found = match(X, FEATURES[1])
    np.testing.assert_array_equal(pool(rectify(found)), rectify(pool(found)))


def test_the_dense_layer_votes_as_in_the_course() -> None:
    for_x, for_o = vote(np.asarray(COURSE_VALUES))
    assert np.flatnonzero(weigh()[0]).tolist() == [0, 3, 4, 9, 10]
    assert np.flatnonzero(weigh()[1]).tolist() == [1, 2, 8, 11]
    assert for_x == pytest.approx((0.9 + 0.87 + 0.96 + 0.89 + 0.94) / 5)  # 0.912; it prints 0.92
    assert cut(for_o) == "0.51"


@pytest.mark.parametrize("down", [-1, 0, 1])
@pytest.mark.parametrize("right", [-1, 0, 1])
def test_shifted_letters_are_recognised(down: int, right: int) -> None:
    for winner, letter in enumerate((X, O)):
        moved = shift(letter, down, right)
        assert (moved > 0).sum() == (letter > 0).sum()
        assert vote(look(moved)).argmax() == winner


@pytest.mark.parametrize("degrees", [-20, -15, -10, 10, 15, 20])
def test_turned_letters_are_recognised(degrees: float) -> None:
    for winner, letter in enumerate((X, O)):
        turned = rotate(letter, degrees)
        assert set(np.unique(turned)) == {-1.0, 1.0}
        assert vote(look(turned)).argmax() == winner


def test_thickened_letters_are_recognised() -> None:
    for winner, letter in enumerate((X, O)):
        assert (thicken(letter) > 0).sum() > 2 * (letter > 0).sum()
        assert vote(look(thicken(letter))).argmax() == winner


def test_numbers_are_cut_not_rounded() -> None:
    assert [cut(v) for v in (7 / 9, -7 / 9, 5 / 9, 1.0, -1 / 9, 0.0, -0.001)] == [
        *("0.77", "-0.77", "0.55", "1.00", "-0.11", "0.00", "0.00")
    ]
