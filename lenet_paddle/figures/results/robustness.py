"""A report on MNIST-C (`evaluation.robustness.summarise_corruptions`) as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lenet_paddle.data.datasets import CORRUPTIONS, IDENTITY
from lenet_paddle.evaluation.robustness import NUM_WORST, Result
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, short, styled
from lenet_paddle.figures.words import say


@styled
def plot_corruptions(report: Result, name: str, baseline: str | None = None) -> Figure:
    """Plot the accuracy under each corruption, the worst first, and on the clean images.

    `name` and `baseline` are the networks' names; with a baseline, whose results the report must
    hold, each corruption has two bars. Dashed lines mark the means.
    """
    results = report["corruptions"]
    names = sorted((c for c in CORRUPTIONS if c in results), key=lambda c: results[c]["accuracy"])
    names += [IDENTITY] if IDENTITY in results else []
    places = np.arange(len(names)) + 0.4 * (np.array(names) == IDENTITY)
    series = [("accuracy", name, report["mean_accuracy"], BLUE)]
    if baseline is not None:
        mean = report["baseline_mean_accuracy"]
        series.append(
            (
                "baseline_accuracy",
                say("baseline {name}", "基准 {name}", name=baseline),
                mean,
                ORANGE,
            )
        )
    size = 0.8 / len(series)
    figure = new_figure(10, 1.6 + (0.2 + 0.18 * len(series)) * len(names))
    axes = figure.subplots()
    for number, (key, label, mean, colour) in enumerate(series):
        values = [results[corruption][key] for corruption in names]
        _draw_bars(axes, places + size * (number - (len(series) - 1) / 2), size, values, colour)
        axes.axvline(
            *(mean, 0, 1),
            color=colour,
            linestyle="--",
            label=f"{label} ({_say_mean(report)}: {mean:.4f})",
            path_effects=[withStroke(linewidth=3.5, foreground="white")],
        )
    axes.set_yticks(places, [_title(corruption) for corruption in names])
    axes.set(xlim=(0, 1.08), xticks=np.linspace(0, 1, 6), xlabel=say("accuracy", "准确率"))
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center")
    figure.suptitle(
        say(
            "accuracy under the corruptions of MNIST-C, the hardest first",
            "MNIST-C 各种失真下的准确率，最难的在最前",
        )
    )
    return figure


def _draw_bars(
    axes: Axes, places: np.ndarray, size: float, values: Sequence[float], colour: str
) -> None:
    axes.barh(places, values, height=size, color=colour, edgecolor="white")
    for place, value in zip(places, values, strict=True):
        box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        axes.text(value + 0.006, place, f"{value:.4f}", va="center", fontsize=8, bbox=box)


def _say_mean(report: Result) -> str:
    if not report["missing"]:
        return say("mean over {count}", "{count} 种失真的平均", count=report["num_corruptions"])
    return say(
        "mean over {count} of {total}",
        "{total} 种失真中 {count} 种的平均",
        count=report["num_corruptions"],
        total=len(CORRUPTIONS),
    )


def _title(corruption: str) -> str:
    return say("clean", "无失真") if corruption == IDENTITY else corruption.replace("_", " ")


@styled
def plot_worst_mistakes(report: Result, images: Mapping[str, np.ndarray], title: str) -> Figure:
    """Plot the mistakes of highest loss under each corruption, two corruptions in a row.

    images: corruption -> uint8 (K, H, W), the images of the report's worst mistakes, in its order.
    """
    results = report["corruptions"]
    num_rows = -(-len(results) // 2)
    figure = new_figure(10, 1.75 * num_rows + 0.6)
    grid = figure.subplots(num_rows, 2 * NUM_WORST, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("white")
    blocks = grid.reshape(2 * num_rows, NUM_WORST)
    for block, (corruption, result) in zip(blocks, results.items(), strict=False):
        block[0].set_ylabel(f"{_title(corruption)}\n{result['accuracy']:.4f}", fontsize=9)
        for axes, image, mistake in zip(block, images[corruption], result["worst"], strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.spines[:].set_color("0.7")  # an edge around images with a white border
            label, predicted = short(mistake["label"]), short(mistake["predicted"])
            one_line = f"{label} → {predicted}"
            answer = one_line if len(one_line) < 14 else f"{label}\n→ {predicted}"
            axes.set_title(f"{answer}\np = {mistake['probability']:.2f}", fontsize=8)
    figure.suptitle(
        title
        + "\n"
        + say(
            "the worst mistakes: true class → answer and its probability",
            "最严重的错误：真实类别 → 所给答案及其概率",
        )
    )
    return figure
