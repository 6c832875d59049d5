"""Export a network: write each format, run it, compare it with the network, and measure it.

inference/inference.yml   input, output, classes, and for each format difference, size and speed
inference/model_card.md   the same as text
inference/...             the files of each format, see `formats.py`
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader, limit_batch
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.evaluation.metrics import compute_accuracy
from lenet_paddle.export.engines import AUTOMATIC, Engine
from lenet_paddle.export.formats import FORMATS, Job, write_format
from lenet_paddle.files import replacing_folder, write_text
from lenet_paddle.progress import Progress

TOLERANCE = 1e-5  # of a logit, relative to the largest logit if that is above 1
NUM_COMPARED = 1000  # test images
INT8_LOSS = 0.002  # of accuracy on the whole test set; one image if that is more
DESCRIPTION, CARD = "inference.yml", "model_card.md"
Row = dict[str, Any]


def export_inference(
    network: paddle.nn.Layer,
    folder: Path,
    images: ImageSet,
    input_size: int,
    info: dict[str, Any],
    calibration: Calibration | None = None,
) -> float:
    """Export `network` to `folder` for Paddle Inference; return the largest difference of a logit.

    As `export_formats` with the format `paddle`, without timing. Every training ends with it.
    """
    rows = export_formats(
        *(network, folder, images, input_size, info), calibration=calibration, is_measured=False
    )
    return rows["paddle"]["max_difference"]


def export_formats(
    network: paddle.nn.Layer,
    folder: Path,
    test_set: ImageSet,
    input_size: int,
    info: dict[str, Any],
    formats: Sequence[str] = ("paddle",),
    *,
    calibration: Calibration | None = None,
    load_train_set: Callable[[], ImageSet] | None = None,
    compare: Path | None = None,
    is_measured: bool = True,
    write_card: Callable[[dict[str, Any]], str] | None = None,
) -> dict[str, Row]:
    """Export `network` to `folder` in each of `formats`; return a row for each.

    Each exported model is run on the first 1,000 images of `test_set` and compared with the
    network. A row has `max_difference` of a logit, `agreement` (share of images with the same
    prediction), `size_bytes`, and if measured `latency_ms` (median for one image) and
    `images_per_s` (in batches of 64).

    With a `calibration`, the exported logits are the network's divided by its temperature. `info`
    is added to `inference.yml`; `write_card` makes the model card from its content.
    `load_train_set` is called by formats that need training images. `compare` is another export,
    whose network the page shows beside this one.

    Raises `InputError` for a network whose answers are not finite, `RunStopped` for a difference
    above 1e-5 of the largest logit, and for an int8 model whose accuracy on `test_set` is more than
    0.2 points, or one image, below `info["test_accuracy"]`. Then nothing is written, and an older
    `folder` stays as it was.
    """
    compared = test_set.take(slice(0, NUM_COMPARED))
    expected = predict_logits(network, compared, input_size)
    if calibration is not None:
        expected = calibration.scale(expected)
    if not np.isfinite(expected).all():
        raise InputError(
            f"{folder}: the network's answers are not finite numbers, its training has diverged; "
            "nothing was written. Choose another --checkpoint, or train at a lower --learning-rate"
        )
    rows: dict[str, Row] = {}
    with replacing_folder(folder) as temporary, tempfile.TemporaryDirectory() as scratch:
        job = Job(
            *(network, input_size, test_set.form, test_set.classes, info, temporary, Path(scratch)),
            calibration=calibration,
            load_train_set=load_train_set,
            compare=compare,
        )
        progress = Progress(len(formats), "formats")
        for number, name in enumerate(formats):
            progress.show(number, name)
            written = write_format(name, job)
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
            rows[name] = {**row, **written.notes}
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
    write_text(job.folder / DESCRIPTION, text)
    if write_card is not None:
        write_text(job.folder / CARD, write_card(description))


def is_replaceable(folder: Path) -> bool:
    """Return whether `folder` is empty or holds an export and nothing else."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    known = {DESCRIPTION, CARD, *chain.from_iterable(format.names for format in FORMATS.values())}
    return not names or (DESCRIPTION in names and names <= known)


def _faster_engine(rows: dict[str, Row]) -> dict[str, str]:
    """Return the entry `engine`: the automatic one with the lowest latency for one image."""
    present = [name for name in AUTOMATIC if name in rows]
    if not present:
        return {}
    return {"engine": min(present, key=lambda name: rows[name].get("latency_ms", 0.0))}


def _run(engine: Engine, images: ImageSet, input_size: int) -> np.ndarray:
    """Return the logits of every image, float32 (N, C)."""
    batch_size = limit_batch(128, images.images, input_size)
    loader = BatchLoader(images, batch_size, input_size=input_size)
    return np.concatenate([engine(batch) for batch, _ in loader])


def _compare(engine: Engine, images: ImageSet, expected: np.ndarray, input_size: int) -> Row:
    actual = _run(engine, images, input_size)
    return {
        "max_difference": float(np.abs(actual - expected).max()),
        "agreement": compute_accuracy(actual.argmax(1), expected.argmax(1)),
    }


def _check_difference(difference: float, expected: np.ndarray) -> None:
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not difference <= allowed:  # also true for NaN
        raise ValueError(
            f"differs from the network by {difference:.2g} (at most {allowed:.2g} is allowed)"
        )


def _check_accuracy(engine: Engine, test_set: ImageSet, job: Job) -> float:
    """Return the accuracy on the test set; ValueError if it is too far below the network's."""
    preds = _run(engine, test_set, job.input_size).argmax(1)
    accuracy, own = compute_accuracy(preds, test_set.labels), job.info["test_accuracy"]
    allowed = max(INT8_LOSS, 1 / len(test_set))
    if accuracy < own - allowed - 1e-9:  # for rounding
        raise ValueError(
            f"has an accuracy of {accuracy:.4f} where the network has {own:.4f} "
            f"(at most {allowed:g} less is allowed: train longer, or leave out onnx-int8)"
        )
    return accuracy


def measure(engine: Engine, images: ImageSet, input_size: int) -> Row:
    """Return `latency_ms`, the median time for one image, and `images_per_s` in batches of 64."""
    filled = np.resize(images.images[:64], (64, *images.images.shape[1:]))
    batch = normalise(filled, input_size)
    single, many = _median_seconds(engine, batch[:1]), _median_seconds(engine, batch)
    return {"latency_ms": round(single * 1000, 4), "images_per_s": round(64 / many, 1)}


def _median_seconds(engine: Engine, batch: np.ndarray, seconds: float = 0.5) -> float:
    """Return the median time of a call, over at least 5 calls in `seconds`, after a warm-up."""
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
    """Format the rows as a text table."""
    lines = ["format        max difference  agreement        bytes   ms at 1  images/s at 64"]
    for name, row in rows.items():
        lines.append(
            f"{name:<12}  {row['max_difference']:>14.2g}  {row['agreement']:>9.4f}  "
            f"{row['size_bytes']:>11,}  {row['latency_ms']:>8.3f}  {row['images_per_s']:>14,.0f}"
        )
        if "accuracy" in row:
            lines.append(f"{'':<12}  accuracy on the whole test set {row['accuracy']:.4f}")
    return "\n".join(lines)
