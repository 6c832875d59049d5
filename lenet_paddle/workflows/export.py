"""Export a run's checkpoint in one or several formats, with a model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.load import load_data, load_test_set
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import evaluate
from lenet_paddle.export.card import describe_model
from lenet_paddle.export.export import export_formats, is_replaceable
from lenet_paddle.run_folder import Run


def export_run(
    run_dir: Path,
    checkpoint: str = "best",
    formats: Sequence[str] = ("paddle",),
    out: Path | None = None,
    compare: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Export a run's checkpoint to `out`, by default its `inference/`, with a model card.

    Returns the folder and a row per format (`export.export_formats`). An older export in `out` is
    replaced as a whole. `compare` is another export, whose network the page shows beside this one.
    Raises `InputError` if something is missing, or `out` holds anything else;
    `RunStopped` if a format's answers differ from the network's.
    """
    runtime.select_device("cpu")
    if out is not None and out.resolve().exists() and not is_replaceable(out.resolve()):
        raise InputError(f"{out} exists and is not an export; choose another --out, or remove it")
    if compare is not None and not {"onnx", "page"} & set(formats):
        raise InputError(f"compare is for the page; add format onnx or page to {','.join(formats)}")
    run = Run.open(run_dir)
    config, size = run.config, run.config.input_size
    network, classes = run.load_network(checkpoint)
    test_set = load_test_set(config, classes)
    calibration = run.read_calibration(checkpoint)
    result = {
        "checkpoint": run.find_checkpoint(checkpoint).resolve().name,
        **evaluate(network, test_set, size, calibration=calibration),
    }
    folder = run.inference if out is None else out.resolve()
    rows = export_formats(
        network,
        folder,
        test_set,
        size,
        export_info(config, run, result),
        formats,
        calibration=calibration,
        load_train_set=lambda: load_data(config, "train", classes=classes)[0],
        compare=compare,
        write_card=lambda description: describe_model(config, result, description, run.path),
    )
    return folder, rows


def export_info(config: TrainConfig, run: Run, result: dict[str, Any]) -> dict[str, Any]:
    """Return what inference.yml says of the run and the evaluated checkpoint."""
    return {
        "model": config.model,
        "dataset": config.dataset,
        "run": run.name,
        "checkpoint": result["checkpoint"],
        "test_accuracy": result["accuracy"],
        "preprocess": config.picture_mode,
        "versions": runtime.versions(),
    }
