"""Convert a network to ONNX, and to a second file with feature maps as further outputs.

Input `image`, float32 (batch, C, S, S) of 1 or 3 channels, normalised; output `logits`, float32
(batch, number of classes).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.errors import RunStopped
from lenet_paddle.export.engines import OnnxModel
from lenet_paddle.runtime import need

if TYPE_CHECKING:
    import paddle
    from paddle.static import InputSpec

OPSET = 17  # ONNX Runtime 1.12, Triton 22.07 and onnxruntime-web support it
_ACTIVATIONS = ("Relu", "Tanh", "Sigmoid", "Clip", "HardSwish", "LeakyRelu", "Elu", "Gelu")
_BETWEEN = ("BatchNormalization", "MaxPool", "AveragePool")  # may stand before the activation


def convert(network: paddle.nn.Layer, spec: InputSpec, path: Path) -> None:
    """Write `network` to `path` as ONNX of opset 17, checked by `onnx.checker`.

    `spec` is that of its input. paddle2onnx converts it; ONNX Runtime folds constants, and biases
    and batch norms into convolutions. Raises `InputError` for a missing package, `RunStopped` for a
    network that cannot be converted.
    """
    import paddle

    onnx, paddle2onnx, runtime = need("onnx"), need("paddle2onnx"), need("onnxruntime")
    prefix = path.with_suffix("")
    network.eval()
    paddle.jit.save(network, str(prefix), input_spec=[spec])
    converted = b""
    with silence(), contextlib.suppress(Exception):  # it logs errors and raises none
        # Without an output file it skips its own optimizer, which installs packages with pip.
        converted = paddle2onnx.export(
            f"{prefix}.json", f"{prefix}.pdiparams", opset_version=OPSET, auto_upgrade_opset=False
        )
    if not converted:
        raise RunStopped("paddle2onnx cannot convert this network; leave out ONNX's formats", 1)
    try:
        _fold(runtime, converted, path)
        onnx.save(_tidy(onnx.load(str(path))), str(path))
    except Exception as error:  # C++ errors of any type
        reason = first_line(error)
        raise RunStopped(f"paddle2onnx made an invalid ONNX model ({reason})", 1) from None


def first_line(error: Exception) -> str:
    """Return the message of a C++ error without its traceback."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _fold(runtime: Any, model: bytes, path: Path) -> None:
    """Write `model` to `path` after the ONNX Runtime optimizations that use standard operators."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _tidy(model: Any) -> Any:
    """Name inputs, outputs and the batch axis, and drop what the graph does not need."""
    onnx = need("onnx")
    graph = model.graph
    graph.name, model.producer_name = "lenet_paddle", "paddle2onnx"
    _rename(graph, graph.output[0].name, "logits")
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:], model.opset_import[:]  # ONNX Runtime adds its own opsets
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    onnx.checker.check_model(model, full_check=True)
    return model


def write_features(source: Path, path: Path, shape: tuple[int, ...]) -> list[dict[str, Any]]:
    """Add the feature maps of every convolution to the outputs; return their names and shapes.

    The model in `source` is written to `path` with the outputs `feature_1`, `feature_2` ..., of
    shape `[C, H, W]`. They are taken after the activation if one follows (pooling and batch norm
    may come between), else after the convolution. `shape` is that of an input. A model without
    convolutions is not written.
    """
    onnx = need("onnx")
    model = onnx.load(str(source))
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    if not convolutions:
        return []
    for number, node in enumerate(convolutions, 1):
        _rename(model.graph, _activated(node, readers), f"feature_{number}")
        value = onnx.helper.make_tensor_value_info(
            f"feature_{number}", 1, ["batch", None, None, None]
        )
        model.graph.output.append(value)
    onnx.save(model, str(path))
    maps = OnnxModel(path).run_all(np.zeros(shape, np.float32))
    del maps["logits"]
    features = [{"name": name, "shape": list(array.shape[1:])} for name, array in maps.items()]
    for value, feature in zip(model.graph.output[1:], features, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim[1:], feature["shape"], strict=True):
            dim.dim_value = size
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return features


def _activated(node: Any, readers: dict[str, list[Any]]) -> str:
    """Return the name of the tensor with a convolution's activated maps."""
    name = node.output[0]
    while len(readers[name]) == 1:
        [reader] = readers[name]
        if reader.op_type in _ACTIVATIONS:
            return reader.output[0]
        if reader.op_type not in _BETWEEN:
            break
        name = reader.output[0]
    return node.output[0]


def _rename(graph: Any, old: str, new: str) -> None:
    """Rename a tensor everywhere in the graph."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in graph.output:
        value.name = new if value.name == old else value.name


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Discard what C++ and Python print while the block runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with Path(os.devnull).open("w") as nothing:
        try:
            for number in kept:
                os.dup2(nothing.fileno(), number)
            yield
        finally:
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
