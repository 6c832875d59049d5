"""Exporting a network: each format is written, run, compared with the network, and measured.

inference/inference.yml   what the model is, and a row a format: how near, how large, how fast
inference/model_card.md   the same for people
inference/...             the formats' own files, see `formats.py`
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.evaluation.metrics import compute_accuracy
from lenet_paddle.export.engines import BY_DEFAULT, Engine
from lenet_paddle.export.formats import WRITERS, Job
from lenet_paddle.files import replacing_folder, write_text
from lenet_paddle.progress import Progress

TOLERANCE = 1e-5  # greatest difference of a logit, as a share of the greatest one (if above 1)
NUM_COMPARED = 1000
INT8_LOSS = 0.002  # of accuracy on the whole test set: 0.2 points
WRITTEN = {  # all that stands in an exported folder
    *("inference.yml", "model_card.md", "inference.json", "inference.pdiparams", "model.onnx"),
    *("features.onnx", "model-int8.onnx", "model.safetensors", "triton", "page"),
}
Row = dict[str, Any]


def export_inference(
    network: paddle.nn.Layer,
    folder: Path,
    images: ImageSet,
    input_size: int,
    info: dict[str, Any],
) -> float:
    """Write Paddle's inference model of `network` to `folder`; return the difference found.

    What a training ends with: `export_formats` with the format `paddle` alone, not measured.
    """
    rows = export_formats(network, folder, images, input_size, info, is_measured=False)
    return rows["paddle"]["max_difference"]


def export_formats(
    network: paddle.nn.Layer,
    folder: Path,
    test_set: ImageSet,
    input_size: int,
    info: dict[str, Any],
    formats: Sequence[str] = ("paddle",),
    *,
    train_set: ImageSet | None = None,
    is_measured: bool = True,
    write_card: Callable[[dict[str, Any]], str] | None = None,
) -> dict[str, Row]:
    """Write `network` to `folder` in every one of `formats`; return a row for each.

    What was written is run on the first 1,000 of `test_set` and compared with the network. A row
    has `max_difference` of a logit, `agreement` (share of images with the same answer),
    `size_bytes`, and when measured `latency_ms` (median of a single image) and `images_per_s` (in
    batches of 64). A difference above 1e-5 of the greatest logit raises `RunStopped`; so does an
    int8 model whose accuracy on the whole of `test_set` is more than 0.2 points below `info`'s
    `test_accuracy`. Then nothing is left behind, and an older `folder` stays. `info` goes into
    `inference.yml`, and what is written there into the model card that `write_card` makes.
    """
    compared = test_set.take(slice(0, NUM_COMPARED))
    expected = predict_logits(network, compared, input_size)
    rows: dict[str, Row] = {}
    with replacing_folder(folder) as temporary, tempfile.TemporaryDirectory() as scratch:
        job = Job(
            *(network, input_size, test_set.classes, info, temporary, Path(scratch)),
            train_set=train_set,
        )
        progress = Progress(len(formats), "formats")
        for number, name in enumerate(formats):
            progress.show(number, name)
            written = WRITERS[name](job)
            row = _compare(written.run, compared, expected, input_size)
            try:
                if written.is_exact:
                    _check_difference(row["max_difference"], expected)
                else:
                    row["accuracy"] = _check_accuracy(written.run, test_set, job)
            except ValueError as error:
                raise RunStopped(f"{folder}: {name} {error}; nothing was written", 1) from None
            row["size_bytes"] = sum(file.stat().st_size for file in written.files)
            if is_measured:
                row |= measure(written.run, compared, input_size)
            rows[name] = {**row, **(written.notes or {})}
        progress.clear()
        _describe(job, rows, write_card)
    return rows


def _describe(
    job: Job, rows: dict[str, Row], write_card: Callable[[dict[str, Any]], str] | None
) -> None:
    """Write inference.yml and the model card."""
    description = {**job.describe(), **_faster_engine(rows), "formats": rows}
    if "onnx" in rows:
        description["features"] = job.features
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_text(job.folder / "inference.yml", text)
    if write_card is not None:
        write_text(job.folder / "model_card.md", write_card(description))


def _faster_engine(rows: dict[str, Row]) -> dict[str, str]:
    """What `Predictor` runs when it is left to choose: the lowest latency of a single image."""
    present = [name for name in BY_DEFAULT if name in rows]
    if not present:
        return {}
    return {"engine": min(present, key=lambda name: rows[name].get("latency_ms", 0.0))}


def _run(engine: Engine, images: ImageSet, input_size: int) -> np.ndarray:
    """Logits float32 (N, C) of every image."""
    loader = BatchLoader(images, 128, input_size=input_size)
    return np.concatenate([engine(batch) for batch, _ in loader])


def _compare(engine: Engine, images: ImageSet, expected: np.ndarray, input_size: int) -> Row:
    actual = _run(engine, images, input_size)
    return {
        "max_difference": float(np.abs(actual - expected).max()),
        "agreement": compute_accuracy(actual.argmax(1), expected.argmax(1)),
    }


def _check_difference(difference: float, expected: np.ndarray) -> None:
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:  # nor is NaN
        raise ValueError(
            f"differs from the network by {difference:.2g} (at most {allowed:.2g} is allowed)"
        )


def _check_accuracy(engine: Engine, test_set: ImageSet, job: Job) -> float:
    """The accuracy on the whole test set, if it is near enough to the network's."""
    preds = _run(engine, test_set, job.input_size).argmax(1)
    accuracy, own = compute_accuracy(preds, test_set.labels), job.info["test_accuracy"]
    if accuracy < own - INT8_LOSS:
        raise ValueError(
            f"has an accuracy of {accuracy:.4f} where the network has {own:.4f} "
            f"(at most {INT8_LOSS:g} less is allowed)"
        )
    return accuracy


def measure(engine: Engine, images: ImageSet, input_size: int) -> Row:
    """`latency_ms`, the median time of a single image, and `images_per_s` in batches of 64."""
    filled = np.resize(images.images[:64], (64, *images.images.shape[1:]))
    batch = normalise(filled, input_size)
    single, many = _median_seconds(engine, batch[:1]), _median_seconds(engine, batch)
    return {"latency_ms": round(single * 1000, 4), "images_per_s": round(64 / many, 1)}


def _median_seconds(engine: Engine, batch: np.ndarray, seconds: float = 0.5) -> float:
    """The median time of a call, of those that fit into `seconds` (at least 5) after a warm-up."""
    for _ in range(3):
        engine(batch)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        started = time.perf_counter()
        engine(batch)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def format_rows(rows: dict[str, Row]) -> str:
    """The rows as a table for the screen."""
    lines = ["format        max difference  agreement        bytes   ms at 1  images/s at 64"]
    for name, row in rows.items():
        lines.append(
            f"{name:<12}  {row['max_difference']:>14.2g}  {row['agreement']:>9.4f}  "
            f"{row['size_bytes']:>11,}  {row['latency_ms']:>8.3f}  {row['images_per_s']:>14,.0f}"
        )
        if "accuracy" in row:
            lines.append(f"{'':<12}  accuracy on the whole test set {row['accuracy']:.4f}")
    return "\n".join(lines)
