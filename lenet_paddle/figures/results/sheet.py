"""A sheet of samples of each class of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.figures.style import label_classes, new_figure, short, spread, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_CLASS = 10
MOST_CLASSES = 100
_ROWS = 16  # of classes, in one column


@styled
def plot_sheet(image_set: ImageSet, title: str) -> Figure:
    """Plot a row of up to `PER_CLASS` random images of each class, in grey or colour.

    Of more than `MOST_CLASSES` classes an even choice is drawn.
    """
    names = label_classes(image_set.classes)
    classes = spread(range(len(names)), MOST_CLASSES)
    num_columns = -(-len(classes) // _ROWS)
    num_rows = -(-len(classes) // num_columns)
    figure = new_figure(5 * num_columns + 1, 0.5 * num_rows + 0.6)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes, label in zip(grid.T.ravel(), classes, strict=False):
        axes.imshow(_join(image_set, label), cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(short(names[label]), rotation=0, ha="right", va="center", fontsize=9)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    figure.suptitle(say("{title}: training images", "{title}：训练图片", title=title), fontsize=11)
    return figure


def _join(image_set: ImageSet, label: int) -> np.ndarray:
    """Return images of a class side by side, uint8 (H, PER_CLASS * W), or with (..., 3)."""
    of_class = np.flatnonzero(image_set.labels == label)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(of_class, min(PER_CLASS, len(of_class)), replace=False))
    height, width, *channels = image_set.images.shape[1:]
    row = np.full((PER_CLASS, height, width, *channels), 255, np.uint8)
    row[: len(chosen)] = np.asarray(image_set.images[chosen])
    return np.moveaxis(row, 0, 1).reshape(height, PER_CLASS * width, *channels)
