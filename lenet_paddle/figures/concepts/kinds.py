"""Softmax and sigmoid: one answer out of several, or any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGITS = (2.0, 1.5, -1.0)


def draw_kinds(config: VisualizeConfig) -> Drawn:
    """Draw softmax and sigmoid of the same three logits."""
    return {"kinds": plot_kinds(np.array(LOGITS))}


@styled
def plot_kinds(logits: np.ndarray) -> Figure:
    """Plot what softmax and sigmoid make of three logits, float (3,)."""
    names = [say("cat", "猫"), say("dog", "狗"), say("child", "孩子")]
    [softmax] = compute_probs(logits[None])
    titles = (
        say("softmax: which one?", "softmax：是哪一个？"),
        say("sigmoid: each, yes or no?", "sigmoid：每一个，是或否？"),
    )
    figure = new_figure(9, 2.7)
    panels = figure.subplots(1, 2)
    for axes, title, heights, colour in zip(
        panels, titles, (softmax, 1 / (1 + np.exp(-logits))), (BLUE, ORANGE), strict=True
    ):
        bars = axes.bar(names, heights, color=colour)
        axes.bar_label(bars, [f"{height:.2f}" for height in heights])
        axes.set(title=title, ylim=(0, 1.12))
        axes.set_xlabel(say("sum {total:.2f}", "总和 {total:.2f}", total=heights.sum()))
    return figure
