"""Evaluate a run on its own test set or on another data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.datasets import DatasetName, check_request
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_test_set
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.evaluation.metrics import compute_probs, format_table, summarise
from lenet_paddle.evaluation.robustness import format_report
from lenet_paddle.figures.results.confusion import plot_confusion
from lenet_paddle.figures.results.mistakes import plot_mistakes
from lenet_paddle.figures.results.thresholds import plot_roc
from lenet_paddle.figures.style import save_figure
from lenet_paddle.files import write_json
from lenet_paddle.run_folder import Run
from lenet_paddle.runtime import Device
from lenet_paddle.workflows.robustness import evaluate_robustness


def evaluate_any(
    run_dir: Path,
    checkpoint: str = "best",
    dataset: DatasetName | None = None,
    data_dir: str | None = None,
    generated: bool = False,
    baseline: Path | None = None,
    device: Device = "auto",
    **special: Any,
) -> tuple[dict[str, Any], str]:
    """Call `evaluate_robustness` for mnist_c, else `evaluate_run`; return metrics and a table.

    `special` are settings of `datasets.SPECIAL`. Raises `InputError` for arguments that only the
    former takes.
    """
    if dataset == "mnist_c":
        check_request(dataset, data_dir or generated, **special)
        report = evaluate_robustness(
            run_dir,
            checkpoint=checkpoint,
            data_dir=data_dir,
            generated=generated,
            baseline=baseline,
            device=device,
        )
        return report, format_report(report)
    if generated or baseline is not None:
        flag = "--generated" if generated else "--baseline"
        raise InputError(
            f"{flag} belongs to --dataset mnist_c; dataset is {dataset or 'not given'}"
        )
    result = evaluate_run(run_dir, checkpoint, dataset, data_dir, device, **special)
    return result, format_table(result)


def evaluate_run(
    run_dir: Path,
    checkpoint: str = "best",
    dataset: DatasetName | None = None,
    data_dir: str | None = None,
    device: Device = "auto",
    **special: Any,
) -> dict[str, Any]:
    """Evaluate a run's checkpoint on its own test set, or on the test images of `dataset`.

    A folder of pictures that is not divided, and that the run was not trained on, is the test set
    as a whole. `special` are settings of `datasets.SPECIAL`, as `scale`, by default the run's.
    Writes `metrics.json`, or `metrics-<dataset>.json` for another set, and figures; returns the
    metrics (`metrics.summarise`). Raises `InputError` if the set has classes that are not the
    run's.
    """
    runtime.select_device(device)
    run = Run.open(run_dir)
    network, classes = run.load_network(checkpoint)
    config = run.config.on_data(dataset, data_dir)
    suffix = "" if config is run.config else f"-{config.dataset}"
    given = {k: v for k, v in special.items() if v is not None and v is not False}  # 0 is refused
    if given:
        config = dataclasses.replace(config, **given)
    test_set = load_test_set(config, classes, whole=not run.config.is_trained_on(config))
    return write_report(
        config, network, test_set, run, run.find_checkpoint(checkpoint), suffix=suffix
    )


def write_report(
    config: TrainConfig,
    network: paddle.nn.Layer,
    test_set: ImageSet,
    run: Run,
    checkpoint: Path,
    *,
    suffix: str = "",
) -> dict[str, Any]:
    """Evaluate on `test_set`; write metrics<suffix>.json, confusion matrix and worst mistakes.

    If the checkpoint is calibrated, the metrics have `calibrated` (`Calibration.summarise`); all
    others are of the network's own logits. Of two classes the ROC curve is drawn too.
    """
    calibration = run.read_calibration(checkpoint.resolve().name)
    logits = predict_logits(network, test_set, config.input_size)
    classes = test_set.classes
    result = {
        "dataset": config.dataset,
        "split": "test",
        "model": config.model,
        "checkpoint": checkpoint.resolve().name,
        **summarise(logits, test_set.labels, classes),
    }
    if calibration is not None:
        result["calibrated"] = calibration.summarise(logits, test_set.labels)
    write_json(run.metrics_file(suffix), result)
    title = f"{config.model} on {config.dataset}, test accuracy {result['accuracy']:.4f}"
    figures = {
        "confusion": plot_confusion(np.array(result["confusion_matrix"]), classes, title),
        "mistakes": plot_mistakes(
            test_set.images, test_set.labels, compute_probs(logits), classes, title=title
        ),
    }
    if "binary" in result:
        figures["roc"] = plot_roc(compute_probs(logits), test_set.labels, classes, title)
    for name, figure in figures.items():
        save_figure(figure, run.figures / f"{name}{suffix}.png")
    return result
