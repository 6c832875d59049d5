"""A network in the style of the LeNet paper's figure: stacks of maps, shapes, parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.data.preprocess import normalise
from lenet_paddle.figures.grid import DIVERGING
from lenet_paddle.figures.network.stages import (
    BAR,
    MOST_SHEETS,
    SHIFT,
    Stage,
    group_stages,
    make_stages,
)
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, label_classes, new_figure, short, styled
from lenet_paddle.figures.subject import choose_picture, load_subject
from lenet_paddle.figures.words import say
from lenet_paddle.models import MODELS, build_model, input_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from paddle import nn

MOST_STAGES = 12  # columns; a deeper network gets one column for all layers of one map size
# Lengths are those of `stages`.
GAP, LEAST_WIDTH = 9.0, 160.0  # between stages; of the whole figure
LABEL = 24.0  # width of the words below a column of several layers
MARGIN = 4.0  # left and right
DIGIT = 0.082  # width in inches of a figure of the parameters
HEAD, FOOT = 1.02, 1.1  # inches above (title, shapes) and below (layers, parameters)


def draw_architecture(config: VisualizeConfig) -> Drawn:
    """Draw a network's layers with their feature maps: a run's, --model's, or all networks."""
    picture = choose_picture(config)
    image = picture.image[None]
    if config.run:
        subject = load_subject(config)
        network, model, classes = subject.network, subject.config.model, subject.classes
        figure = plot_architecture(network, subject.normalise(image), model, classes)
        return {"architecture": figure}
    names = {"architecture": config.model} if config.model else {}
    names = names or {f"architecture-{name}": name for name in MODELS}
    return {
        stem: plot_architecture(
            build_model(name, 10, *picture.form),
            normalise(image, input_size(name, picture.form.size)),
            name,
        )
        for stem, name in names.items()
    }


@styled
def plot_architecture(
    network: nn.Layer, picture: np.ndarray, title: str = "", classes: Sequence[str] = ()
) -> Figure:
    """Plot a network with its outputs for one picture, float32 (1, C, S, S).

    The height of a stack follows from its maps' pixels. Each stage has its shape above it, its
    layers and parameters below it, and a scale of its own: red below 0, blue above.
    """
    stages = make_stages(network, picture)
    if is_deep := len(stages) > MOST_STAGES:
        stages = group_stages(stages)
    lefts = _place(stages, LABEL if is_deep else 0)
    answer = _name_answer(stages[-1], classes)
    right = lefts[-1] + stages[-1].width + 2 * MARGIN + 2.5 * max(0, len(answer) - 2)
    half = max(stage.height for stage in stages) / 2
    inch = (right + MARGIN) / 10
    top, bottom = half + HEAD * inch, -half - FOOT * inch
    figure = new_figure(10, (top - bottom) / inch, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, right), ylim=(bottom, top), aspect="equal")
    axes.axis("off")
    for before, stage, left_before, left in zip(stages, stages[1:], lefts, lefts[1:], strict=False):
        _connect(axes, before, left_before, stage, left)
    end = -math.inf  # of the last number of parameters
    for stage, left in zip(stages, lefts, strict=True):
        _draw_stage(axes, stage, left)
        centre = left + stage.width / 2
        reach = DIGIT * inch * len(f"{stage.parameters:,}") / 2 if stage.parameters else 0.0
        is_lower = reach > 0 and centre - reach < end + DIGIT * inch
        _label(axes, stage, centre, half, bottom + (0.02 if is_lower else 0.17) * inch, is_deep)
        end = centre + reach if reach and not is_lower else end
    if answer:
        _point_to(axes, stages[-1], lefts[-1], answer)
    total = sum(stage.parameters for stage in stages)
    text = say(
        "{title}: {total:,} parameters", "{title}：{total:,} 个参数", title=title, total=total
    )
    middle = (right - MARGIN) / 2
    axes.text(middle, top - 0.2 * inch, text, fontsize=13, ha="center", va="center")
    legend: dict[str, Any] = {"fontsize": 9, "ha": "center", "va": "top", "color": "#444444"}
    axes.text(middle, top - 0.35 * inch, _legend(stages, is_deep), **legend)
    return figure


def _legend(stages: Sequence[Stage], is_deep: bool) -> str:
    if is_deep:
        text = say(
            "a column: all layers of one map size, with the output of the last: "
            "red below 0, blue above",
            "一列：特征图尺寸相同的所有层，以及其中最后一层对这张图片的输出："
            "红色小于 0，蓝色大于 0",
        )
    else:
        text = say(
            "each layer's output for the picture: red below 0, blue above; "
            "orange: the window of one unit",
            "每一层对这张图片的输出：红色小于 0，蓝色大于 0；橙色：一个单元的窗口",
        )
    if any(stage.is_spatial and len(stage.values) > MOST_SHEETS for stage in stages):
        text += say(
            "\nonly the first {count} maps of a stack are drawn",
            "\n每叠只画前 {count} 张特征图",
            count=MOST_SHEETS,
        )
    return text


