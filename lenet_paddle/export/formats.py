"""What a network is exported as: `WRITERS` maps each format's name to the function that writes it.

A writer puts its files into `job.folder` and says how they are run, so that `export.py` can
compare them with the network and measure them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import NORMALISATION
from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.evaluation.evaluate import compute_logits, image_spec
from lenet_paddle.export.engines import Engine, OnnxModel, load_paddle
from lenet_paddle.export.onnx_files import convert, first_line, silence, write_features
from lenet_paddle.export.static_page import write_static_page
from lenet_paddle.files import write_text
from lenet_paddle.models import build_model
from lenet_paddle.runtime import need
from lenet_paddle.training.safe_weights import load_safetensors, save_safetensors
from lenet_paddle.training.weights import set_weights

NUM_CALIBRATED = 512  # training images from which int8's ranges are taken
TRITON_BATCH = 64


@dataclass(frozen=True)
class Job:
    """What is exported, and where to."""

    network: paddle.nn.Layer
    input_size: int
    classes: tuple[str, ...]
    info: dict[str, Any]
    """What inference.yml says of the run: model, dataset, preprocess ..."""
    folder: Path
    """Where the files go; it takes its place when all is well."""
    scratch: Path
    """A folder for what is not kept."""
    train_set: ImageSet | None = None
    """Training images, which only int8 needs."""

    @cached_property
    def onnx_file(self) -> Path:
        """The network as ONNX, to be copied or changed."""
        convert(self.network, self.input_size, self.scratch / "model.onnx")
        return self.scratch / "model.onnx"

    @cached_property
    def features(self) -> list[dict[str, Any]]:
        """The maps, `name` and `shape`, that features.onnx in `scratch` gives; none without
        convolutions, and then there is no such file."""
        path = self.scratch / "features.onnx"
        return write_features(self.onnx_file, path, self.input_size)

    def describe(self) -> dict[str, Any]:
        """What inference.yml says of every format: input, output, classes."""
        side, num_classes = self.input_size, len(self.classes)
        return {
            **self.info,
            "input": {
                "name": "image",
                "dtype": "float32",
                "shape": [-1, 1, side, side],
                "normalise": NORMALISATION,
                "padding": -1.0,
            },
            "output": {"name": "logits", "dtype": "float32", "shape": [-1, num_classes]},
            "classes": list(self.classes),
        }


@dataclass(frozen=True)
class Written:
    """A format's model, as it lies on the disk."""

    files: list[Path]
    """What makes up its size."""
    run: Engine
    """Runs what was written."""
    is_exact: bool = True
    """Whether its logits must be the network's; else its accuracy is what counts."""
    notes: dict[str, Any] | None = None
    """What inference.yml says besides."""


def write_paddle(job: Job) -> Written:
    """inference.json and inference.pdiparams, for Paddle Inference."""
    job.network.eval()
    # What paddle.Model.save(training=False) calls; a paddle.Model would wait for other ranks.
    spec = [image_spec(job.input_size)]
    paddle.jit.save(job.network, str(job.folder / "inference"), input_spec=spec)
    files = [job.folder / f"inference.{suffix}" for suffix in ("json", "pdiparams")]
    try:
        return Written(files, load_paddle(job.folder))
    except RuntimeError as error:  # Paddle's C++ says nothing when a disk does not take it all
        reason = f"Paddle cannot read what it has written ({first_line(error)})"
        raise RunStopped(f"format paddle: {reason}; is the disk full?", 1) from None


def write_onnx(job: Job) -> Written:
    """model.onnx, and features.onnx, which gives the feature maps too."""
    onnx = need("onnx")
    shutil.copyfile(job.onnx_file, path := job.folder / "model.onnx")
    if job.features:
        shutil.copyfile(job.scratch / "features.onnx", job.folder / "features.onnx")
    opset = onnx.load(str(path)).opset_import[0].version
    return Written([path], OnnxModel(path), notes={"opset": opset})


def write_int8(job: Job) -> Written:
    """model-int8.onnx: weights and activations in 8 bits, calibrated on training images.

    Static quantisation of ONNX Runtime, with a scale for each output channel of a weight.
    """
    quantization = need("onnxruntime.quantization")
    if job.train_set is None:
        raise InputError("format onnx-int8 is calibrated on training images; none were given")
    path = job.folder / "model-int8.onnx"
    images = BatchLoader(
        job.train_set.take(slice(0, NUM_CALIBRATED)), 64, input_size=job.input_size
    )

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        batches: Iterator[Any] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch[0]}

    source = str(job.onnx_file)
    unsigned = quantization.QuantType.QUInt8  # signed weights saturate on older processors
    try:
        with silence():
            quantization.quantize_static(
                *(source, str(path), Reader()),
                per_channel=True,
                activation_type=unsigned,
                weight_type=unsigned,
            )
        return Written([path], OnnxModel(path), is_exact=False)
    except Exception as error:  # it raises nearly anything
        reason = first_line(error)
        raise RunStopped(f"ONNX Runtime cannot quantise this network ({reason})", 1) from None


def write_triton(job: Job) -> Written:
    """triton/, a model repository for Triton Inference Server: `--model-repository=triton`."""
    folder = job.folder / "triton" / "lenet"
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(job.onnx_file, path := folder / "1" / "model.onnx")
    side = job.input_size
    write_text(
        folder / "config.pbtxt", TRITON_CONFIG % (TRITON_BATCH, side, side, len(job.classes))
    )
    labels = [" ".join(name.split()) for name in job.classes]  # one a line
    write_text(folder / "labels.txt", "\n".join(labels) + "\n")
    return Written([path], OnnxModel(path))


TRITON_CONFIG = """\
name: "lenet"
backend: "onnxruntime"
max_batch_size: %d
input [ { name: "image" data_type: TYPE_FP32 dims: [ 1, %d, %d ] } ]
output [ { name: "logits" data_type: TYPE_FP32 dims: [ %d ] label_filename: "labels.txt" } ]
dynamic_batching { }
"""


def write_safetensors(job: Job) -> Written:
    """model.safetensors, the weights alone; `train.py --init-from` takes them."""
    path, model = job.folder / "model.safetensors", str(job.info["model"])
    weights = {name: tensor.numpy() for name, tensor in job.network.state_dict().items()}
    metadata = {"model": model, "classes": json.dumps(job.classes, ensure_ascii=False)}
    save_safetensors(path, weights, metadata)
    with paddle.utils.unique_name.guard():
        network = build_model(model, len(job.classes))
    set_weights(network, load_safetensors(path), str(path))
    return Written([path], lambda batch: compute_logits(network, batch))


def write_page(job: Job) -> Written:
    """page/, the page to draw on as static files; the model is run in the visitor's browser."""
    model = job.scratch / "features.onnx" if job.features else job.onnx_file
    folder = job.folder / "page"
    write_static_page(folder, model, job.describe(), job.features)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Written(files, OnnxModel(folder / "model.onnx"))


WRITERS: dict[str, Callable[[Job], Written]] = {
    "paddle": write_paddle,
    "onnx": write_onnx,
    "onnx-int8": write_int8,
    "triton": write_triton,
    "safetensors": write_safetensors,
    "page": write_page,
}


def parse_formats(text: str) -> list[str]:
    """The formats of `paddle,onnx`, each once. Raises `InputError` that lists the valid ones."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in WRITERS]
    if unknown or not names:
        came = f"{', '.join(unknown)!r} is unknown" if unknown else "none was given"
        raise InputError(f"formats: {came}; expected one or more of {','.join(WRITERS)}")
    return names
