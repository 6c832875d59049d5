"""The report on MNIST-C: where a run's model breaks, beside a baseline's."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import CORRUPTIONS, IDENTITY, DatasetName
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_test_set
from lenet_paddle.data.mnist_c import list_corruptions, load_mnist_c
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import evaluate_corruptions
from lenet_paddle.evaluation.metrics import format_table
from lenet_paddle.evaluation.robustness import Result, list_rows, summarise_corruptions
from lenet_paddle.export.predictor import load_run
from lenet_paddle.figures.results.robustness import (
    format_report,
    plot_corruptions,
    plot_worst_mistakes,
)
from lenet_paddle.figures.style import save_figure
from lenet_paddle.files import format_csv, write_json, write_text
from lenet_paddle.models import input_size
from lenet_paddle.progress import Progress
from lenet_paddle.runtime import Device
from lenet_paddle.training.checkpoint import find_checkpoint
from lenet_paddle.workflows.train import evaluate_run

SEED = 0  # of the corruptions made here, so that every report is on the same images
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A run with the network of one of its checkpoints."""

    run_dir: Path
    checkpoint: str
    config: TrainConfig
    network: paddle.nn.Layer
    classes: tuple[str, ...]

    @classmethod
    def load(cls, run_dir: Path, checkpoint: str) -> _Subject:
        name = find_checkpoint(run_dir, checkpoint).resolve().name
        return cls(run_dir, name, *load_run(run_dir, checkpoint))

    @property
    def name(self) -> str:
        return self.run_dir.resolve().name

    def describe(self) -> dict[str, str]:
        return {"run": self.name, "model": self.config.model, "checkpoint": self.checkpoint}

    def evaluate(self, sets: Mapping[str, ImageSet]) -> dict[str, Result]:
        return evaluate_corruptions(self.network, sets, input_size(self.config.model), self.name)


def evaluate_any(
    run_dir: Path,
    checkpoint: str = "best",
    dataset: DatasetName | None = None,
    data_dir: str | None = None,
    generated: bool = False,
    baseline: Path | None = None,
    device: Device = "auto",
) -> tuple[dict[str, Any], str]:
    """`evaluate_robustness` for the data set mnist_c, else `evaluate_run`: the figures, and the
    same as a table. Raises `InputError` for what only the former takes."""
    if dataset == "mnist_c":
        report = evaluate_robustness(run_dir, checkpoint, data_dir, generated, baseline, device)
        return report, format_report(report)
    if generated or baseline is not None:
        flag = "--generated" if generated else "--baseline"
        raise InputError(
            f"{flag} belongs to --dataset mnist_c; dataset is {dataset or 'not given'}"
        )
    result = evaluate_run(run_dir, checkpoint, dataset, data_dir, device)
    return result, format_table(result)


def evaluate_robustness(
    run_dir: Path,
    checkpoint: str = "best",
    data_dir: str | None = None,
    generated: bool = False,
    baseline: Path | None = None,
    device: Device = "auto",
) -> dict[str, Any]:
    """Evaluate a run's checkpoint under each corruption of MNIST-C; the report.

    The images are the test images of `data_dir` (`load_mnist_c`), or with `generated` the run's
    own, corrupted here with seed 0. `baseline` is another run, whose best checkpoint is
    evaluated on the same images.

    Writes metrics-mnist_c.json, mnist_c.csv, figures/mnist_c.png and figures/mnist_c-mistakes.png
    into the run; returns `summarise_corruptions` with what was evaluated. Raises `InputError`
    when not just one of `data_dir` and `generated` is given, or where the classes differ.
    """
    _check_source(data_dir, generated)
    runtime.select_device(device)
    subject = _Subject.load(run_dir, checkpoint)
    other = None if baseline is None else _Subject.load(baseline, "best")
    if other is not None and other.classes != subject.classes:
        raise InputError(
            f"{other.run_dir}: was trained on {', '.join(other.classes)}; a baseline needs the "
            f"run's classes {', '.join(subject.classes)}"
        )
    if data_dir is not None:
        sets, source = load_sets(Path(data_dir), subject.classes), data_dir
    else:
        clean_set, source = _load_clean_set(subject)
        sets = generate_sets(clean_set)
    results = subject.evaluate(sets)
    report = {
        **{"dataset": "mnist_c", "split": "test", "source": source},
        **subject.describe(),
        "baseline": None if other is None else other.describe(),
        **summarise_corruptions(results, None if other is None else other.evaluate(sets)),
    }
    _write(report, sets, subject, None if other is None else other.name)
    return report