def _place(stages: Sequence[Stage], room: float) -> list[float]:
    """Return where each stage begins; their middles are at least `room` apart."""
    widths = [stage.width for stage in stages]
    gap = max(GAP, (LEAST_WIDTH - sum(widths)) / len(stages))
    lefts = [0.0]
    for before, after in itertools.pairwise(widths):
        lefts.append(lefts[-1] + before + max(gap, room - (before + after) / 2))
    return lefts


def _label(
    axes: Axes, stage: Stage, middle: float, half: float, bottom: float, is_deep: bool
) -> None:
    above: dict[str, Any] = {"ha": "center", "va": "bottom", "fontweight": "bold", "fontsize": 10}
    axes.text(middle, stage.height / 2 + 1, stage.shape, **above)
    below: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8 if is_deep else 9}
    axes.text(middle, -half - 1.5, "\n".join(stage.words), **below)
    if stage.parameters:
        number = f"{stage.parameters:,}"
        axes.text(middle, bottom, number, fontsize=10, color=BLUE, ha="center")
    elif stage.is_input:
        axes.text(
            middle, bottom, say("parameters:", "参数："), fontsize=10, color=BLUE, ha="center"
        )


def _draw_stage(axes: Axes, stage: Stage, left: float) -> None:
    """Draw a stack of maps from back to front, or a bar."""
    bottom = -stage.height / 2
    if not stage.is_spatial:
        _paint(axes, stage, stage.values.reshape(-1, 1), (left, bottom, BAR, stage.side))
        return
    for number in reversed(range(stage.sheets)):
        place = (left + SHIFT * number, bottom + SHIFT * number)
        values = stage.values[number]
        if stage.is_input and len(stage.values) == 3:  # each sheet is the colour picture
            values = (stage.values.transpose(1, 2, 0) + 1) / 2
        _paint(axes, stage, values, (*place, stage.breadth, stage.side))


def _paint(
    axes: Axes, stage: Stage, values: np.ndarray, box: tuple[float, float, float, float]
) -> None:
    from matplotlib.patches import Rectangle

    left, bottom, width, height = box
    limit = float(np.abs(stage.values).max()) or 1.0
    axes.imshow(
        values,
        cmap="gray" if stage.is_input else DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(left, left + width, bottom, bottom + height),
        interpolation="nearest",
        aspect="equal",
        zorder=2,
    )
    edge: dict[str, Any] = {"edgecolor": "#555555", "linewidth": 0.7, "zorder": 2}
    axes.add_patch(Rectangle((left, bottom), width, height, fill=False, **edge))


def _connect(axes: Axes, before: Stage, left_before: float, stage: Stage, left: float) -> None:
    """Connect a window of the stage before with its unit, or all of it where a unit sees all."""
    from matplotlib.patches import Polygon, Rectangle

    right, bottom = left_before + before.width, -before.height / 2
    if not (stage.kernel and before.is_spatial):
        corners = [
            (right, -bottom),
            (right, bottom),
            (left, -stage.side / 2),
            (left, stage.side / 2),
        ]
        axes.add_patch(Polygon(corners, color="#e8e8e8", linewidth=0, zorder=0))
        return
    side = stage.kernel * before.pixel
    x = left_before + min(0.62 * before.side, before.side - side)
    y = bottom + min(0.25 * before.side, before.side - side)
    target = (left + 0.5, -stage.side / 2 * 0.2)
    if stage.is_spatial:
        target = (left + 0.3 * stage.breadth, -stage.height / 2 + 0.3 * stage.side)
    style: dict[str, Any] = {"color": ORANGE, "linewidth": 1.0, "zorder": 3}
    axes.add_patch(Rectangle((x, y), side, side, fill=False, **style))
    for edge in (y, y + side):
        axes.plot([x + side, target[0]], [edge, target[1]], **style)


def _name_answer(stage: Stage, classes: Sequence[str]) -> str:
    """Return the class of the highest logit, or nothing if the stage has no logits."""
    if stage.is_spatial or len(classes) != stage.values.size or stage.parameters == 0:
        return ""
    return short(label_classes(classes)[int(stage.values.argmax())])


def _point_to(axes: Axes, stage: Stage, left: float, answer: str) -> None:
    """Write the answer next to its logit."""
    best = int(stage.values.argmax())
    y = stage.side * (0.5 - (best + 0.5) / stage.values.size)
    axes.annotate(
        answer,
        (left + BAR, y),
        (left + BAR + 3.5, y),
        fontsize=12,
        fontweight="bold",
        va="center",
        arrowprops={"arrowstyle": "<-", "color": "#555555"},
    )
