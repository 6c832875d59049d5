"""Feature maps: every layer's output for a picture, and several pictures by one layer's kernels.

Maps are drawn red below 0, white at 0, blue above, on one scale a layer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.grid import as_colours, as_pictures, mosaic, seen, show_signed, tile_scale
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import count_shown, new_figure, spread, styled
from lenet_paddle.figures.subject import (
    Subject,
    choose_pictures,
    load_subject,
    name_files,
    stack_images,
)
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_MAPS, MOST_LAYERS = 16, 16  # that one figure has room for
_log = logging.getLogger(__name__)


def draw_features(config: VisualizeConfig) -> Drawn:
    """Draw every layer's output for a picture, and ten pictures by one layer's kernels."""
    from lenet_paddle.analysis.hooks import caption, layer_outputs, leaf_layers

    subject = load_subject(config)
    pictures = choose_pictures(config, 1)
    layers, batch = leaf_layers(subject.network), subject.normalise(stack_images(pictures))
    outputs = layer_outputs(subject.network, batch)
    figures = {}
    for row, stem in enumerate(name_files("features", pictures)):
        own = {caption(layer, layers[layer]): values[row] for layer, values in outputs.items()}
        title = say(
            "{run}: every layer's output for {name}",
            "{run}：每一层对 {name} 的输出",
            run=subject.about,
            name=pictures[row].label,
        )
        figures[stem] = plot_features(as_pictures(batch)[row], own, title)
    return {**figures, **_draw_feature_grid(config, subject)}


def _draw_feature_grid(config: VisualizeConfig, subject: Subject) -> Drawn:
    from paddle import nn

    from lenet_paddle.analysis.hooks import caption, check_maps, layer_outputs, leaf_layers

    name = config.layer or subject.first_convolution
    if name is None:
        _log.info(
            "%s has no convolution: the grid of feature maps is left out", subject.config.model
        )
        return {}
    batch = subject.normalise(stack_images(choose_pictures(config, 10)))
    outputs = layer_outputs(subject.network, batch)
    check_maps(name, outputs)
    layer = leaf_layers(subject.network)[name]
    kernels = None
    if isinstance(layer, nn.Conv2D) and layer.weight.shape[1] == 1:
        kernels = layer.weight.numpy()[:, 0]
    elif subject.channels == 3 and name == subject.first_convolution:
        kernels = layer.weight.numpy()
    title = say(
        "{layer}: feature maps of {n} pictures",
        "{layer}：{n} 张图片 × 各卷积核的特征图",
        layer=caption(name, layer),
        n=len(batch),
    )
    return {"features-grid": plot_feature_grid(as_pictures(batch), outputs[name], kernels, title)}


@styled
def plot_features(
    picture: np.ndarray, outputs: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Plot every layer's output for one picture, shallow to deep, each with its shape.

    picture: normalised float32 (S, S) or (S, S, 3); outputs: caption -> float32 (C, H, W) or (N,),
    as `hooks.layer_outputs` returns them. Each layer has a scale of its own.
    """
    names = spread(list(outputs), MOST_LAYERS)
    sheets = {name: _sheet(outputs[name]) for name in names}
    heights = [1.5, *(_sheet_height(sheet) for sheet in sheets.values())]
    figure = new_figure(10, sum(heights) + 0.8)
    figure.suptitle(title + count_shown(names, outputs), fontsize=12)
    grid = figure.subplots(len(heights), 2, width_ratios=(1.9, 8), height_ratios=heights)
    seen(grid[0, 1], picture)
    _name_row(grid[0], say("input", "输入"), _planes(picture), "")
    for row, name in zip(grid[1:], names, strict=True):
        values = outputs[name]
        image = show_signed(row[1], sheets[name], float(np.abs(values).max()))
        note = f"{values.min():.2f} … {values.max():.2f}"
        if values.ndim == 1:
            image.set_extent((0, len(values), 1, 0))
            row[1].set_aspect("auto")
            _write_values(row[1], values)
        elif len(values) > MOST_MAPS:
            note += say(", the first {count}", "，前 {count} 个", count=MOST_MAPS)
        _name_row(row, name, values.shape, note)
    return figure


def _planes(picture: np.ndarray) -> tuple[int, ...]:
    """Return the shape of a picture, (S, S) or (S, S, 3), with its channels first."""
    return (1 if picture.ndim == 2 else 3, *picture.shape[:2])


def _write_values(axes: Axes, values: np.ndarray) -> None:
    """Write the numbers into the cells of a short vector."""
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
    """Return a layer's output as one matrix: maps side by side, or a vector as a strip."""
    if values.ndim == 1:
        return values[None]
    return mosaic(values[None, :MOST_MAPS], tile_scale(values))


def _sheet_height(sheet: np.ndarray) -> float:
    height, width = sheet.shape
    return float(np.clip(7.8 * height / width, 0.6, 1.5)) if height > 1 else 0.6


@styled
def plot_feature_grid(
    pictures: np.ndarray,
    maps: np.ndarray,
    kernels: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Plot the maps of one layer: a row for each picture, a column for each kernel.

    pictures: normalised float32 (B, S, S) or (B, S, S, 3); maps: float32 (B, C, H, W); kernels:
    float (C, H, W), or (C, 3, H, W) to be drawn in colour, above their columns. All maps share one
    scale.
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
    figure = new_figure(cell * (num_maps + 1) + 0.8, cell * (num_rows + tops) + 0.8)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    grid = figure.subplots(num_rows + tops, num_maps + 1, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    if kernels is not None:
        grid[0, 0].axis("off")
        for axes, kernel in zip(grid[0, 1:], kernels, strict=False):
            limit = float(np.abs(kernels).max())
            if kernel.ndim == 3:
                axes.imshow(as_colours(kernel, limit))
            else:
                show_signed(axes, kernel, limit)
        grid[0, 0].text(0.5, 0.5, say("kernels", "卷积核"), fontsize=9, ha="center", va="center")
    limit = float(np.abs(maps).max())
    for row, picture, own in zip(grid[tops:], pictures, maps, strict=True):
        seen(row[0], picture)
        for axes, values in zip(row[1:], own, strict=True):
            image = show_signed(axes, values, limit)
    for number, axes in enumerate(grid[0, 1:]):
        axes.set_title(f"{number}", fontsize=9)
    bar = figure.colorbar(image, ax=list(grid.ravel()), shrink=0.5, pad=0.01, aspect=40)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=12)
    return figure
