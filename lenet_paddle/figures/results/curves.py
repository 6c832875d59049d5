"""Loss and accuracy per epoch, of one run or several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, OKABE_ITO, ORANGE, new_figure, styled
from lenet_paddle.figures.subject import describe_model
from lenet_paddle.figures.words import say
from lenet_paddle.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_curves(config: VisualizeConfig) -> Drawn:
    """Draw loss and accuracy per epoch of one or several runs."""
    runs = [Run.open(run) for run in config.run]
    names = [run.name for run in runs]
    if len(runs) == 1:
        names = [describe_model(runs[0].config)]
    elif len(set(names)) < len(names):
        names = [str(run) for run in runs]
    histories = {
        name: [
            {**row, "epoch": row["epoch"] + _count_before(run, runs)} for row in run.read_history()
        ]
        for name, run in zip(names, runs, strict=True)
    }
    return {"curves": plot_curves(histories)}


def _count_before(run: Run, runs: Sequence[Run]) -> int:
    """Count the epochs of other runs in `runs` behind the weights from which `run` started."""
    weights = Path(run.config.init_from or "").resolve()
    for other in runs:
        if weights.is_relative_to(other.checkpoints.resolve()) and other.path != run.path:
            epoch = re.search(r"epoch_(\d+)", weights.parent.name)
            return _count_before(other, runs) + (int(epoch[1]) if epoch else 0)
    return 0


@styled
def plot_history(rows: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Plot the rows of `history.csv`: loss and accuracy of train and of val (or test)."""
    return plot_curves({title: rows})


@styled
def plot_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Plot the curves of one or several runs and shade the overfitting gap.

    runs: name -> rows of `history.csv`. The gap is the difference between val (or test) and
    train from the epoch with the lowest val loss on.
    """
    figure = new_figure(10, 4 + 0.25 * (len(runs) > 2) * len(runs))
    colours = [BLUE, ORANGE] if len(runs) == 1 else list(OKABE_ITO)
    panels = figure.subplots(1, 2)
    for axes, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for number, (name, rows) in enumerate(runs.items()):
            pair = colours[:2] if len(runs) == 1 else [colours[number % len(colours)]] * 2
            _draw_run(axes, rows, quantity, (pair[0], pair[1]), name if len(runs) > 1 else "")
        axes.set(
            xlabel=say("epoch", "轮"),
            ylabel=say("loss", "损失") if quantity == "loss" else say("accuracy", "准确率"),
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    if len(runs) == 1:
        for axes in panels:
            axes.legend(fontsize=9)
        figure.suptitle(next(iter(runs)))
    else:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_run(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    quantity: str,
    colours: tuple[str, str],
    name: str,
) -> None:
    held_out = "val" if not rows or "val_loss" in rows[0] else "test"
    epochs = np.array([row["epoch"] for row in rows])
    train = np.array([row[f"train_{quantity}"] for row in rows])
    other = np.array([row[f"{held_out}_{quantity}"] for row in rows])
    before = f"{name}, " if name else ""
    axes.plot(
        epochs, train, "o--", color=colours[0], markersize=4, label=before + say("train", "训练")
    )
    label = before + (say("val", "验证") if held_out == "val" else say("test", "测试"))
    axes.plot(epochs, other, "s-", color=colours[1], markersize=4, label=label)
    if not rows:
        return
    first = find_overfitting([row[f"{held_out}_loss"] for row in rows])
    gap = other - train if quantity == "loss" else train - other
    shaded = slice(first, None)
    label = before + say(
        "overfitting gap, {gap:.3f} at the end", "过拟合差距，末轮 {gap:.3f}", gap=gap[-1]
    )
    if first < len(rows) - 1 and (gap[shaded] > 0).any():
        axes.fill_between(
            *(epochs[shaded], train[shaded], other[shaded]),
            where=gap[shaded] > 0,
            interpolate=True,
            color=colours[1],
            alpha=0.18,
            label=label,
        )
        label = "" if name else say("lowest val loss", "验证损失最低")
        axes.axvline(epochs[first], color=colours[1], linestyle=":", linewidth=1.5, label=label)


def find_overfitting(losses: Sequence[float]) -> int:
    """Return the position of the lowest held-out loss, from which a model overfits."""
    return int(np.argmin(losses))
