"""The classic detectors on pictures whose edges, corners and directions are known."""

import sys

import numpy as np
import pytest

from lenet_paddle.errors import InputError
from lenet_paddle.figures.network.edges import detect, plot_edges


@pytest.fixture
def square():
    """A white square from 30 to 69 on black, 100x100."""
    picture = np.zeros((100, 100), np.uint8)
    picture[30:70, 30:70] = 255
    return picture


def test_harris_finds_the_corners_of_a_square(square):
    pytest.importorskip("skimage")
    corners = detect(square).corners
    assert len(corners) == 4
    for corner in [(30, 30), (30, 69), (69, 30), (69, 69)]:
        assert np.abs(corners - corner).max(axis=1).min() <= 2


def test_canny_draws_the_outline_of_a_square_and_nothing_else(square):
    pytest.importorskip("skimage")
    rows, cols = np.nonzero(detect(square).edges)
    outside = np.maximum(np.abs(rows - 49.5), np.abs(cols - 49.5))
    assert np.abs(outside - 20).max() <= 2.5
    for along in (rows, cols):  # closed: no row or column of the square is without an edge
        assert set(range(30, 70)) <= set(along)


@pytest.mark.parametrize("turns", range(4))
def test_a_key_points_angle_is_the_direction_of_growing_brightness(turns):
    """A blob on a ramp that grows to the right; turned, the direction turns with it."""
    pytest.importorskip("skimage")
    rows, cols = np.mgrid[:100, :100]
    blob = 100 * np.exp(-((rows - 50) ** 2 + (cols - 50) ** 2) / (2 * 6**2))
    picture = np.rot90((blob + 1.3 * cols).astype(np.uint8), turns)
    found = detect(picture).key_points
    middle = found[np.abs(found[:, :2] - 49.5).max(axis=1) < 5]
    right, below = np.cos(middle[:, 3]), np.sin(middle[:, 3])
    expected = [(1, 0), (0, -1), (-1, 0), (0, 1)][turns]  # rot90 turns against the clock
    assert len(middle) > 0
    assert np.hypot(right - expected[0], below - expected[1]).min() < 0.3


def test_a_digit_is_enlarged_and_an_even_picture_has_nothing_to_find():
    pytest.importorskip("skimage")
    found = detect(np.full((28, 28), 90, np.uint8))
    assert found.picture.shape == (224, 224)
    assert (found.scale, len(found.key_points), found.edges.sum()) == (8, 0, 0)


def test_the_figure_counts_what_was_found(square):
    pytest.importorskip("skimage")
    found = detect(square)
    figure = plot_edges(found, np.zeros((6, 10, 10)))
    titles = [axes.get_title() for axes in figure.axes]
    assert "Harris: 4 corners" in titles
    assert f"SIFT: {len(found.key_points)} key points" in titles
    assert [title for title in titles if title.isdecimal()] == list("012345")


def test_of_many_maps_the_figure_says_how_many_it_shows(square):
    pytest.importorskip("skimage")
    figure = plot_edges(detect(square), np.zeros((64, 10, 10)))
    texts = [part.get_suptitle() for part in figure.subfigs]
    assert "the first layer's maps: 64 learned kernels, the first 9" in texts


def test_without_scikit_image_the_extra_is_named(square, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(InputError, match=r"pip install '\.\[vision\]'"):
        detect(square)
