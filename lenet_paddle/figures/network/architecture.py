"""A network drawn as the LeNet paper draws its own: stacks of maps, shapes, parameters."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from paddle import nn

from lenet_paddle.analysis.hooks import layer_outputs, leaf_layers
from lenet_paddle.figures.style import BLUE, ORANGE, short, styled
from lenet_paddle.figures.words import say

MOST_SHEETS = 8  # maps drawn of a stack
MOST_STAGES = 12  # columns; of a deeper network a column is all layers of one map size
LARGEST_MAP = 32  # drawn of such a network; larger ones are drawn smaller, all by one factor
# Lengths are in pixels of the input picture.
SHIFT = 0.9  # from one sheet of a stack to the next
BAR = 3.0  # width of a vector
GAP, LEAST_WIDTH = 9.0, 160.0  # between stages; of the whole
LABEL = 24.0  # of the words below a column of several layers
MARGIN = 4.0  # beside
HEAD, FOOT = 1.02, 1.1  # inches above (title, shapes) and below (layers, parameters)


@dataclass
class Stage:
    """One column of the drawing: a layer that changes the shape, with what follows in place."""

    words: list[str]
    """What made it: `Conv2D`, `5x5`, `ReLU`."""
    values: np.ndarray
    """Its output for one picture, (C, H, W) or (N,), behind the last of its layers."""
    size: tuple[int, ...]
    """The shape of that output, which is drawn smaller where it has no room."""
    parameters: int = 0
    kernel: int = 0
    """Side of the window that one of its units sees of the stage before; 0: it sees all."""
    is_input: bool = False

    @property
    def is_spatial(self) -> bool:
        """Maps, not a vector (nor 120 maps of one pixel, which are drawn as one)."""
        return self.values.ndim == 3 and max(self.values.shape[1:]) > 1

    @property
    def shape(self) -> str:
        """`6@28x28`, as the paper writes it, or the number of units."""
        if len(self.size) == 1:
            return f"{self.size[0]}"
        return f"{self.size[0]}@{self.size[1]}x{self.size[2]}"

    @property
    def sheets(self) -> int:
        """How many of its maps are drawn."""
        return min(len(self.values), MOST_SHEETS)

    @property
    def side(self) -> float:
        """Height of one map; of a vector, that of a square with as many values."""
        return self.values.shape[1] if self.is_spatial else math.sqrt(self.values.size)

    @property
    def height(self) -> float:
        """Height of the stack."""
        return self.side + (SHIFT * (self.sheets - 1) if self.is_spatial else 0)

    @property
    def width(self) -> float:
        """Width of the stack or bar."""
        return self.values.shape[2] + SHIFT * (self.sheets - 1) if self.is_spatial else BAR


def make_stages(network: nn.Layer, picture: np.ndarray) -> list[Stage]:
    """The input and every convolution, pooling and dense layer with what it makes of `picture`.

    picture: a normalised batch of one, float32 (1, 1, S, S). Activations and other layers that
    keep the shape belong to the stage before them; flattening is not drawn.
    """
    layers = leaf_layers(network)
    stages = [Stage([say("input", "输入")], picture[0], picture[0].shape, is_input=True)]
    for name, output in layer_outputs(network, picture).items():
        layer, values = layers[name], output[0]
        parameters = sum(math.prod(weight.shape) for weight in layer.parameters())
        if isinstance(layer, nn.Flatten):
            continue
        if parameters == 0 and values.shape == stages[-1].values.shape:
            stages[-1].words.append(type(layer).__name__)
            stages[-1].values = values
        else:
            stages.append(_make_stage(layer, values, parameters))
    return stages


def _make_stage(layer: nn.Layer, values: np.ndarray, parameters: int) -> Stage:
    kernel = getattr(layer, "_kernel_size", getattr(layer, "ksize", None))
    words = [type(layer).__name__]
    if kernel is None:
        return Stage(words, values, values.shape, parameters)
    high, wide = np.broadcast_to(kernel, 2).tolist()
    return Stage([*words, f"{high}x{wide}"], values, values.shape, parameters, high)


def group_stages(stages: Sequence[Stage]) -> list[Stage]:
    """The stages of one map size as one, with the last one's maps and all their layers counted.

    Small maps between larger ones, as of a gate on the channels, belong to the larger. Maps
    above `LARGEST_MAP` are thinned out.
    """
    sides = [stage.size[1] if len(stage.size) == 3 else 0 for stage in stages]
    largest = np.maximum.accumulate(sides[::-1])[::-1].tolist()  # of this and all later stages
    step = -(-max(sides[1:]) // LARGEST_MAP)
    groups: list[Stage] = [stages[0]]
    for _, members in itertools.groupby(range(1, len(stages)), lambda i: largest[i] or -i):
        own = list(members)
        last = stages[[i for i in own if sides[i] == largest[i]][-1]]
        values = last.values[:, ::step, ::step] if last.values.ndim == 3 else last.values
        if values.ndim == 1 and len(values) > LARGEST_MAP**2:
            values = values[:: step * step]
        kinds = Counter(word for i in own for word in stages[i].words if word.isidentifier())
        words = [f"{count} {kind}" for kind, count in kinds.most_common(3)]
        parameters = sum(stages[i].parameters for i in own)
        groups.append(Stage(words, values, last.size, parameters))
    return groups


@styled
def plot_architecture(
    network: nn.Layer, picture: np.ndarray, title: str = "", classes: Sequence[str] = ()
) -> Figure:
    """The network with the maps that it really makes of one picture, float32 (1, 1, S, S).

    A stack is as high as its maps have pixels; a vector as a square of as many values. Above
    each stage its shape, below it its layers and parameters. Blue below 0, red above, each stage
    with its own scale.
    """
    stages = make_stages(network, picture)
    if is_deep := len(stages) > MOST_STAGES:
        stages = group_stages(stages)
    lefts = _place(stages, LABEL if is_deep else 0)
    right = lefts[-1] + stages[-1].width + 2 * MARGIN
    half = max(stage.height for stage in stages) / 2
    inch = (right + MARGIN) / 10
    top, bottom = half + HEAD * inch, -half - FOOT * inch
    figure = Figure(figsize=(10, (top - bottom) / inch))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, right), ylim=(bottom, top), aspect="equal")
    axes.axis("off")
    for before, stage, left_before, left in zip(stages, stages[1:], lefts, lefts[1:], strict=False):
        _connect(axes, before, left_before, stage, left)
    for stage, left in zip(stages, lefts, strict=True):
        _draw_stage(axes, stage, left)
        _label(axes, stage, left + stage.width / 2, half, bottom + 0.17 * inch)
    _name_classes(axes, stages[-1], lefts[-1], classes)
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
            "a column: all layers of one map size, and what the last makes of the picture: "
            "blue below 0, red above",
            "一列：特征图尺寸相同的所有层，以及其中最后一层对这张图片的输出："
            "蓝色小于 0，红色大于 0",
        )
    else:
        text = say(
            "what each layer makes of the picture: blue below 0, red above; "
            "orange: what one unit sees",
            "每一层对这张图片的输出：蓝色小于 0，红色大于 0；橙色：一个单元所看到的区域",
        )
    if any(stage.is_spatial and len(stage.values) > MOST_SHEETS for stage in stages):
        text += say(
            "\nof a stack the first {count} maps are drawn",
            "\n每叠只画前 {count} 张特征图",
            count=MOST_SHEETS,
        )
    return text


def _place(stages: Sequence[Stage], room: float) -> list[float]:
    """Where each stage begins; their middles are at least `room` apart."""
    widths = [stage.width for stage in stages]
    gap = max(GAP, (LEAST_WIDTH - sum(widths)) / len(stages))
    lefts = [0.0]
    for before, after in itertools.pairwise(widths):
        lefts.append(lefts[-1] + before + max(gap, room - (before + after) / 2))
    return lefts


def _label(axes: Axes, stage: Stage, middle: float, half: float, bottom: float) -> None:
    above: dict[str, Any] = {"ha": "center", "va": "bottom", "fontweight": "bold", "fontsize": 10}
    axes.text(middle, stage.height / 2 + 1, stage.shape, **above)
    axes.text(middle, -half - 1.5, "\n".join(stage.words), fontsize=9, ha="center", va="top")
    if stage.parameters:
        number = f"{stage.parameters:,}"
        axes.text(middle, bottom, number, fontsize=10, color=BLUE, ha="center")
    elif stage.is_input:
        axes.text(
            middle, bottom, say("parameters:", "参数："), fontsize=10, color=BLUE, ha="center"
        )


def _draw_stage(axes: Axes, stage: Stage, left: float) -> None:
    """A stack of maps from back to front, or a bar."""
    bottom = -stage.height / 2
    if not stage.is_spatial:
        _paint(axes, stage, stage.values.reshape(-1, 1), (left, bottom, BAR, stage.side))
        return
    for number in reversed(range(stage.sheets)):
        place = (left + SHIFT * number, bottom + SHIFT * number)
        size = (stage.values.shape[2], stage.side)
        _paint(axes, stage, stage.values[number], (*place, *size))


def _paint(
    axes: Axes, stage: Stage, values: np.ndarray, box: tuple[float, float, float, float]
) -> None:
    left, bottom, width, height = box
    limit = float(np.abs(stage.values).max()) or 1.0
    axes.imshow(
        values,
        cmap="gray" if stage.is_input else "RdBu_r",
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
    """A window on the stage before and its one unit, or a fan where every unit sees all."""
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
    side = stage.kernel
    x = left_before + min(0.62 * before.side, before.side - side)
    y = bottom + min(0.25 * before.side, before.side - side)
    target = (left + 0.5, -stage.side / 2 * 0.2)
    if stage.is_spatial:
        target = (left + 0.3 * stage.values.shape[2], -stage.height / 2 + 0.3 * stage.side)
    style: dict[str, Any] = {"color": ORANGE, "linewidth": 1.0, "zorder": 3}
    axes.add_patch(Rectangle((x, y), side, side, fill=False, **style))
    for edge in (y, y + side):
        axes.plot([x + side, target[0]], [edge, target[1]], **style)


def _name_classes(axes: Axes, stage: Stage, left: float, classes: Sequence[str]) -> None:
    """The strongest answer beside the last layer."""
    if stage.is_spatial or len(classes) != stage.values.size or stage.parameters == 0:
        return
    best = int(stage.values.argmax())
    y = stage.side * (0.5 - (best + 0.5) / stage.values.size)
    axes.annotate(
        short(classes[best]),
        (left + BAR, y),
        (left + BAR + 3.5, y),
        fontsize=12,
        fontweight="bold",
        va="center",
        arrowprops={"arrowstyle": "<-", "color": "#555555"},
    )
