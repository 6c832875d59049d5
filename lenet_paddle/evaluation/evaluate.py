"""Evaluate a network on a whole image set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle.static import InputSpec

from lenet_paddle.data.form import SIZE
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader, limit_batch
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.metrics import summarise
from lenet_paddle.evaluation.robustness import Result, summarise_corruption
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.progress import Progress


def predict_logits(
    network: paddle.nn.Layer,
    image_set: ImageSet,
    input_size: int = SIZE,
    batch_size: int = 256,
) -> np.ndarray:
    """Compute the logits of every image in order, float32 (N, C)."""
    batch_size = limit_batch(batch_size, image_set.images, input_size)
    loader = BatchLoader(image_set, batch_size, input_size=input_size)
    with fast_layers(network):
        return np.concatenate([compute_logits(network, images) for images, _ in loader])


@paddle.no_grad()
def compute_logits(network: paddle.nn.Layer, batch: np.ndarray) -> np.ndarray:
    """Run a normalised batch, float32 (B, C, S, S), in evaluation mode: float32 (B, C)."""
    network.eval()
    return network(paddle.to_tensor(batch)).numpy()


def image_spec(input_size: int, channels: int = 1) -> InputSpec:
    """Return the spec of a network's input: `image`, float32 (B, C, S, S)."""
    return InputSpec([None, channels, input_size, input_size], "float32", "image")


def evaluate(
    network: paddle.nn.Layer,
    image_set: ImageSet,
    input_size: int = SIZE,
    batch_size: int = 256,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Compute the metrics of `network` on `image_set`, see `metrics.summarise`.

    With a calibration there is also `calibrated`, see `Calibration.summarise`.
    """
    logits = predict_logits(network, image_set, input_size, batch_size)
    result = summarise(logits, image_set.labels, image_set.classes)
    if calibration is not None:
        result["calibrated"] = calibration.summarise(logits, image_set.labels)
    return result


def evaluate_corruptions(
    network: paddle.nn.Layer,
    sets: Mapping[str, ImageSet],
    input_size: int = SIZE,
    name: str = "",
    batch_size: int = 256,
    calibration: Calibration | None = None,
) -> dict[str, Result]:
    """Compute the metrics of `network` on each set, see `robustness.summarise_corruption`.

    sets: corruption -> its images; memory-mapped images are read batch by batch. `name` is shown
    with the progress.
    """
    total = sum(len(image_set) for image_set in sets.values())
    progress, done, results = Progress(total, "images"), 0, {}
    for number, (corruption, image_set) in enumerate(sets.items(), 1):
        progress.show(done, f"{name} {corruption} ({number}/{len(sets)})".strip())
        logits = predict_logits(network, image_set, input_size, batch_size)
        labels, classes = image_set.labels, image_set.classes
        results[corruption] = summarise_corruption(logits, labels, classes, calibration=calibration)
        done += len(image_set)
    progress.clear()
    return results
