"""Grids of grey images with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.style import new_figure, short, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_images(
    images: np.ndarray, captions: Sequence[str], title: str = "", num_cols: int = 8
) -> Figure:
    """Plot grey images, uint8 (N, H, W), each under its caption; N may be 0."""
    num_rows = max(1, -(-len(images) // num_cols))
    cell, side, title_height = np.array([1.5, 1.9]), 1.3, 0.5 if title else 0.1  # inches
    width, height = cell[0] * num_cols, cell[1] * num_rows + title_height + 0.1
    figure = new_figure(width, height, layout="none")
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, as each would take 20 ms
    for number, (image, caption) in enumerate(zip(images, captions, strict=False)):
        row, column = divmod(number, num_cols)
        middle, bottom = cell[0] * (column + 0.5), height - title_height - cell[1] * (row + 1)
        high, wide = side * np.array(image.shape[:2]) / max(image.shape[:2])
        extent = (middle - wide / 2, middle + wide / 2, bottom, bottom + high)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
        axes.text(middle, bottom + high + 0.04, caption, fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    axes.axis("off")
    axes.text(width / 2, height - 0.08, title, fontsize=12, ha="center", va="top")
    return figure


@styled
def plot_rows(rows: Mapping[str, np.ndarray], captions: Sequence[str], title: str = "") -> Figure:
    """Plot named rows of grey images, uint8 (N, H, W) each, under captions for the N columns."""
    [(count, height, width)] = {images.shape for images in rows.values()}
    high, wide = height + 3, width + 3  # with the gap
    sheet = np.full((len(rows), high, count, wide), np.nan)
    for number, images in enumerate(rows.values()):
        sheet[number, :height, :, :width] = np.moveaxis(images, 0, 1)
    sheet = sheet.reshape(len(rows) * high, count * wide)[:-3, :-3]
    cell = min(0.8, 8 / count)  # inches
    figure = new_figure(max(5, 2 + cell * count), 1 + cell * len(rows))
    axes = figure.subplots()
    axes.set_facecolor("#c6d4e8")  # of the gaps; grey images do not have it
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks(np.arange(len(rows)) * high + height / 2, list(rows))
    axes.set_xticks(np.arange(count) * wide + width / 2, [short(text) for text in captions])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    return figure


@styled
def plot_answers(
    pictures: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str = "",
    num_cols: int = 4,
) -> Figure:
    """Plot each picture next to what the network saw of it, under the answer.

    pictures: grey uint8 (H, W) of any size, at least one; seen: uint8 (28, 28) each.
    """
    num_cols = min(num_cols, len(pictures))
    num_rows = -(-len(pictures) // num_cols)
    figure = new_figure(max(5.0, 3.2 * num_cols), 2.0 * num_rows + 0.4)
    grid = figure.subplots(num_rows, 2 * num_cols, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    pairs = grid.reshape(-1, 2)
    for (left, right), picture, small, caption in zip(
        pairs, pictures, seen, captions, strict=False
    ):
        left.imshow(picture, cmap="gray", vmin=0, vmax=255)
        right.imshow(small, cmap="gray", vmin=0, vmax=255)
        left.set_title(caption, fontsize=9, loc="left")
    figure.suptitle(title)
    return figure
