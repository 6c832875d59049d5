"""Inside a network: its kernels and its feature maps.

Kernels and maps are drawn on one scale a layer, blue below 0, white at 0, red above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lenet_paddle.figures.style import styled
from lenet_paddle.figures.words import say

Item = TypeVar("Item")
MOST_KERNELS, MOST_MAPS, MOST_LAYERS = 32, 16, 16
MOST_STRIPS, STRIP_ROWS = 6, 48  # layers of kernels, and rows of kernels in all of them
"""What one figure has room for; of more, the first are drawn (of layers, an even choice)."""


GAP = 2  # pixels between tiles in a mosaic, whose tiles are enlarged so that it looks thin


def mosaic(tiles: np.ndarray, scale: int = 1) -> np.ndarray:
    """A table of matrices, (rows, cols, H, W), as one float64 matrix, NaN in the gaps.

    Each number becomes a square of `scale` pixels.
    """
    tiles = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    rows, cols, height, width = tiles.shape
    sheet = np.full((rows, height + GAP, cols, width + GAP), np.nan)
    sheet[:, :height, :, :width] = tiles.transpose(0, 2, 1, 3)
    return sheet.reshape(rows * (height + GAP), cols * (width + GAP))[:-GAP, :-GAP]


def _tile_scale(tiles: np.ndarray) -> int:
    """An enlargement that makes the gap about a fifteenth of a tile."""
    return max(1, round(30 / tiles.shape[-1]))


def _show_signed(axes: Axes, values: np.ndarray, limit: float) -> AxesImage:
    """Blue below 0, white at 0, red above; gaps grey; the scale ends at +-limit."""
    axes.set_facecolor("#d0d0d0")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    limit = limit or 1.0
    return axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")


@styled
def plot_filters(kernels: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Each convolution's kernels, layer name -> float (C_out, C_in, H, W); at least one layer.

    A column for each output channel, a row for each input channel; one scale a layer, centred
    at 0.
    """
    names = spread(list(kernels), MOST_STRIPS)
    most_inputs = min(MOST_MAPS, STRIP_ROWS // len(names))
    shown = {name: kernels[name][:MOST_KERNELS, :most_inputs] for name in names}
    heights = [_strip_height(array) for array in shown.values()]
    figure = Figure(figsize=(10, sum(heights) + 0.6), layout="constrained")
    figure.suptitle(title + count_shown(names, kernels), fontsize=12)
    parts = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights).ravel()
    for part, (name, array) in zip(parts, shown.items(), strict=True):
        full = kernels[name]
        axes = part.subplots()
        scale = _tile_scale(array)
        sheet = mosaic(array.transpose(1, 0, 2, 3), scale)
        image = _show_signed(axes, sheet, float(np.abs(array).max()))
        _number_tiles(axes, array.shape, scale)
        shape = "x".join(map(str, full.shape))
        heading = say(
            "{name}: {shape}, one scale centred at 0",
            "{name}：{shape}，同一色标，以 0 为中心",
            name=name,
            shape=shape,
        )
        if array.shape != full.shape:
            heading += say(
                " (the first {a}x{b})", "（前 {a}x{b} 个）", a=array.shape[0], b=array.shape[1]
            )
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel(say("output channel", "输出通道"), fontsize=9)
        axes.set_ylabel(say("input channel", "输入通道"), fontsize=9)
        bar = part.colorbar(image, ax=axes, shrink=0.9, pad=0.01)
        bar.ax.tick_params(labelsize=8)
    return figure


def _number_tiles(axes: Axes, shape: tuple[int, ...], scale: int) -> None:
    """Channel numbers along a mosaic of kernels, shape (C_out, C_in, H, W)."""
    num_out, num_in, height, width = shape
    for places, count, tile in (
        (axes.set_xticks, num_out, width * scale),
        (axes.set_yticks, num_in, height * scale),
    ):
        places([i * (tile + GAP) + tile / 2 for i in range(count)], [str(i) for i in range(count)])
    axes.tick_params(labelsize=8, length=0)


def _strip_height(array: np.ndarray) -> float:
    """Inches that a layer's kernels need at the figure's width."""
    num_out, num_in, height, width = array.shape
    return 8.5 * num_in * height / (num_out * width) + 0.95


