"""Grids of images with captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, short, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


GROUND = (198, 212, 232)  # the colour of gaps; grey images do not have it


@styled
def plot_images(
    images: np.ndarray, captions: Sequence[str], title: str = "", num_cols: int = 8
) -> Figure:
    """Plot images, uint8 (N, H, W) or (N, H, W, 3), each under its caption; N may be 0."""
    num_rows = max(1, -(-len(images) // num_cols))
    cell, side, title_height = np.array([1.5, 1.9]), 1.3, 0.5 if title else 0.1  # inches
    width, height = cell[0] * num_cols, cell[1] * num_rows + title_height + 0.1
    figure = new_figure(width, height, layout="none")
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, as each would take 20 ms
    for number, (image, caption) in enumerate(zip(images, captions, strict=False)):
        row, column = divmod(number, num_cols)
        middle, bottom = cell[0] * (column + 0.5), height - title_height - cell[1] * (row + 1)
        high, wide = side * np.array(image.shape[:2]) / max(image.shape)
        extent = (middle - wide / 2, middle + wide / 2, bottom, bottom + high)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
        axes.text(middle, bottom + high + 0.04, caption, fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    axes.axis("off")
    axes.text(width / 2, height - 0.08, title, fontsize=12, ha="center", va="top")
    return figure


@styled
def plot_rows(rows: Mapping[str, np.ndarray], captions: Sequence[str], title: str = "") -> Figure:
    """Plot named rows of images, uint8 (N, H, W) or (N, H, W, 3) each, under captions for the N
    columns."""
    [(count, height, width, *channels)] = {images.shape for images in rows.values()}
    gap = max(3, height // 9)
    high, wide = height + gap, width + gap
    sheet = np.full((len(rows), high, count, wide, *channels), np.nan)
    if channels:
        sheet[:] = GROUND
    for number, images in enumerate(rows.values()):
        sheet[number, :height, :, :width] = np.moveaxis(images, 0, 1)
    sheet = sheet.reshape(len(rows) * high, count * wide, *channels)[:-gap, :-gap]
    cell = min(0.8, 8 / count)  # inches
    figure = new_figure(max(5, 2 + cell * count), 1 + cell * len(rows))
    axes = figure.subplots()
    axes.set_facecolor("#{:02x}{:02x}{:02x}".format(*GROUND))
    axes.imshow(sheet / 255 if channels else sheet, cmap="gray", vmin=0, vmax=255)
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

    pictures: uint8 (H, W) or (H, W, 3) of any size, at least one; seen: uint8 (S, S) or (S, S, 3)
    each.
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


@styled
def plot_pages(
    pictures: Sequence[np.ndarray],
    boxes: Sequence[Sequence[tuple[float, ...]]],
    texts: Sequence[Sequence[str]],
    unclear: Sequence[Sequence[bool]],
    captions: Sequence[str],
    title: str = "",
) -> Figure:
    """Plot each page, uint8 (H, W) or (H, W, 3), under its caption, with boxes and their texts.

    boxes: left, top, right and bottom of each; those that are unclear are orange.
    """
    num_cols = min(2, len(pictures))
    num_rows = -(-len(pictures) // num_cols)
    figure = new_figure(7 * num_cols, 5 * num_rows + 0.4)
    grid = figure.subplots(num_rows, num_cols, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, picture, found, names, doubts, caption in zip(
        grid, pictures, boxes, texts, unclear, captions, strict=False
    ):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=9, loc="left")
        for (left, top, right, bottom), name, is_unclear in zip(found, names, doubts, strict=True):
            colour = ORANGE if is_unclear else BLUE
            x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axes.plot(x, y, color=colour, linewidth=0.8)
            axes.text(left, top, name, color=colour, fontsize=9, ha="left", va="bottom")
    figure.suptitle(title)
    return figure
