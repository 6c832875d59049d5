"""Evaluate a run under each corruption of MNIST-C, also in comparison with a baseline run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle import runtime
from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import CORRUPTIONS, IDENTITY
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_test_set
from lenet_paddle.data.mnist_c import check_form, list_corruptions, load_mnist_c
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.evaluate import evaluate_corruptions
from lenet_paddle.evaluation.robustness import (
    Result,
    list_rows,
    summarise_corruptions,
)
from lenet_paddle.figures.results.robustness import plot_corruptions, plot_worst_mistakes
from lenet_paddle.figures.style import save_figure
from lenet_paddle.files import format_csv, write_json, write_text
from lenet_paddle.progress import Progress
from lenet_paddle.run_folder import Run
from lenet_paddle.runtime import Device

SEED = 0  # of generated corruptions, so that every report has the same images
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A run with the network of one of its checkpoints."""

    run: Run
    checkpoint: str
    network: paddle.nn.Layer
    classes: tuple[str, ...]
    calibration: Calibration | None

    @classmethod
    def load(cls, run_dir: Path, checkpoint: str) -> _Subject:
        run = Run.open(run_dir)
        check_form(run.config.form, run.path)
        network, classes = run.load_network(checkpoint)
        name = run.find_checkpoint(checkpoint).resolve().name
        calibration = run.read_calibration(name)
        return cls(run, name, network, classes, calibration)

    def describe(self) -> dict[str, str]:
        return {
            "run": self.run.name,
            "model": self.run.config.model,
            "checkpoint": self.checkpoint,
        }

    def evaluate(self, sets: Mapping[str, ImageSet]) -> dict[str, Result]:
        size = self.run.config.input_size
        return evaluate_corruptions(
            self.network, sets, size, self.run.name, calibration=self.calibration
        )


def evaluate_robustness(
    run_dir: Path,
    checkpoint: str = "best",
    data_dir: str | None = None,
    generated: bool = False,
    baseline: Path | None = None,
    device: Device = "auto",
) -> dict[str, Any]:
    """Evaluate a run's checkpoint under each corruption of MNIST-C; return the report.

    The images are the test images of `data_dir` (`load_mnist_c`), or with `generated` the run's
    own, corrupted with seed 0. `baseline` is another run, whose best checkpoint is evaluated on
    the same images.

    Writes metrics-mnist_c.json, mnist_c.csv, figures/mnist_c.png and figures/mnist_c-mistakes.png
    into the run; returns the first's content (`summarise_corruptions`). Raises `InputError` unless
    exactly one of `data_dir` and `generated` is given, for runs on other than grey 28x28 pictures,
    and for a baseline with other classes.
    """
    _check_source(data_dir, generated)
    runtime.select_device(device)
    subject = _Subject.load(run_dir, checkpoint)
    other = None if baseline is None else _Subject.load(baseline, "best")
    if other is not None and other.classes != subject.classes:
        raise InputError(
            f"{other.run}: was trained on {', '.join(other.classes)}; a baseline needs the "
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
    _write(report, sets, subject, None if other is None else other.run.name)
    return report


def _check_source(data_dir: str | None, generated: bool) -> None:
    if (data_dir is not None) != generated:
        return
    came = "got both" if generated else "got neither"
    raise InputError(
        "dataset mnist_c takes one of --data-dir (the published mnist_c, or what "
        "tools/corrupt.py wrote) and --generated (the run's own test images, corrupted now); "
        + came
    )


def load_sets(data_dir: Path, classes: tuple[str, ...]) -> dict[str, ImageSet]:
    """Load the test images of every corruption in `data_dir`, and of identity if present.

    The images stay memory-mapped. Raises `InputError` if there is no corruption, or the digits are
    not `classes`.
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
    """Load the images to corrupt; return them and the report's `source`."""
    config = subject.run.config
    if config.dataset == "mnist_c":  # corrupted already
        config = dataclasses.replace(config, dataset="mnist", data_dir=None, corruption=None)
    return load_test_set(config, subject.classes), f"{config.dataset}, corrupted with seed {SEED}"


def generate_sets(clean_set: ImageSet) -> dict[str, ImageSet]:
    """Return `clean_set` under each corruption, and unchanged as identity; all in memory."""
    images = np.asarray(clean_set.images)
    corrupt(images[:1], "canny_edges")  # report a missing scikit-image before the long work
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
    run = subject.run
    write_json(run.metrics_file("-mnist_c"), report)
    write_text(run.path / "mnist_c.csv", format_csv(list_rows(report)))
    save_figure(plot_corruptions(report, run.name, baseline), run.figures / "mnist_c.png")
    worst = {
        name: sets[name].images[np.array([mistake["index"] for mistake in row["worst"]], np.int64)]
        for name, row in report["corruptions"].items()
    }
    save_figure(plot_worst_mistakes(report, worst, run.name), run.figures / "mnist_c-mistakes.png")
    _log.info("wrote metrics-mnist_c.json, mnist_c.csv and figures/mnist_c*.png into %s", run)
