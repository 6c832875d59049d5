"""A classifier as a detector of each class: ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lenet_paddle.evaluation.metrics import (
    compute_average_precision,
    compute_precision_recall,
    compute_roc,
    compute_roc_area,
)
from lenet_paddle.figures.style import (
    BLUE,
    ORANGE,
    label_classes,
    new_figure,
    number_log_axis,
    short,
    styled,
)
from lenet_paddle.figures.words import say

# Okabe and Ito's colours that are easy to see on white; for solid, then dashed lines.
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MAX_NAMED = 2 * len(COLOURS)  # classes with a colour and dash of their own

# name, x (T,), y (T,), area
Curve = tuple[str, np.ndarray, np.ndarray, float]


@styled
def plot_roc(
    probs: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str = ""
) -> Figure:
    """Plot ROC curves: each class against the rest, and all decisions pooled (micro average).

    probs: float (N, C); labels: int (N,). The right half has a logarithmic false positive rate,
    where good classifiers differ. A class has no curve if all or none of the samples are its own.
    """
    curves = _per_class(probs, labels, classes, _roc)
    figure, whole, detail = _two_axes(
        say("false positive rate", "假正率"), say("true positive rate", "真正率"), title
    )
    chance = np.geomspace(1e-9, 1, 200)
    for axes in (whole, detail):
        axes.plot(chance, chance, color="0.6", linewidth=1, linestyle=":")
        _draw(axes, curves, "default")
    at_one_percent = [y[np.flatnonzero(x <= 0.01)[-1]] for _, x, y, _ in curves]
    start = _corner(at_one_percent)
    detail.set(xscale="log", xlim=(1 / labels.size / max(1, len(classes) - 1), 1))
    number_log_axis(detail.xaxis, "g")
    detail.set_ylim(start, 1 + 0.02 * (1 - start))
    _name_curves(figure, say("area under the curve", "曲线下面积"))
    return figure


@styled
def plot_precision_recall(
    probs: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str = ""
) -> Figure:
    """Plot precision against recall: each class, and all decisions pooled (micro average).

    probs: float (N, C); labels: int (N,). The right half shows the corner in which the curves
    bend. A class without samples has no curve.
    """
    curves = _per_class(probs, labels, classes, _precision_recall)
    figure, whole, detail = _two_axes(say("recall", "召回率"), say("precision", "精确率"), title)
    for axes in (whole, detail):
        _draw(axes, curves, "steps-pre")
    start = _corner(
        [np.minimum(x, y).max() for _, x, y, _ in curves]
    )  # precision equals recall there
    end = 1 + 0.02 * (1 - start)
    detail.set(xlim=(start, end), ylim=(start, end))
    _name_curves(figure, say("average precision", "平均精确率"))
    return figure


def _roc(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    false_rates, true_rates, _ = compute_roc(scores, positive)
    return false_rates, true_rates, compute_roc_area(false_rates, true_rates)


def _precision_recall(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    precision, recall, _ = compute_precision_recall(scores, positive)
    return recall, precision, compute_average_precision(precision, recall)


def _per_class(
    probs: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    compute: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, float]],
) -> list[Curve]:
    """Compute the micro average's curve, then those of the classes that have one.

    Of two classes only the second one's curve is computed, which says it all.
    """
    is_class = labels[:, None] == np.arange(len(classes))  # (N, C)
    names = label_classes(classes)
    detectors = [
        (say("micro average", "微平均"), probs.ravel(), is_class.ravel()),
        *((short(name), probs[:, i], is_class[:, i]) for i, name in enumerate(names)),
    ]
    if len(classes) == 2:
        detectors = detectors[2:]
    curves = [(name, *compute(scores, positive)) for name, scores, positive in detectors]
    return [curve for curve in curves if np.isfinite(curve[3])]


def _two_axes(x: str, y: str, title: str) -> tuple[Figure, Any, Any]:
    figure = new_figure(11, 4.4)
    whole, detail = figure.subplots(1, 2)
    for axes in (whole, detail):
        axes.set(xlabel=x, ylabel=y)
        axes.grid(alpha=0.3)
    whole.set(xlim=(0, 1), ylim=(0, 1.02))
    figure.suptitle(title)
    return figure, whole, detail


def _draw(axes: Any, curves: Sequence[Curve], steps: str) -> None:
    """Draw the first curve thick and black, others in colours; of many classes only the worst."""
    by_area = sorted(range(1, len(curves)), key=lambda i: curves[i][3])
    named = by_area[: len(COLOURS)] if len(by_area) > MAX_NAMED else sorted(by_area)
    looks = dict(zip(named, [(c, dash) for dash in ("-", "--") for c in COLOURS], strict=False))
    for i in [0, *(set(by_area) - set(named)), *named][: len(curves)]:
        name, x, y, area = curves[i]
        colour, dash = looks.get(i, ("0.8", "-"))
        label = f"{name}  {area:.4f}" if i in looks or i == 0 else None
        average: dict[str, Any] = {"color": "black", "linewidth": 2.4, "zorder": 3}
        thin: dict[str, Any] = {"color": colour, "linestyle": dash, "linewidth": 1.3}
        axes.plot(x, y, label=label, drawstyle=steps, **(thin if i else average))


def _corner(values: Sequence[float]) -> float:
    """Return where to start an axis so that the worst of `values` is a third from the top."""
    return max(0.0, 1 - 3 * max(0.01, 1 - min(values, default=0.0)))


def _name_curves(figure: Figure, area_name: str) -> None:
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, title=area_name, loc="outside right center", fontsize=9)
