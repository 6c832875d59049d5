"""What a network knows after each stage of a fine-tuning, and what it has forgotten.

A matrix has a row for each stage, the first for the network before: test set -> accuracy. A stage
`03-fog` is the one that trained `fog`; `clean` and a data set from before are no stage's.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet_paddle.data.datasets import CORRUPTIONS
from lenet_paddle.figures.style import ORANGE, short, styled
from lenet_paddle.figures.words import say
from lenet_paddle.files import format_csv, write_text

BEFORE = "before"
MEAN = "mean"

Matrix = dict[str, dict[str, float]]


def find_own(matrix: Matrix) -> dict[str, str]:
    """The stages that are over, by what each trained: `fog` -> `03-fog`."""
    stages = {stage.partition("-")[2]: stage for stage in matrix if stage != BEFORE}
    return {name: stage for name, stage in stages.items() if name in matrix[stage]}


def mean_accuracy(row: dict[str, float]) -> float | None:
    """The mean over the corruptions in a row; each counts alike. None without any."""
    values = [value for name, value in row.items() if name in CORRUPTIONS]
    return statistics.fmean(values) if values else None


def measure_forgetting(matrix: Matrix) -> tuple[float, float] | None:
    """Mean over the stages but the last of what the network knew and knows no more at the end.

    Returns two figures of the literature: the loss of accuracy against the moment right after the
    own stage (minus the backward transfer of Lopez-Paz and Ranzato 2017, arXiv 1706.08840), and
    that against the best of all stages before the last (Chaudhry et al. 2018, arXiv 1801.10112;
    the network before the first counts too). None before the second stage is over.
    """
    own = find_own(matrix)
    last = list(matrix)[-1]
    earlier = {name: stage for name, stage in own.items() if stage != last}
    if not earlier:
        return None
    rows = [row for stage, row in matrix.items() if stage != last]
    since_own = [matrix[stage][name] - matrix[last][name] for name, stage in earlier.items()]
    since_best = [max(row[name] for row in rows) - matrix[last][name] for name in earlier]
    return statistics.fmean(since_own), statistics.fmean(since_best)


def write_matrix(path: Path, matrix: Matrix) -> None:
    """matrix.csv: a line for each stage, with all digits; the mean is that of the corruptions."""
    rows = [{"stage": stage, **row, MEAN: mean_accuracy(row)} for stage, row in matrix.items()]
    write_text(path, format_csv(rows))


def read_matrix(path: Path, names: Sequence[str]) -> Matrix:
    """What `write_matrix` wrote about these test sets; nothing where it is missing, of others,
    or damaged: it can be computed again."""
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        if lines[0] != ["stage", *names, MEAN]:
            return {}
        matrix = {
            stage: {name: float(value) for name, value in zip(names, values, strict=False)}
            for stage, *values in lines[1:]
        }
    except (OSError, ValueError, IndexError, csv.Error):
        return {}
    rows = [list(row.values()) for row in matrix.values()]
    is_whole = all(len(row) == len(names) and all(0 <= v <= 1 for v in row) for row in rows)
    return matrix if is_whole else {}


def format_matrix(matrix: Matrix) -> str:
    """matrix.md: the same as a table to read, and the measures of forgetting."""
    names = list(next(iter(matrix.values())))
    has_mean = mean_accuracy(next(iter(matrix.values()))) is not None
    header = ["test accuracy", *names, *([MEAN] if has_mean else [])]
    lines = [header, ["---"] * len(header)]
    own = find_own(matrix)
    for stage, row in matrix.items():
        cells = [f"{row[n]:.4f}" if own.get(n) != stage else f"**{row[n]:.4f}**" for n in names]
        mean = mean_accuracy(row)
        lines.append([stage, *cells, *([f"{mean:.4f}"] if mean is not None else [])])
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return text + "".join(f"\n{line}\n" for line in describe_forgetting(matrix))


def describe_forgetting(matrix: Matrix) -> list[str]:
    """The measures in words; nothing where there is none yet."""
    forgetting = measure_forgetting(matrix)
    if forgetting is None:
        return []
    since_own, since_best = forgetting
    return [
        f"Forgetting: {since_own:.4f} (accuracy right after the own stage minus that at the end, "
        "mean of all stages but the last; Lopez-Paz and Ranzato 2017), "
        f"{since_best:.4f} against the best of all earlier rows (Chaudhry et al. 2018)."
    ]


@styled
def plot_forgetting(matrix: Matrix, title: str = "") -> Figure:
    """The matrix as a heat map, accuracies in percent; what a stage trained itself is framed."""
    stages, names = list(matrix), list(next(iter(matrix.values())))
    values = np.array([[matrix[stage][name] for name in names] for stage in stages])
    means = [mean_accuracy(matrix[stage]) for stage in stages]
    labels = [short(name) for name in names]
    if None not in means:
        values = np.column_stack([values, np.array(means, np.float64)])
        labels.append(say("mean", "平均"))
    figure = Figure(
        figsize=(2.6 + 0.45 * len(labels), 2.2 + 0.32 * len(stages)), layout="constrained"
    )
    axes = figure.subplots()
    image = axes.imshow(values, cmap="cividis", vmin=min(0.5, values.min()), vmax=1, aspect="auto")
    low, high = image.get_clim()
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if value > (low + high) / 2 else "white"
        text = f"{100 * value:.1f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    for name, stage in find_own(matrix).items():
        corner = (names.index(name) - 0.5, stages.index(stage) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=2.5))
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(len(stages)), [say("before", "微调前") if s == BEFORE else s for s in stages]
    )
    axes.set(
        xlabel=say("test images", "测试图片"),
        ylabel=say("after the stage", "该阶段之后"),
        title=title,
    )
    figure.colorbar(image, ax=axes, label=say("accuracy", "准确率"))
    return figure