@styled
def plot_features(
    picture: np.ndarray, outputs: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Every layer's output for one picture, shallow to deep, each with its shape.

    picture: normalised float32 (S, S); outputs: caption -> float32 (C, H, W) or (N,), as
    `hooks.layer_outputs` gives them for the picture. Each layer has its own scale.
    """
    names = spread(list(outputs), MOST_LAYERS)
    sheets = {name: _sheet(outputs[name]) for name in names}
    heights = [1.5, *(_sheet_height(sheet) for sheet in sheets.values())]
    figure = Figure(figsize=(10, sum(heights) + 0.8), layout="constrained")
    figure.suptitle(title + count_shown(names, outputs), fontsize=12)
    grid = figure.subplots(len(heights), 2, width_ratios=(1.9, 8), height_ratios=heights)
    grid[0, 1].imshow(picture, cmap="gray", vmin=-1, vmax=1)
    _name_row(grid[0], say("input", "输入"), picture[None].shape, "")
    for row, name in zip(grid[1:], names, strict=True):
        values = outputs[name]
        image = _show_signed(row[1], sheets[name], float(np.abs(values).max()))
        note = f"{values.min():.2f} … {values.max():.2f}"
        if values.ndim == 1:
            image.set_extent((0, len(values), 1, 0))
            row[1].set_aspect("auto")
            _write_values(row[1], values)
        elif len(values) > MOST_MAPS:
            note += say(", the first {count}", "，前 {count} 个", count=MOST_MAPS)
        _name_row(row, name, values.shape, note)
    return figure


def _write_values(axes: Axes, values: np.ndarray) -> None:
    """Numbers in the cells of a short vector."""
    limit = np.abs(values).max()
    for number, value in enumerate(values if len(values) <= 12 else ()):
        colour = "white" if abs(value) > 0.6 * limit else "black"
        text = f"{number}:\n{value:.1f}"
        axes.text(number + 0.5, 0.5, text, fontsize=9, ha="center", va="center", color=colour)


def _name_row(row: Sequence[Axes], name: str, shape: tuple[int, ...], note: str) -> None:
    row[0].axis("off")
    row[1].set(xticks=[], yticks=[], anchor="W")
    text = f"{name}\n{'x'.join(map(str, shape))}\n{note}".rstrip()
    row[0].text(0, 0.5, text, fontsize=9, va="center", transform=row[0].transAxes)


def _sheet(values: np.ndarray) -> np.ndarray:
    """A layer's output as one matrix: maps side by side, or a vector as a strip."""
    if values.ndim == 1:
        return values[None]
    return mosaic(values[None, :MOST_MAPS], _tile_scale(values))


def _sheet_height(sheet: np.ndarray) -> float:
    height, width = sheet.shape
    return float(np.clip(7.8 * height / width, 0.6, 1.5)) if height > 1 else 0.6


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """All items, or an even choice of `most` of them with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def count_shown(shown: Sized, items: Sized) -> str:
    """What a title says of an even choice of layers; nothing when all are shown."""
    if len(shown) == len(items):
        return ""
    return say(
        " ({shown} of {total} layers)",
        "（共 {total} 层，画出 {shown} 层）",
        shown=len(shown),
        total=len(items),
    )


@styled
def plot_feature_grid(
    pictures: np.ndarray,
    maps: np.ndarray,
    kernels: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Pictures by kernels of one layer: a row for each picture, a column for each map.

    pictures: normalised float32 (B, S, S); maps: float32 (B, C, H, W); kernels: float (C, H, W),
    drawn above their columns. One scale for all maps.
    """
    if maps.shape[1] > MOST_MAPS:
        title += say(
            ", the first {count} of {total}",
            "，共 {total} 个，画出前 {count} 个",
            count=MOST_MAPS,
            total=maps.shape[1],
        )
    maps = maps[:, :MOST_MAPS]
    num_rows, num_maps = maps.shape[:2]
    tops = 0 if kernels is None else 1
    cell = min(9.2 / (num_maps + 1), 1.1)
    figure = Figure(figsize=(cell * (num_maps + 1) + 0.8, cell * (num_rows + tops) + 0.8))
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    grid = figure.subplots(num_rows + tops, num_maps + 1, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    if kernels is not None:
        grid[0, 0].axis("off")
        for axes, kernel in zip(grid[0, 1:], kernels, strict=False):
            _show_signed(axes, kernel, float(np.abs(kernels).max()))
        grid[0, 0].text(0.5, 0.5, say("kernels", "卷积核"), fontsize=9, ha="center", va="center")
    limit = float(np.abs(maps).max())
    for row, picture, own in zip(grid[tops:], pictures, maps, strict=True):
        row[0].imshow(picture, cmap="gray", vmin=-1, vmax=1)
        for axes, values in zip(row[1:], own, strict=True):
            image = _show_signed(axes, values, limit)
    for number, axes in enumerate(grid[0, 1:]):
        axes.set_title(f"{number}", fontsize=9)
    bar = figure.colorbar(image, ax=list(grid.ravel()), shrink=0.5, pad=0.01, aspect=40)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=12)
    return figure
