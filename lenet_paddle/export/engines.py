"""What runs an exported model: Paddle Inference, or ONNX Runtime without any Paddle.

Each is imported when it is asked for, so that a server of ONNX files starts without Paddle. An
engine maps a normalised batch, float32 (B, 1, S, S), to logits, float32 (B, C).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.runtime import need

EngineName = Literal["paddle", "onnx", "onnx-int8"]
EngineChoice = Literal["auto", EngineName]
Engine = Callable[[np.ndarray], np.ndarray]
# name -> the package that it needs and the files that it reads, in an exported folder.
ENGINES: dict[EngineName, tuple[str, tuple[str, ...]]] = {
    "paddle": ("paddle", ("inference.json", "inference.pdiparams")),
    "onnx": ("onnxruntime", ("model.onnx",)),
    "onnx-int8": ("onnxruntime", ("model-int8.onnx",)),
}
BY_DEFAULT: tuple[EngineName, ...] = ("onnx", "paddle")  # int8 answers when it is asked for


def choose_engine(folder: Path, preferred: EngineName) -> EngineName:
    """`preferred`, or the other engine where only that one has its files in `folder` and its
    package installed. Raises `InputError` for a folder that has neither's files."""
    in_order = (preferred, *(name for name in BY_DEFAULT if name != preferred))
    with_files = [name for name in in_order if not _missing_files(folder, name)]
    if not with_files:
        wanted = " nor ".join(ENGINES[name][1][0] for name in BY_DEFAULT)
        raise InputError(f"{folder}: no exported model that runs here (it has neither {wanted})")
    installed = [name for name in with_files if importlib.util.find_spec(ENGINES[name][0])]
    return (installed or with_files)[0]


def _missing_files(folder: Path, name: EngineName) -> list[str]:
    return [file for file in ENGINES[name][1] if not (folder / file).is_file()]


def load_engine(folder: Path, name: EngineName, num_classes: int, size: int) -> Engine:
    """The model of an exported folder, tried once on an empty picture of `size` pixels a side.

    Raises `InputError` where files or the package are missing, or the files are damaged or of a
    model with another number of classes.
    """
    missing = _missing_files(folder, name)
    if missing:
        raise InputError(f"{folder}: no exported model for {name} (it has no {missing[0]})")
    package, files = ENGINES[name]
    need(package)
    engine: Engine
    try:
        engine = load_paddle(folder) if name == "paddle" else OnnxModel(folder / files[0])
        shape = engine(np.zeros((1, 1, size, size), np.float32)).shape
    except Exception:  # both raise what their C++ says, over many lines
        raise InputError(f"{folder}: a damaged exported model; export it again") from None
    if shape != (1, num_classes):
        raise InputError(
            f"{folder}: inference.yml names {num_classes} classes, the model has "
            f"{shape[-1] if shape else 0}; export it again"
        )
    return engine


def load_paddle(folder: Path, onednn: bool = False) -> Engine:
    """Paddle Inference on the CPU, in one thread; not to be called from two threads at once.

    oneDNN is on by default in 3.3.1 and slower for single pictures, so it is set explicitly.
    """
    import paddle
    from paddle import inference

    paddle.disable_signal_handler()  # it prints a C++ traceback where SIGTERM ends the process
    config = inference.Config(str(folder / "inference.json"), str(folder / "inference.pdiparams"))
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
    """An ONNX file in ONNX Runtime on the CPU, in one thread: more gain nothing for networks this
    small, and a server has a process a core. It may be called from several threads.

    Raises ValueError for a file that keeps weights in other files: ours never do, and an older
    ONNX Runtime would read whatever file is named.
    """

    def __init__(self, path: Path) -> None:
        runtime = need("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what is wrong with a file is raised, too
        model = path.read_bytes()
        if b"location" in model:  # the key under which ONNX names such a file
            raise ValueError("keeps weights in other files")
        self.session = runtime.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # it would print what was wrong, and try the same again
        )
        self.outputs: list[str] = [output.name for output in self.session.get_outputs()]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Logits float32 (B, C)."""
        return self.session.run(["logits"], {"image": batch})[0]

    def run_all(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name: of features.onnx `logits` and the maps, float32 (B, C, H, W)."""
        return dict(zip(self.outputs, self.session.run(None, {"image": batch}), strict=True))
