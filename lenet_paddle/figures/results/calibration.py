"""The reliability diagram: accuracy against confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.evaluation.metrics import compute_calibration, compute_probs
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, number_log_axis, styled
from lenet_paddle.figures.subject import load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_calibration(config: VisualizeConfig) -> Drawn:
    """Draw accuracy against confidence: whether 0.9 is right nine times in ten.

    The probabilities are those that are answered: of a calibrated run, the calibrated ones.
    """
    subject = load_subject(config)
    test_set, logits, title = subject.predict_test_set()
    if subject.calibration is not None:
        logits = subject.calibration.scale(logits)
        temperature = f"{subject.calibration.temperature:.4f}"
        title += say("\ntemperature {t}", "\n温度 {t}", t=temperature)
    error, bins = compute_calibration(compute_probs(logits), test_set.labels)
    return {"calibration": plot_calibration(error, bins, title)}


@styled
def plot_calibration(error: float, bins: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Plot a reliability diagram (Guo et al. 2017) of `metrics.compute_calibration`'s result."""
    count, accuracy, confidence = bins["count"], bins["accuracy"], bins["confidence"]
    edges = np.linspace(0, 1, len(count) + 1)
    width, used = edges[1], count > 0
    figure = new_figure(8, 8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot(
        [0, 1], [0, 1], color="black", linestyle=":", label=say("perfectly calibrated", "完全校准")
    )
    options: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white"}
    above.bar(
        edges[:-1][used], accuracy[used], color=BLUE, label=say("accuracy", "准确率"), **options
    )
    gap = (confidence - accuracy)[used]
    above.bar(
        *(edges[:-1][used], gap),
        bottom=accuracy[used],
        label=say("gap to the confidence", "与置信度的差距"),
        **{**options, "edgecolor": ORANGE, "facecolor": "none", "hatch": "///", "linewidth": 1.5},
    )
    above.set(ylabel=say("accuracy", "准确率"), xlim=(0, 1), ylim=(0, 1), title=title)
    above.legend(loc="upper left")
    text = say("expected calibration error {error:.4f}", "期望校准误差 {error:.4f}", error=error)
    above.text(0.98, 0.04, text, ha="right", fontsize=12, bbox={"facecolor": "white"})
    below.bar(edges[:-1], count, color="0.6", **options)
    for left, number in zip(edges[:-1][used], count[used], strict=True):
        below.text(left + width / 2, number, f"{number:,}", ha="center", va="bottom", fontsize=8)
    below.set(yscale="log", ylim=(0.7, count.max() * 6), xlabel=say("confidence", "置信度"))
    below.set_ylabel(say("images", "图片数"))
    number_log_axis(below.yaxis, ",.0f")
    return figure
