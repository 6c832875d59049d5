"""The receptive field of each layer, in theory and by gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.grid import as_pictures, seen
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import ORANGE, count_shown, new_figure, spread, styled
from lenet_paddle.figures.subject import choose_picture, load_images, load_subject
from lenet_paddle.figures.words import say
from lenet_paddle.tables import show_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lenet_paddle.analysis.receptive import ReceptiveField

NUM_PICTURES = 128  # over which the effective field is averaged; fewer of more than 32x32
MOST_LAYERS = 7


def draw_receptive_field(config: VisualizeConfig) -> Drawn:
    """Draw the receptive field of every layer's middle unit."""
    from lenet_paddle.analysis.hooks import fitting
    from lenet_paddle.analysis.receptive import (
        effective_fields,
        layers_with_fields,
        receptive_fields,
    )

    subject = load_subject(config)
    subject.need_convolution("receptive field smaller than the picture")
    picture = subject.normalise(choose_picture(config).image[None])
    every = layers_with_fields(subject.network, subject.side, subject.channels)
    layers = spread(every, MOST_LAYERS)
    fields = receptive_fields(subject.network, subject.side, layers, subject.channels)
    image_set, _ = load_images(config)
    batch = subject.normalise(image_set.images[: fitting(NUM_PICTURES, subject.side)])
    effective = effective_fields(subject.network, batch, layers)
    title = say(
        "{run}: receptive field of each layer's middle unit",
        "{run}：每一层中间单元的感受野",
        run=subject.about,
    )
    title += count_shown(layers, every)
    figure = plot_receptive_fields(as_pictures(picture)[0], fields, effective, title)
    return {"receptive-field": figure}


@styled
def plot_receptive_fields(
    picture: np.ndarray,
    fields: Sequence[ReceptiveField],
    effective: Mapping[str, np.ndarray],
    title: str = "",
) -> Figure:
    """Plot the theoretical field of each layer's middle unit on a picture, below it the effective.

    picture: normalised float32 (S, S) or (S, S, 3); effective: layer name -> float (S, S).
    """
    from lenet_paddle.analysis.receptive import effective_size

    num_cols = len(fields)
    figure = new_figure(10, 19.4 / num_cols + 1.75)
    grid = figure.subplots(2, num_cols, squeeze=False)
    for (above, below), field in zip(grid.T, fields, strict=True):
        slopes = effective[field.layer]
        seen(above, picture)
        below.imshow(slopes, cmap="viridis", vmin=0, vmax=float(slopes.max()) or 1.0)
        for axes in (above, below):
            _mark_field(axes, field, len(picture))
        above.set_title(f"{_wrap(field.layer)}\n{field.kind}", fontsize=9)
        above.set_xlabel(_describe(field, len(picture)), fontsize=9)
        below.set_xlabel(
            say("effective side {side:.1f}", "有效边长 {side:.1f}", side=effective_size(slopes)),
            fontsize=9,
        )
    grid[0, 0].set_ylabel(say("theoretical field", "理论感受野"), fontsize=10)
    grid[1, 0].set_ylabel(say("effective field", "有效感受野"), fontsize=10)
    rule = say(
        "theoretical: r' = r + d(k - 1)j, step j' = js (Araujo et al. 2019); effective: gradient, "
        "side of the area above 4.55% of its peak (Luo et al. 2016)",
        "理论：r' = r + d(k - 1)j，步长 j' = js（Araujo 等 2019）；"
        "有效：梯度，高于峰值 4.55% 的区域的边长（Luo 等 2016）",
    )
    figure.suptitle(f"{title}\n{rule}", fontsize=9.5)
    return figure


def _wrap(name: str, width: int = 16) -> str:
    """Break a long layer name into lines before its dots."""
    lines = [""]
    for part in name.replace(".", "\0.").split("\0"):
        if len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines).strip()


def _describe(field: ReceptiveField, side: int) -> str:
    if not field.step:
        return say(
            "field: the whole\n{size} picture",
            "感受野：整张\n{size} 图片",
            size=show_size((side, side)),
        )
    size, step = show_size(field.size), show_size(field.step[:1])
    return say("field {size}\nstep {step}", "感受野 {size}\n步长 {step}", size=size, step=step)


def _mark_field(axes: Axes, field: ReceptiveField, side: int) -> None:
    """Outline the middle unit's field with its padding, or the picture if it sees all of it."""
    from matplotlib.patches import Rectangle

    (top, left), (height, width) = field.begin, field.size
    if field.sees_all(side):
        top, left, height, width = 0, 0, side, side
    axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), xticks=[], yticks=[])
    if not math.isfinite(top + left + height + width):
        return
    corner = (left - 0.5, top - 0.5)
    axes.add_patch(Rectangle(corner, width, height, fill=False, color=ORANGE, linewidth=2))
    edge = max(0.0, -top, -left, top + height - side, left + width - side) + 0.8
    axes.set(xlim=(-edge, side - 1 + edge), ylim=(side - 1 + edge, -edge))