def _check_source(data_dir: str | None, generated: bool) -> None:
    if (data_dir is not None) != generated:
        return
    came = "both came" if generated else "neither came"
    raise InputError(
        "dataset mnist_c takes one of --data-dir (the published mnist_c, or what "
        "tools/corrupt.py wrote) and --generated (the run's own test images, corrupted now); "
        + came
    )


def load_sets(data_dir: Path, classes: tuple[str, ...]) -> dict[str, ImageSet]:
    """The test images of every corruption in `data_dir`, and of identity if it is there.

    The images stay memory-mapped. Raises `InputError` without a corruption, and when the digits
    are not `classes`.
    """
    names = list_corruptions(data_dir)
    if names == [IDENTITY]:
        raise InputError(
            f"{data_dir}: holds {IDENTITY} only; expected a corruption such as {CORRUPTIONS[0]} "
            "(tools/corrupt.py makes them)"
        )
    sets = {name: load_mnist_c("test", data_dir, name) for name in names}
    digits = sets[names[0]].classes
    if digits != classes:
        raise InputError(
            f"{data_dir} shows the classes {', '.join(digits)}; the run was trained on "
            f"{', '.join(classes)}: --generated corrupts its own test images"
        )
    return sets


def _load_clean_set(subject: _Subject) -> tuple[ImageSet, str]:
    """The images to corrupt, and what the report calls them."""
    config = subject.config
    if config.dataset == "mnist_c":  # corrupted already
        config = dataclasses.replace(config, dataset="mnist", data_dir=None, corruption=None)
    return load_test_set(config, subject.classes), f"{config.dataset}, corrupted with seed {SEED}"


def generate_sets(clean_set: ImageSet) -> dict[str, ImageSet]:
    """The images of `clean_set` under each corruption, and as they are; all in memory."""
    images = np.asarray(clean_set.images)
    corrupt(images[:1], "canny_edges")  # needs scikit-image: better said before the long work
    total, sets = len(CORRUPTIONS) * len(images), {}
    progress = Progress(total, "images")
    for number, name in enumerate(CORRUPTIONS):

        def report(done: int, before: int = number * len(images), what: str = name) -> None:
            progress.show(before + done, f"making {what}: {before + done:,}/{total:,}")

        corrupted = corrupt(images, name, seed=SEED, report=report)
        sets[name] = dataclasses.replace(clean_set, images=corrupted)
    progress.clear()
    return {**sets, IDENTITY: clean_set}


def _write(
    report: dict[str, Any], sets: Mapping[str, ImageSet], subject: _Subject, baseline: str | None
) -> None:
    run_dir = subject.run_dir
    write_json(run_dir / "metrics-mnist_c.json", report)
    rows = list_rows(report)
    write_text(run_dir / "mnist_c.csv", format_csv(list(rows[0]), rows))
    figures = run_dir / "figures"
    save_figure(plot_corruptions(report, subject.name, baseline), figures / "mnist_c.png")
    worst = {
        name: sets[name].images[np.array([mistake["index"] for mistake in row["worst"]], np.int64)]
        for name, row in report["corruptions"].items()
    }
    save_figure(plot_worst_mistakes(report, worst, subject.name), figures / "mnist_c-mistakes.png")
    _log.info("wrote metrics-mnist_c.json, mnist_c.csv and figures/mnist_c*.png into %s", run_dir)
