"""The Open Inference Protocol, version 2, which KServe and Triton speak: metadata and tensors.

Sources: the protocol, https://github.com/kserve/open-inference-protocol, and Triton's
binary-data extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
The server has one model, `lenet`, with one input, `image`, float32 (B, 1, S, S), normalised as
inference.yml says, and one output, `logits`, float32 (B, C).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from lenet_paddle._version import __version__
from lenet_paddle.serve.bodies import parse_message
from lenet_paddle.serve.schemas import InferRequest, InputTensor

MODEL, VERSION = "lenet", "1"
INPUT, OUTPUT = "image", "logits"
LENGTH_HEADER = "inference-header-content-length"
SERVER = {"name": "lenet_paddle", "version": __version__, "extensions": ["binary_tensor_data"]}


def describe_model(engine: str, size: int, num_classes: int) -> dict[str, Any]:
    """Return the answer to GET /v2/models/lenet."""
    return {
        "name": MODEL,
        "versions": [VERSION],
        "platform": "paddle_inference" if engine == "paddle" else "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, 1, size, size]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, num_classes]}],
    }


@dataclass(frozen=True)
class Inference:
    """A checked inference request."""

    batch: np.ndarray
    """float32 (B, 1, S, S), finite."""
    id: str | None
    as_binary: bool
    """Whether the logits are wanted as bytes after the JSON part."""


def read_request(body: bytes, header_length: str | None, size: int, max_batch: int) -> Inference:
    """Parse a request; `header_length` is the value of Inference-Header-Content-Length.

    Raises `HTTPException`: 413 for a batch above `max_batch`, 400 for anything else that does not
    fit the model.
    """
    request, binary = _split(body, header_length, size)
    batch = _read_input(request.inputs[0], binary, size, max_batch)
    wanted = request.parameters.binary_data_output
    for output in request.outputs:
        if output.parameters.binary_data is not None:
            wanted = output.parameters.binary_data
    return Inference(batch, request.id, bool(wanted))


def write_answer(request: Inference, logits: np.ndarray) -> tuple[bytes, int | None]:
    """Return the answer's body, and the length of its JSON part if a tensor follows it.

    `logits` is float32 (B, C). Raises `HTTPException`, 400, if a value is not finite.
    """
    if not np.isfinite(logits).all():  # JSON has no word for it
        raise _refuse(f"{INPUT}: values so large that the model overflows; expected -1 to 1")
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(logits.shape)}
    answer = {"model_name": MODEL, "model_version": VERSION, "outputs": [output]}
    if request.id is not None:
        answer["id"] = request.id
    if not request.as_binary:
        output["data"] = logits.ravel().tolist()
        return json.dumps(answer).encode(), None
    data = np.ascontiguousarray(logits, "<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps(answer).encode()
    return head + data, len(head)


def _refuse(reason: str) -> HTTPException:
    return HTTPException(400, reason)


def _split(body: bytes, header_length: str | None, size: int) -> tuple[InferRequest, bytes]:
    """Return the request's JSON part, and the bytes of the tensors after it.

    With length 0 (the extension's "raw binary request") the body is one picture's tensor, and the
    answer is binary.
    """
    if header_length is None:
        return parse_message(InferRequest, body), b""
    if not re.fullmatch("[0-9]{1,12}", header_length):
        raise _refuse("Inference-Header-Content-Length: expected an integer of up to 12 digits")
    length = int(header_length)
    if length > len(body):
        raise _refuse(f"Inference-Header-Content-Length is {length}, the body {len(body)} bytes")
    if length > 0 or not body:
        return parse_message(InferRequest, body[:length]), body[length:]
    shape = [1, 1, size, size]
    parameters = {"binary_data_size": len(body)}
    tensor = {"name": INPUT, "datatype": "FP32", "shape": shape, "parameters": parameters}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    return InferRequest.model_validate(request), body


def _read_input(tensor: InputTensor, binary: bytes, size: int, max_batch: int) -> np.ndarray:
    """Return the input tensor, float32 (B, 1, S, S), after checking it against the model."""
    shape = tensor.shape
    expected = f"{INPUT}: expected the shape [B, 1, {size}, {size}], B from 1 to {max_batch}"
    if shape[1:] != [1, size, size] or shape[0] < 1:
        raise _refuse(expected)
    if shape[0] > max_batch:
        raise HTTPException(413, expected)
    num_bytes = tensor.parameters.binary_data_size
    if num_bytes is None:
        if binary:
            raise _refuse("bytes after the JSON part, but no input has a binary_data_size")
        values = _from_json(tensor.data, math.prod(shape))
    elif num_bytes == len(binary) == 4 * math.prod(shape):
        values = np.frombuffer(binary, "<f4")
    else:
        raise _refuse(f"{INPUT}: binary_data_size, shape and the bytes that came do not agree")
    if not np.isfinite(values).all():
        raise _refuse(f"{INPUT}: a value is NaN or infinite")
    return values.reshape(shape)


def _from_json(data: Any, count: int) -> np.ndarray:
    """Convert numbers, flat or nested in row-major order, to float32 (count,).

    The numbers are checked before NumPy sees them: it turns one long text among many short ones
    into an array of gigabytes.
    """
    refusal = _refuse(f"{INPUT}: `data` is not the {count} numbers that `shape` says")
    if not isinstance(data, list):
        raise refusal
    while data and isinstance(data[0], list):
        if set(map(type, data)) != {list} or len(set(map(len, data))) > 1:
            raise refusal
        data = list(chain.from_iterable(data))
    if len(data) != count or not set(map(type, data)) <= {int, float}:
        raise refusal
    try:
        with np.errstate(over="ignore"):
            return np.array(data, np.float64).astype(np.float32)
    except OverflowError:  # an integer beyond float64
        raise refusal from None
