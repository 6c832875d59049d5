"""Compare networks, or trained runs: one record each, for a table."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from lenet_paddle.analysis.layers import DEFINITIONS, analyse_model, input_shape, totals
from lenet_paddle.analysis.tables import show_field
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.form import SIZE
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import compute_logits
from lenet_paddle.files import read_text
from lenet_paddle.models import build_model
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.run_folder import Run
from lenet_paddle.tables import Format, Style, format_records, show_count, show_size

_log = logging.getLogger(__name__)

MODEL_TITLES: dict[str, tuple[str, Format]] = {
    "parameters": ("parameters", show_count),
    "macs": ("MACs", show_count),
    "flops": ("FLOPs", show_count),
    "field": ("field", show_field),
    "activation_bytes": ("activations B", show_count),
    "weights_mb": ("weights MB", "{:.2f}".format),
    "ms_per_image": ("ms/image", "{:.2f}".format),
}
MODEL_NOTES = {
    **{word: DEFINITIONS[word] for word in ("parameters", "MACs", "FLOPs")},
    "depth": "layers with weights on the longest path through the network",
    "field": "receptive field of the last map, in pixels of the picture",
    "activations B": "bytes of all layers' outputs, float32, for one picture",
    "weights MB": "10^6 bytes, float32, with a batch norm's running statistics",
    "ms/image": "measured here: the forward pass of one picture, median",
}
RUN_TITLES: dict[str, tuple[str, Format]] = {
    **{
        key: (key.replace("_", " "), "{:.4f}".format)
        for key in ("test_accuracy", "test_loss", "val_accuracy", "val_loss")
    },
    "epochs_trained": ("epochs trained", show_count),
    "best_epoch": ("best epoch", show_count),
    "seconds": ("seconds", "{:,.1f}".format),
    "images_per_second": ("images/s", "{:,.0f}".format),
}
RUN_NOTES = {
    "settings": "the model, and the settings that differ between the runs",
    "test": "from metrics.json, of the best checkpoint unless another was evaluated later",
    "val": "in the best epoch",
    "seconds": "of training, with the evaluation after each epoch",
    "images/s": "training images per epoch (batches times batch size) times epochs / seconds",
}


def format_models(
    names: Iterable[str],
    style: Style,
    num_classes: int = 10,
    channels: int = 1,
    image_size: int = SIZE,
) -> str:
    """Compare networks as a table, see `compare_models`."""
    records = compare_models(names, num_classes, channels, image_size)
    return format_records(records, MODEL_TITLES, style, MODEL_NOTES, left=("model",))


def format_runs(paths: Iterable[str | Path], style: Style) -> str:
    """Compare runs as a table, see `compare_runs`."""
    records = compare_runs(paths)
    return format_records(records, RUN_TITLES, style, RUN_NOTES, left=("run", "model"))


def compare_models(
    names: Iterable[str], num_classes: int = 10, channels: int = 1, image_size: int = SIZE
) -> list[dict[str, Any]]:
    """Return a record per network: parameters, operations, memory, and the time of one picture.

    The networks are built for pictures of that form. Raises `InputError` for an unknown network.
    """
    records = []
    for name in names:
        sums = totals(analyse_model(name, num_classes, channels, image_size))
        shape = input_shape(name, channels, image_size)
        network = build_model(name, num_classes, channels, image_size)
        records.append(
            {
                "model": name,
                "input": show_size(shape if channels == 3 else shape[1:]),
                "parameters": sums["parameters"],
                "macs": sums["macs"],
                "flops": sums["flops"],
                "depth": sums["depth"],
                "field": sums["field"],
                "activation_bytes": sums["activation_bytes"],
                "weights_mb": sums["weight_bytes"] / 1e6,
                "ms_per_image": 1000 * time_forward(network, shape[-1], channels=channels),
            }
        )
    return records


def time_forward(network: nn.Layer, size: int, seconds: float = 1.0, channels: int = 1) -> float:
    """Return the median seconds of a forward pass of one picture of `size` x `size` pixels.

    Takes 5 to 200 calls in `seconds`, after 3 for warm-up, run as evaluation does.
    """
    rng = np.random.default_rng(0)
    batch = rng.uniform(-1, 1, (1, channels, size, size)).astype(np.float32)
    taken: list[float] = []
    with fast_layers(network):
        for _ in range(3):
            compute_logits(network, batch)
        while len(taken) < 5 or (sum(taken) < seconds and len(taken) < 200):
            start = time.perf_counter()
            compute_logits(network, batch)
            taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def compare_runs(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return a record per run in `paths`: settings that differ, results, speed.

    Skips folders that are not runs, with a warning. Raises `InputError` if none is a run.
    """
    found: list[tuple[TrainConfig, dict[str, Any]]] = []
    for path in map(Path, paths):
        try:
            run = Run.open(path)
            found.append((run.config, _read_results(run)))
        except InputError as error:
            _log.warning("%s; skipping it", error)
    if not found:
        raise InputError("no run among these folders; expected one or more output/<run>")
    settings = [config.to_dict() for config, _ in found]
    shown = ["model"] + [
        key for key in settings[0] if key != "model" and len({str(s[key]) for s in settings}) > 1
    ]
    return [
        {
            "run": results["run"],
            **{key: one[key] for key in shown},
            **speed(config, results.pop("step"), results),
        }
        for one, (config, results) in zip(settings, found, strict=True)
    ]


def speed(config: TrainConfig, step: int, results: dict[str, Any]) -> dict[str, Any]:
    """Add the images per second to `results`; `limit` bounds the images in `step` batches."""
    epochs, seconds = results["epochs_trained"], results["seconds"]
    num_images = min(step * config.batch_size, epochs * (config.limit or step * config.batch_size))
    return {**results, "images_per_second": num_images / seconds if seconds else None}


def _read_results(run: Run) -> dict[str, Any]:
    """Return a run's results; None for those that it does not have yet."""
    metrics = _read_metrics(run.metrics_file())
    newest = run.newest_checkpoint()
    results: dict[str, Any] = {
        "run": str(run),
        "test_accuracy": metrics.get("accuracy"),
        "test_loss": metrics.get("loss"),
        **dict.fromkeys(("val_accuracy", "val_loss", "best_epoch", "seconds")),
        "epochs_trained": 0,
        "step": 0,
    }
    if newest is not None:
        state = newest[1]
        best = state.history[state.best_epoch - 1]
        results |= {key: best.get(key) for key in ("val_accuracy", "val_loss")}
        results |= {"epochs_trained": state.epoch, "best_epoch": state.best_epoch}
        results |= {"seconds": state.seconds, "step": state.step}
    return results


def _read_metrics(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        metrics = json.loads(read_text(path))
    except ValueError:
        metrics = None
    if not isinstance(metrics, dict) or not all(
        isinstance(metrics.get(key), (int, float)) for key in ("accuracy", "loss")
    ):
        raise InputError(f"{path}: not the result of an evaluation; run tools/evaluate.py")
    return metrics
