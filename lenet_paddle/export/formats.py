"""Export formats: `FORMATS` maps each name to its writer and to the files that the writer makes.

To add a format, write a function here and add it to `FORMATS`: `export.py` runs what it wrote,
compares it with the network and measures it. Paddle is imported on first use, so that `--help`
can name the formats at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lenet_paddle.data.form import CHANNELS, Form
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader, limit_batch
from lenet_paddle.data.preprocess import NORMALISATION
from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.export.engines import ENGINES, FEATURES, Engine, OnnxModel, load_paddle
from lenet_paddle.export.explainer import FOLDER as EXPLAINER
from lenet_paddle.export.explainer import write_explainer
from lenet_paddle.export.onnx_files import convert, first_line, silence, write_features
from lenet_paddle.export.static_page import write_static_page
from lenet_paddle.files import write_text
from lenet_paddle.runtime import need

if TYPE_CHECKING:
    import paddle

NUM_CALIBRATED = 512  # training images that int8's ranges are taken from
TRITON_BATCH = 64


@dataclass(frozen=True)
class Job:
    """What is exported, and where to."""

    network: paddle.nn.Layer
    input_size: int
    form: Form
    """The form of the pictures, before they are padded to `input_size`."""
    classes: tuple[str, ...]
    info: dict[str, Any]
    """What inference.yml says about the run: model, dataset, preprocess ..."""
    folder: Path
    """Where the files go; it is moved into place when every format has passed."""
    scratch: Path
    """A folder for temporary files."""
    calibration: Calibration | None = None
    """What the exported logits are scaled by."""
    load_train_set: Callable[[], ImageSet] | None = None
    """Loads training images, for the writers that need some."""
    compare: Path | None = None
    """Another exported folder, whose network the page shows beside this one."""

    @cached_property
    def graph(self) -> paddle.nn.Layer:
        """What is exported: the network, with logits divided by the temperature."""
        from lenet_paddle.models.calibrated import Calibrated

        if self.calibration is None or self.calibration.temperature == 1:
            return self.network
        return Calibrated(self.network, self.calibration.temperature)

    @cached_property
    def onnx_file(self) -> Path:
        """The network as ONNX in `scratch`, to be copied or changed."""
        from lenet_paddle.evaluation.evaluate import image_spec

        spec = image_spec(self.input_size, self.form.channels)
        convert(self.graph, spec, self.scratch / "model.onnx")
        return self.scratch / "model.onnx"

    @cached_property
    def features(self) -> list[dict[str, Any]]:
        """`name` and `shape` of each map that features.onnx in `scratch` gives.

        The list is empty, and there is no such file, for a network without convolutions.
        """
        shape = (1, self.form.channels, self.input_size, self.input_size)
        return write_features(self.onnx_file, self.scratch / FEATURES, shape)

    @cached_property
    def explainer(self) -> Path | None:
        """The folder in `scratch` with which the page explains the network; None if it cannot."""
        shape = (self.form.channels, self.input_size, self.input_size)
        return write_explainer(
            *(self.network, shape, self.classes, self.info, self.scratch / EXPLAINER),
            compare=self.compare,
            temperature=1.0 if self.calibration is None else self.calibration.temperature,
        )

    def describe(self) -> dict[str, Any]:
        """Return what inference.yml says about every format: input, output, classes."""
        side, num_classes = self.input_size, len(self.classes)
        return {
            **self.info,
            "image_size": self.form.size,
            "input": {
                "name": "image",
                "dtype": "float32",
                "shape": [-1, self.form.channels, side, side],
                "channels": CHANNELS[self.form.channels],
                "normalise": NORMALISATION,
                "padding": -1.0,
            },
            "output": {"name": "logits", "dtype": "float32", "shape": [-1, num_classes]},
            "classes": list(self.classes),
            **({} if self.calibration is None else {"calibration": self.calibration.to_dict()}),
        }


@dataclass(frozen=True)
class Written:
    """A format's model on the disk."""

    files: list[Path]
    """The files that its size is the sum of."""
    run: Engine
    """Runs the model from these files."""
    is_exact: bool = True
    """Whether its logits must equal the network's; if not, its accuracy is checked."""
    notes: dict[str, Any] = field(default_factory=dict)
    """More entries for its row in inference.yml."""


def write_paddle(job: Job, model: Path, weights: Path) -> Written:
    """Write the files of Paddle Inference: the network as JSON, and its weights."""
    import paddle

    from lenet_paddle.evaluation.evaluate import image_spec

    job.graph.eval()
    # What paddle.Model.save(training=False) calls; a paddle.Model would wait for other ranks.
    spec = [image_spec(job.input_size, job.form.channels)]
    paddle.jit.save(job.graph, str(model.with_suffix("")), input_spec=spec)
    try:
        return Written([model, weights], load_paddle(model.parent))
    except RuntimeError as error:  # Paddle's C++ reports no error when the disk is full
        reason = f"Paddle cannot read what it has written ({first_line(error)})"
        raise RunStopped(f"format paddle: {reason}; is the disk full?", 1) from None


