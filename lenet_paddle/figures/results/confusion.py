"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.evaluation.metrics import count_confusion
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import label_classes, new_figure, short, styled
from lenet_paddle.figures.subject import load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_confusion(config: VisualizeConfig) -> Drawn:
    """Draw the confusion matrix of the test set."""
    subject = load_subject(config)
    test_set, logits, title = subject.predict_test_set()
    counts = count_confusion(logits.argmax(axis=1), test_set.labels, test_set.num_classes)
    return {"confusion": plot_confusion(counts, test_set.classes, title)}


@styled
def plot_confusion(confusion: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Plot a confusion matrix, int (C, C), rows true and columns predicted.

    Colour shows the share of the true class on a square-root scale, so that rare mistakes can be
    seen next to a diagonal near 1.
    """
    num_classes = len(classes)
    side = min(max(5.0, 0.62 * num_classes + 2), 20.0)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for row, col in np.argwhere(confusion > 0) if num_classes <= 30 else ():
        colour = "white" if share[row, col] > 0.3 else "black"
        axes.text(col, row, f"{confusion[row, col]}", ha="center", va="center", color=colour)
    axes.set(xlabel=say("predicted", "预测类别"), ylabel=say("true", "真实类别"), title=title)
    if num_classes <= 60:
        names = [short(name) for name in label_classes(classes)]
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(num_classes), names, **(turned if max(map(len, names)) > 2 else {}))
        axes.set_yticks(range(num_classes), names)
    bar = figure.colorbar(
        image, ax=axes, shrink=0.8, label=say("share of the true class", "占真实类别的比例")
    )
    bar.set_ticks([0, 0.1**0.5, 0.5, 1], labels=["0", "0.1", "0.25", "1"])
    return figure
