"""ONNX files: the network's, and a second one that also gives the feature maps.

Input `image`, float32 (batch, 1, S, S), normalised; output `logits`, float32 (batch, C).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.export.engines import OnnxModel
from lenet_paddle.runtime import need

OPSET = 17  # of 2021: ONNX Runtime 1.12, Triton 22.07 and onnxruntime-web know it
_ACTIVATIONS = ("Relu", "Tanh", "Sigmoid", "Clip", "HardSwish", "LeakyRelu", "Elu", "Gelu")
_BETWEEN = ("BatchNormalization", "MaxPool", "AveragePool")  # a convolution and its activation


def convert(network: paddle.nn.Layer, input_size: int, path: Path) -> None:
    """Write `network` to `path` as ONNX of opset 17, checked by `onnx.checker`.

    paddle2onnx converts it, ONNX Runtime folds its constants and joins convolutions with biases
    and batch norms. Raises `InputError` for a missing package, `RunStopped` for a network that
    cannot be converted.
    """
    onnx, paddle2onnx, runtime = need("onnx"), need("paddle2onnx"), need("onnxruntime")
    prefix = path.with_suffix("")
    network.eval()
    paddle.jit.save(network, str(prefix), input_spec=[image_spec(input_size)])
    converted = b""
    with silence(), contextlib.suppress(Exception):  # it logs what was wrong, and goes on
        # Without a file's name it leaves out its own optimizing, which installs packages by pip.
        converted = paddle2onnx.export(
            f"{prefix}.json", f"{prefix}.pdiparams", opset_version=OPSET, auto_upgrade_opset=False
        )
    if not converted:
        raise RunStopped("paddle2onnx cannot convert this network; leave out ONNX's formats", 1)
    try:
        _fold(runtime, converted, path)
        onnx.save(_tidy(onnx.load(str(path))), str(path))
    except Exception as error:  # both raise what their C++ says
        reason = first_line(error)
        raise RunStopped(f"paddle2onnx made no ONNX model that is valid ({reason})", 1) from None


def first_line(error: Exception) -> str:
    """What an error of C++ says, without the lines on where it was raised."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _fold(runtime: Any, model: bytes, path: Path) -> None:
    """Write `model` to `path` after those of ONNX Runtime's optimizations that keep to ONNX."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _tidy(model: Any) -> Any:
    """The model with the names `image`, `logits` and `batch`, and no more than it needs."""
    onnx = need("onnx")
    graph = model.graph
    graph.name, model.producer_name = "lenet_paddle", "paddle2onnx"
    _rename(graph, graph.output[0].name, "logits")
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:], model.opset_import[:]  # ONNX Runtime names operators of its own
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    onnx.checker.check_model(model, full_check=True)
    return model


def write_features(source: Path, path: Path, input_size: int) -> list[dict[str, Any]]:
    """Write the model in `source` to `path` with one output more a convolution: `feature_1` ...,
    its activated maps; return their names and shapes, `[C, H, W]`.

    They are taken behind the activation, where one follows (pooling and batch norm may stand
    between), else behind the convolution itself. Without convolutions nothing is written.
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
    maps = OnnxModel(path).run_all(np.zeros((1, 1, input_size, input_size), np.float32))
    del maps["logits"]
    features = [{"name": name, "shape": list(array.shape[1:])} for name, array in maps.items()]
    for value, feature in zip(model.graph.output[1:], features, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim[1:], feature["shape"], strict=True):
            dim.dim_value = size
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return features


def _activated(node: Any, readers: dict[str, list[Any]]) -> str:
    """The tensor that holds a convolution's activated maps."""
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
    """Give a tensor another name, wherever the graph speaks of it."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for value in graph.output:
        value.name = new if value.name == old else value.name


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """While the block runs, what C++ and Python print is thrown away: converters chat."""
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