def write_onnx(job: Job, path: Path, features_path: Path, explainer: Path) -> Written:
    """Write the network as ONNX, again with feature maps, and what the page explains it with."""
    onnx = need("onnx")
    shutil.copyfile(job.onnx_file, path)
    if job.features:
        shutil.copyfile(job.scratch / FEATURES, features_path)
    if job.explainer:
        shutil.copytree(job.explainer, explainer)
    opset = onnx.load(str(path)).opset_import[0].version
    return Written([path], OnnxModel(path), notes={"opset": opset})


def write_int8(job: Job, path: Path) -> Written:
    """Write ONNX with weights and activations in 8 bits, calibrated on training images.

    Static quantisation of ONNX Runtime, with a scale per output channel of a weight.
    """
    quantization = need("onnxruntime.quantization")
    if job.load_train_set is None:
        raise InputError("format onnx-int8 is calibrated on training images; none were given")
    images = job.load_train_set().take(slice(0, NUM_CALIBRATED))
    batch_size = limit_batch(64, images.images, job.input_size)
    loader = BatchLoader(images, batch_size, input_size=job.input_size)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        batches: Iterator[Any] = iter(loader)

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


def write_triton(job: Job, repository: Path) -> Written:
    """Write a model repository for Triton Inference Server, `--model-repository=triton`."""
    folder = repository / "lenet"
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(job.onnx_file, path := folder / "1" / "model.onnx")
    shape = (job.form.channels, job.input_size, job.input_size)
    write_text(folder / "config.pbtxt", TRITON_CONFIG % (TRITON_BATCH, *shape, len(job.classes)))
    labels = [" ".join(name.split()) for name in job.classes]  # one per line
    write_text(folder / "labels.txt", "\n".join(labels) + "\n")
    return Written([path], OnnxModel(path))


TRITON_CONFIG = """\
name: "lenet"
backend: "onnxruntime"
max_batch_size: %d
input [ { name: "image" data_type: TYPE_FP32 dims: [ %d, %d, %d ] } ]
output [ { name: "logits" data_type: TYPE_FP32 dims: [ %d ] label_filename: "labels.txt" } ]
dynamic_batching { }
"""


def write_safetensors(job: Job, path: Path) -> Written:
    """Write the weights alone; `tools/train.py --init-from` reads them.

    Their logits are the network's own, not calibrated.
    """
    import paddle

    from lenet_paddle.evaluation.evaluate import compute_logits
    from lenet_paddle.models import build_model
    from lenet_paddle.training.safe_weights import load_safetensors, save_safetensors
    from lenet_paddle.training.weights import set_weights

    model = str(job.info["model"])
    weights = {name: tensor.numpy() for name, tensor in job.network.state_dict().items()}
    metadata = {"model": model, "classes": json.dumps(job.classes, ensure_ascii=False)}
    save_safetensors(path, weights, metadata)
    with paddle.utils.unique_name.guard():
        network = build_model(model, len(job.classes), *job.form)
    set_weights(network, load_safetensors(path), str(path))
    scale = job.calibration.scale if job.calibration is not None else np.asarray
    return Written([path], lambda batch: scale(compute_logits(network, batch)))


def write_page(job: Job, folder: Path) -> Written:
    """Write the page to draw on as static files; the visitor's browser runs the model."""
    model = job.scratch / FEATURES if job.features else job.onnx_file
    write_static_page(folder, model, job.describe(), job.features, job.explainer)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Written(files, OnnxModel(folder / "model.onnx"))


class Format(NamedTuple):
    """A writer, and the names of the files or folders whose paths it is given after the job."""

    write: Callable[..., Written]
    names: tuple[str, ...]


FORMATS = {
    "paddle": Format(write_paddle, ENGINES["paddle"][1]),
    "onnx": Format(write_onnx, (*ENGINES["onnx"][1], FEATURES, EXPLAINER)),
    "onnx-int8": Format(write_int8, ENGINES["onnx-int8"][1]),
    "triton": Format(write_triton, ("triton",)),
    "safetensors": Format(write_safetensors, ("model.safetensors",)),
    "page": Format(write_page, ("page",)),
}


def write_format(name: str, job: Job) -> Written:
    """Write one of `FORMATS` into the job's folder."""
    return FORMATS[name].write(job, *(job.folder / file for file in FORMATS[name].names))


def parse_formats(text: str) -> list[str]:
    """Return the formats of a text such as `paddle,onnx`, each once.

    Raises `InputError` that lists the valid ones if a name is unknown or none is given.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        came = f"{', '.join(unknown)!r} is unknown" if unknown else "none was given"
        raise InputError(f"formats: {came}; expected one or more of {','.join(FORMATS)}")
    return names
