"""The kernels of every convolution, one scale a layer: red below 0, white at 0, blue above.

Those on colour pictures are drawn in colour, and grey at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.grid import GAP, as_colours, mosaic, show_signed, tile_scale
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import count_shown, new_figure, spread, styled
from lenet_paddle.figures.subject import load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# What one figure has room for; the first kernels are drawn, and an even choice of layers.
MOST_OUTPUTS, MOST_INPUTS, MOST_LAYERS = 32, 16, 6
MOST_ROWS = 48  # of kernels, in all layers


def draw_filters(config: VisualizeConfig) -> Drawn:
    """Draw the kernels of every convolution."""
    from paddle import nn

    from lenet_paddle.analysis.hooks import caption, leaf_layers

    subject = load_subject(config)
    subject.need_convolution("kernel")
    kernels = {
        caption(name, layer): layer.weight.numpy()
        for name, layer in leaf_layers(subject.network).items()
        if isinstance(layer, nn.Conv2D)
    }
    title = say("kernels of {run}", "{run} 的卷积核", run=subject.about)
    return {"filters": plot_filters(kernels, title, subject.channels == 3)}


@styled
def plot_filters(
    kernels: Mapping[str, np.ndarray], title: str = "", in_colour: bool = False
) -> Figure:
    """Plot kernels: a column for each output channel, a row for each input channel.

    kernels: layer name -> float (C_out, C_in, H, W), at least one layer. Each layer has a scale
    of its own, centred at 0. With `in_colour` the first layer is on red, green and blue, and its
    three rows become one in colour.
    """
    names = spread(list(kernels), MOST_LAYERS)
    most_inputs = min(MOST_INPUTS, MOST_ROWS // len(names))
    shown = {name: kernels[name][:MOST_OUTPUTS, :most_inputs] for name in names}
    coloured = names[0] if in_colour else None
    heights = [_strip_height(array, name == coloured) for name, array in shown.items()]
    figure = new_figure(10, sum(heights) + 0.6)
    figure.suptitle(title + count_shown(names, kernels), fontsize=12)
    parts = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights).ravel()
    for part, (name, array) in zip(parts, shown.items(), strict=True):
        full = kernels[name]
        axes = part.subplots()
        image = None if name == coloured else _show_rows(axes, array)
        if image is None:
            _show_colours(axes, array)
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
        if image is None:
            axes.set_ylabel(say("in colour", "彩色显示"), fontsize=9)
            continue
        axes.set_ylabel(say("input channel", "输入通道"), fontsize=9)
        bar = part.colorbar(image, ax=axes, shrink=0.9, pad=0.01)
        bar.ax.tick_params(labelsize=8)
    return figure


def _show_rows(axes: Axes, array: np.ndarray) -> AxesImage:
    """Show kernels (C_out, C_in, H, W), a row for each input channel."""
    scale = tile_scale(array)
    sheet = mosaic(array.transpose(1, 0, 2, 3), scale)
    image = show_signed(axes, sheet, float(np.abs(array).max()))
    _number_tiles(axes, array.shape, scale)
    return image


def _show_colours(axes: Axes, array: np.ndarray) -> None:
    """Show kernels on red, green and blue, (C_out, 3, H, W), as one row in colour."""
    scale = tile_scale(array)
    colours = as_colours(array, float(np.abs(array).max()))
    sheet = np.stack([mosaic(plane[None], scale) for plane in np.moveaxis(colours, 3, 0)], axis=2)
    axes.imshow(np.where(np.isnan(sheet), 1, sheet), interpolation="nearest")
    _number_tiles(axes, (len(array), 0, *array.shape[2:]), scale)
    axes.spines[:].set_visible(False)


def _number_tiles(axes: Axes, shape: tuple[int, ...], scale: int) -> None:
    """Number the channels along a mosaic of kernels, shape (C_out, C_in, H, W)."""
    num_out, num_in, height, width = shape
    for places, count, tile in (
        (axes.set_xticks, num_out, width * scale),
        (axes.set_yticks, num_in, height * scale),
    ):
        places([i * (tile + GAP) + tile / 2 for i in range(count)], [str(i) for i in range(count)])
    axes.tick_params(labelsize=8, length=0)


def _strip_height(array: np.ndarray, in_colour: bool) -> float:
    """Return the inches that a layer's kernels need at the figure's width."""
    num_out, num_in, height, width = array.shape
    num_in = 1 if in_colour else num_in
    return 8.5 * num_in * height / (num_out * width) + 0.95
