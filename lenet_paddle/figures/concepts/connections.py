"""What a convolution leaves out: local connections, shared weights; how far its units see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, OKABE_ITO, ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_INPUTS, SIDE = 7, 3  # pixels in a row; of the kernel
WIDE = 9  # pixels below the receptive field


def draw_connections(config: VisualizeConfig) -> Drawn:
    """Draw local connections, shared weights, and a receptive field that grows 3, 5, 7."""
    return {"connections": plot_connections(), "connections-field": plot_growing_field()}


def connect(is_local: bool) -> list[tuple[int, int]]:
    """Return the pairs (input, unit) that are connected; units are as many as windows fit."""
    units = range(NUM_INPUTS - SIDE + 1)
    return [(i, u) for u in units for i in range(NUM_INPUTS) if not is_local or 0 <= i - u < SIDE]


@styled
def plot_connections() -> Figure:
    """Plot a linear layer, the same with local connections only, and with shared weights."""
    figure = new_figure(10, 3.2)
    panels = figure.subplots(1, 3)
    titles = (
        say("linear layer: all to all", "全连接层：全部相连"),
        say("local connections", "局部连接"),
        say("and shared weights: a convolution", "再加权值共享：卷积"),
    )
    for number, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        pairs = connect(is_local=number > 0)
        for i, u in pairs:
            shade = OKABE_ITO[i - u] if number == 2 else "0.55"
            axes.plot((i, u + 1), (0, 1), color=shade, linewidth=2 if number == 2 else 1, zorder=1)
        num_weights = SIDE if number == 2 else len(pairs)
        _draw_units(axes, NUM_INPUTS, 0, 0)
        _draw_units(axes, NUM_INPUTS - SIDE + 1, 1, 1)
        axes.set_title(title, fontsize=11)
        axes.text(
            *(3, -0.35, say("{n} weights", "{n} 个权重", n=num_weights)), ha="center", fontsize=11
        )
        axes.set(xlim=(-0.5, 6.5), ylim=(-0.5, 1.2))
        axes.axis("off")
    return figure


@styled
def plot_growing_field() -> Figure:
    """Plot three layers of kernels of 3 in one dimension and what one unit of the last sees."""
    figure = new_figure(10, 3.4)
    axes = figure.subplots()
    for layer in range(4):
        _draw_units(axes, WIDE - 2 * layer, layer, layer)
        seen = 2 * (3 - layer) + 1  # of this row, by the unit on top
        first = WIDE // 2 - seen // 2
        if layer < 3:
            above = 2 * (2 - layer) + 1
            for u in range(WIDE // 2 - above // 2, WIDE // 2 + above // 2 + 1):
                for i in (u - 1, u, u + 1):
                    axes.plot((i, u), (layer, layer + 1), color=ORANGE, linewidth=1.4, zorder=1)
        _draw_units(axes, seen, layer, first, ORANGE)
        name = say("layer {n}", "第 {n} 层", n=layer) if layer else say("pixels", "像素")
        field = 2 * layer + 1
        text = (
            name
            if not layer
            else name + say(": sees {field} pixels", "：看到 {field} 个像素", field=field)
        )
        axes.text(WIDE - 0.3, layer, text, va="center", fontsize=11)
    axes.set(xlim=(-0.5, WIDE + 2.4), ylim=(-0.4, 3.4))
    axes.axis("off")
    return figure


def _draw_units(axes: Axes, count: int, row: int, first: int, colour: str = BLUE) -> None:
    axes.scatter(
        range(first, first + count), [row] * count, s=140, color=colour, edgecolor="white", zorder=2
    )
