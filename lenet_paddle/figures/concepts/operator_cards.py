"""A card for each operator: input, kernel and output with their numbers, and the costs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.concepts.operator_parts import Operator, Part
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lengths are in cells, squares of one unit.
WIDTH, CELL_INCHES = 40.0, 0.25
TOP = 1.4  # above all cards: what the orange frame means
BETWEEN = 0.5  # between the matrices of a part
HEAD, FOOT = 3.8, 2.0  # above the matrices: title, names, shapes; below: the costs
FILLS = ("#dcebf7", "#efe0f0")  # one for each group
KERNEL_FILL, MARKED_FILL = "#fff6d8", "#fbd5b5"


def draw_operators(config: VisualizeConfig) -> Drawn:
    """Draw eight kinds of convolution with their numbers, together and each on its own."""
    from lenet_paddle.figures.concepts.operators import make_operators

    operators = make_operators()
    each = {f"operators-{operator.stem}": plot_operators([operator]) for operator in operators}
    return {"operators": plot_operators(operators), **each}


@styled
def plot_operators(operators: Sequence[Operator]) -> Figure:
    """Plot a card for each operator, one below the other."""
    heights = [HEAD + _height(operator) + FOOT for operator in operators]
    total = sum(heights) + TOP
    figure = new_figure(WIDTH * CELL_INCHES, total * CELL_INCHES, layout=None)
    frame = say(
        "framed in orange: the cells behind the first output number",
        "橙色框：输出的第一个数由它们算出",
    )
    figure.text(0.8 / WIDTH, 1 - 0.9 / total, frame, fontsize=9, color=ORANGE, va="center")
    top = 1 - TOP / total
    for operator, height in zip(operators, heights, strict=True):
        share = height / total
        axes = figure.add_axes((0, top - share, 1, share))
        axes.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="equal")
        axes.axis("off")
        _draw_card(axes, operator, height)
        top -= share
    return figure


def _height(operator: Operator) -> float:
    return max(_extent(part)[1] for part in operator.parts)


def _extent(part: Part) -> tuple[float, float]:
    """Return the width and height of a part's matrices, in cells."""
    rows, cols, height, width = part.blocks.shape
    return cols * (width + BETWEEN) - BETWEEN, rows * (height + BETWEEN) - BETWEEN


def _text_width(text: str) -> float:
    """Estimate a text's width at 9 points, in cells; Chinese characters are twice as wide."""
    return sum(0.52 if unicodedata.east_asian_width(sign) in "WF" else 0.3 for sign in text)


def _draw_card(axes: Axes, operator: Operator, height: float) -> None:
    axes.text(0.8, 0.9, operator.name, fontsize=12, fontweight="bold", va="center")
    axes.text(WIDTH - 0.8, 0.9, operator.note, fontsize=9, va="center", ha="right", color="#444444")
    left = 0.8
    for part in operator.parts:
        if part.sign:
            middle = HEAD + _height(operator) / 2
            axes.text(left + 0.7, middle, part.sign, fontsize=14, ha="center", va="center")
            left += 1.6
        shape = "x".join(map(str, part.shape))
        axes.text(left, 2.2, part.name, fontsize=9, va="center")
        axes.text(left, 3.15, shape, fontsize=9, va="center", color="#444444")
        width = _extent(part)[0]
        _draw_part(axes, part, left, HEAD + (_height(operator) - _extent(part)[1]) / 2)
        left += max(width, _text_width(part.name), _text_width(shape))
    axes.text(0.8, height - 1.1, _cost_line(operator), fontsize=9, va="center")
    axes.plot([0.8, WIDTH - 0.8], [height - 0.2] * 2, color="#cccccc", linewidth=0.8)


def _cost_line(operator: Operator) -> str:
    line = say(
        "parameters {parameters};  multiplications {multiplications}",
        "参数 {parameters}；  乘法次数 {multiplications}",
        parameters=operator.parameters,
        multiplications=operator.multiplications,
    )
    if operator.plain is None:
        return line
    parameters, multiplications = operator.plain
    return line + say(
        "  (ordinary convolution: {parameters};  {multiplications})",
        "  （普通卷积：{parameters}；  {multiplications}）",
        parameters=parameters,
        multiplications=multiplications,
    )


def _draw_part(axes: Axes, part: Part, left: float, top: float) -> None:
    height, width = part.blocks.shape[2:]
    for row, col in np.ndindex(part.blocks.shape[:2]):
        group = 0 if part.groups is None else int(part.groups[row, col])
        fill = KERNEL_FILL if part.sign in ("∗", "⇐") else FILLS[group]
        marked = np.zeros((height, width), bool) if part.marked is None else part.marked[row, col]
        corner = (left + col * (width + BETWEEN), top + row * (height + BETWEEN))
        _draw_matrix(axes, part.blocks[row, col], marked, corner, fill)


def _draw_matrix(
    axes: Axes, matrix: np.ndarray, marked: np.ndarray, corner: tuple[float, float], fill: str
) -> None:
    from matplotlib.patches import Rectangle

    for (row, col), value in np.ndenumerate(matrix):
        x, y = corner[0] + col, corner[1] + row
        colours = (MARKED_FILL, ORANGE) if marked[row, col] else (fill, "#8899aa")
        axes.add_patch(
            Rectangle(
                (x, y),
                1,
                1,
                facecolor=colours[0],
                edgecolor=colours[1],
                linewidth=1.4 if marked[row, col] else 0.6,
                zorder=2 if marked[row, col] else 1,
            )
        )
        size = 9 if abs(value) < 100 else 8
        axes.text(
            x + 0.5, y + 0.53, f"{value:g}", fontsize=size, ha="center", va="center", zorder=3
        )
