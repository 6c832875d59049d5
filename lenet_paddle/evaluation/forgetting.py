"""Accuracies after each stage of a fine-tuning, and how much the network forgets.

A matrix has a row for each stage, the first for the network before: test set -> accuracy. The
stage `03-fog` was trained on `fog`; `clean` and an earlier data set belong to no stage.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from lenet_paddle.data.datasets import CORRUPTIONS
from lenet_paddle.files import format_csv, read_text, write_text
from lenet_paddle.tables import format_markdown

BEFORE = "before"
MEAN = "mean"

Matrix = dict[str, dict[str, float]]


def find_own(matrix: Matrix) -> dict[str, str]:
    """Return the finished stages by what each was trained on: `fog` -> `03-fog`."""
    stages = {stage.partition("-")[2]: stage for stage in matrix if stage != BEFORE}
    return {name: stage for name, stage in stages.items() if name in matrix[stage]}


def mean_accuracy(row: dict[str, float]) -> float | None:
    """Return the mean over the corruptions of a row, or None if it has none."""
    values = [value for name, value in row.items() if name in CORRUPTIONS]
    return statistics.fmean(values) if values else None


def measure_forgetting(matrix: Matrix) -> tuple[float, float] | None:
    """Compute two measures of forgetting, means over all stages but the last.

    The first is the accuracy right after the own stage minus that at the end (the negative of
    the backward transfer of Lopez-Paz and Ranzato 2017, arXiv 1706.08840); the second takes the
    best of all earlier rows instead (Chaudhry et al. 2018, arXiv 1801.10112; here the network
    before the first stage counts too). None until the second stage is finished.
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
    """Write matrix.csv: a row for each stage, with all digits and the mean over the corruptions."""
    rows = [{"stage": stage, **row, MEAN: mean_accuracy(row)} for stage, row in matrix.items()]
    write_text(path, format_csv(rows))


def read_matrix(path: Path, names: Sequence[str]) -> Matrix:
    """Read the matrix of these test sets from `write_matrix`'s file.

    A file that is missing, damaged or of other test sets gives an empty matrix, to be computed
    again.
    """
    try:
        lines = list(csv.reader(read_text(path).splitlines()))
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
    """Format matrix.md: the matrix as a table, and the measures of forgetting."""
    names = list(next(iter(matrix.values())))
    has_mean = mean_accuracy(next(iter(matrix.values()))) is not None
    header = ["test accuracy", *names, *([MEAN] if has_mean else [])]
    lines = []
    own = find_own(matrix)
    for stage, row in matrix.items():
        cells = [f"{row[n]:.4f}" if own.get(n) != stage else f"**{row[n]:.4f}**" for n in names]
        mean = mean_accuracy(row)
        lines.append([stage, *cells, *([f"{mean:.4f}"] if mean is not None else [])])
    return format_markdown(header, lines) + "".join(
        f"\n{line}\n" for line in describe_forgetting(matrix)
    )


def describe_forgetting(matrix: Matrix) -> list[str]:
    """Return a sentence with the measures, or nothing when there is none yet."""
    forgetting = measure_forgetting(matrix)
    if forgetting is None:
        return []
    since_own, since_best = forgetting
    return [
        f"Forgetting: {since_own:.4f} (accuracy right after the own stage minus that at the end, "
        "mean of all stages but the last; Lopez-Paz and Ranzato 2017), "
        f"{since_best:.4f} against the best of all earlier rows (Chaudhry et al. 2018)."
    ]
