"""Run an exported model with Paddle Inference, or with ONNX Runtime and without Paddle.

An engine maps a normalised batch, float32 (B, C, S, S), to logits, float32 (B, C). The packages
are imported on first use, so that a server of ONNX files starts without Paddle.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.files import open_file
from lenet_paddle.runtime import need

EngineName = Literal["paddle", "onnx", "onnx-int8"]
EngineChoice = Literal["auto", EngineName]
Engine = Callable[[np.ndarray], np.ndarray]
# Name -> the package that it needs and the files that it reads from an exported folder.
ENGINES: dict[EngineName, tuple[str, tuple[str, ...]]] = {
    "paddle": ("paddle", ("inference.json", "inference.pdiparams")),
    "onnx": ("onnxruntime", ("model.onnx",)),
    "onnx-int8": ("onnxruntime", ("model-int8.onnx",)),
}
AUTOMATIC: tuple[EngineName, ...] = ("onnx", "paddle")  # int8 only on request: less accurate
FEATURES = "features.onnx"  # logits and feature maps, written with the format onnx


def choose_engine(folder: Path, preferred: EngineName) -> EngineName:
    """Return `preferred`, or the other automatic engine where only that one can run.

    An engine can run if `folder` holds its files and its package is installed. Raises `InputError`
    if `folder` holds the files of neither.
    """
    candidates = (preferred, *(name for name in AUTOMATIC if name != preferred))
    with_files = [name for name in candidates if not _missing_files(folder, name)]
    if not with_files:
        expected = " nor ".join(ENGINES[name][1][0] for name in AUTOMATIC)
        raise InputError(f"{folder}: no exported model that runs here (it has neither {expected})")
    installed = [name for name in with_files if importlib.util.find_spec(ENGINES[name][0])]
    return (installed or with_files)[0]


def _missing_files(folder: Path, name: EngineName) -> list[str]:
    return [file for file in ENGINES[name][1] if not (folder / file).is_file()]


def load_engine(folder: Path, name: EngineName, num_classes: int, shape: Sequence[int]) -> Engine:
    """Load an exported model and run it once on a blank picture of `shape` (C, S, S).

    Raises `InputError` if files or the package are missing, if the files are damaged, or if the
    model does not have `num_classes` outputs.
    """
    missing = _missing_files(folder, name)
    if missing:
        raise InputError(f"{folder}: no exported model for {name} (it has no {missing[0]})")
    package, files = ENGINES[name]
    need(package)
    engine: Engine
    try:
        engine = load_paddle(folder) if name == "paddle" else OnnxModel(folder / files[0])
        shape = engine(np.zeros((1, *shape), np.float32)).shape
    except Exception:  # C++ errors of any type, many lines long
        raise InputError(f"{folder}: a damaged exported model; export it again") from None
    if shape != (1, num_classes):
        raise InputError(
            f"{folder}: inference.yml names {num_classes} classes, the model has "
            f"{shape[-1] if shape else 0}; export it again"
        )
    return engine


def load_paddle(folder: Path, onednn: bool = False) -> Engine:
    """Load a model into Paddle Inference on the CPU, with one thread; it is not thread-safe.

    oneDNN is on by default in Paddle 3.3.1 and slower for single pictures, so it is set explicitly.
    """
    import paddle
    from paddle import inference

    paddle.disable_signal_handler()  # it prints a C++ traceback when SIGTERM ends the process
    config = inference.Config(*(str(folder / file) for file in ENGINES["paddle"][1]))
    config.disable_gpu()
    if onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
    config.disable_glog_info()
    predictor = inference.create_predictor(config)
    given = predictor.get_input_handle(predictor.get_input_names()[0])

    def run(batch: np.ndarray) -> np.ndarray:
        given.copy_from_cpu(np.ascontiguousarray(batch))
        predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()

    return run


class OnnxModel:
    """An ONNX file in ONNX Runtime on the CPU, with one thread; it is thread-safe.

    One thread, because more do not help networks this small, and a server has a process per core.
    Raises ValueError for a file that keeps its weights in other files: this project's never do,
    and older versions of ONNX Runtime read any file that is named there.
    """

    def __init__(self, path: Path) -> None:
        runtime = need("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised as well
        with open_file(path) as file:
            model = file.read()
        if b"location" in model:  # ONNX's key for a file with weights
            raise ValueError("keeps weights in other files")
        self.session = runtime.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # it would print the error and try the same again
        )
        self.outputs: list[str] = [output.name for output in self.session.get_outputs()]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return logits, float32 (B, C)."""
        return self.session.run(["logits"], {"image": batch})[0]

    def run_all(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output by name: of features.onnx `logits` and maps, float32 (B, C, H, W)."""
        return dict(zip(self.outputs, self.session.run(None, {"image": batch}), strict=True))
