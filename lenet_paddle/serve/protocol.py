"""The Open Inference Protocol, version 2, which KServe and Triton speak: metadata and tensors.

Sources: the protocol, https://github.com/kserve/open-inference-protocol, and Triton's
binary-data extension,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
Here it has one model, `lenet`, with one input, `image`, float32 (B, 1, S, S), normalised as
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
from lenet_paddle.serve.bodies import parse_json

MODEL, VERSION = "lenet", "1"
INPUT, OUTPUT = "image", "logits"
LENGTH_HEADER = "inference-header-content-length"
SERVER = {"name": "lenet_paddle", "version": __version__, "extensions": ["binary_tensor_data"]}


def describe_model(engine: str, size: int, num_classes: int) -> dict[str, Any]:
    """The answer to GET /v2/models/lenet."""
    return {
        "name": MODEL,
        "versions": [VERSION],
        "platform": "paddle_inference" if engine == "paddle" else "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, 1, size, size]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, num_classes]}],
    }


@dataclass(frozen=True)
class InferRequest:
    """An inference request that has been checked."""

    batch: np.ndarray
    """float32 (B, 1, S, S), finite."""
    id: str | None
    as_binary: bool
    """Whether the logits are asked for as bytes behind the JSON part."""


def read_request(body: bytes, header_length: str | None, size: int, max_batch: int) -> InferRequest:
    """The request in `body`; `header_length` is what Inference-Header-Content-Length says.

    Raises `HTTPException`: 413 for a batch above `max_batch`, 400 for all else that does not fit.
    """
    request, binary = _split(body, header_length, size)
    if not isinstance(request.get("id", ""), str):
        raise _refuse("`id` is no text")
    as_binary = _wants_binary(request)
    return InferRequest(_read_input(request, binary, size, max_batch), request.get("id"), as_binary)


def write_answer(request: InferRequest, logits: np.ndarray) -> tuple[bytes, int | None]:
    """The answer's body, and where its JSON part ends, if a tensor follows it.

    `logits` is float32 (B, C). Raises `HTTPException`, 400, where a value is not finite.
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


def _split(body: bytes, header_length: str | None, size: int) -> tuple[dict[str, Any], bytes]:
    """The request's JSON part, and the bytes of tensors behind it.

    Of length 0 (the extension's "raw binary request") the body is one picture's tensor, and the
    answer is binary.
    """
    if header_length is None:
        return parse_json(body), b""
    if not re.fullmatch("[0-9]{1,12}", header_length):
        raise _refuse("Inference-Header-Content-Length is no whole number of up to 12 digits")
    length = int(header_length)
    if length > len(body):
        raise _refuse(f"Inference-Header-Content-Length is {length}, the body {len(body)} bytes")
    if length == 0 and body:
        whole = {"binary_data_size": len(body)}
        tensor = {"name": INPUT, "datatype": "FP32", "shape": [1, 1, size, size]}
        request = {"inputs": [{**tensor, "parameters": whole}]}
        return {**request, "parameters": {"binary_data_output": True}}, body
    return parse_json(body[:length]), body[length:]


def _objects(parent: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of JSON objects at `key`, [] where there is none."""
    found = parent.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _refuse(f"`{key}` is no list of objects")
    return found


def _parameters(parent: dict[str, Any]) -> dict[str, Any]:
    found = parent.get("parameters", {})
    if not isinstance(found, dict):
        raise _refuse("`parameters` is no object")
    if any(key.startswith("shared_memory") for key in found):
        raise _refuse("shared memory is not supported; send the tensors in the body")
    return found


def _wants_binary(request: dict[str, Any]) -> bool:
    """Whether the logits are asked for as bytes; checks `outputs` on the way."""
    wanted = _parameters(request).get("binary_data_output", False)
    outputs = _objects(request, "outputs")
    if len(outputs) > 1 or any(output.get("name") != OUTPUT for output in outputs):
        raise _refuse(f"`outputs` names another than the only one, {OUTPUT}")
    for output in outputs:
        parameters = _parameters(output)
        if parameters.get("classification"):
            raise _refuse("the classification extension is not supported; POST /predict names them")
        wanted = parameters.get("binary_data", wanted)
    if not isinstance(wanted, bool):
        raise _refuse("`binary_data` is neither true nor false")
    return wanted


def _read_input(request: dict[str, Any], binary: bytes, size: int, max_batch: int) -> np.ndarray:
    """The input tensor, float32 (B, 1, S, S), checked against the model."""
    inputs = _objects(request, "inputs")
    if len(inputs) != 1 or inputs[0].get("name") != INPUT:
        raise _refuse(f"expected one input named {INPUT}")
    tensor = inputs[0]
    if tensor.get("datatype") != "FP32":
        raise _refuse(f"{INPUT} has another datatype than FP32")
    shape = tensor.get("shape")
    expected = f"{INPUT}: expected the shape [B, 1, {size}, {size}], B from 1 to {max_batch}"
    if not isinstance(shape, list) or any(type(n) is not int for n in shape):
        raise _refuse(expected)
    if shape[1:] != [1, size, size] or shape[0] < 1:
        raise _refuse(expected)
    if shape[0] > max_batch:
        raise HTTPException(413, expected)
    num_bytes = _parameters(tensor).get("binary_data_size")
    if num_bytes is None:
        if binary:
            raise _refuse("bytes behind the JSON part that no input's binary_data_size names")
        values = _from_json(tensor.get("data"), math.prod(shape))
    else:
        if (
            type(num_bytes) is not int
            or num_bytes != len(binary)
            or num_bytes != 4 * math.prod(shape)
        ):
            raise _refuse(f"{INPUT}: binary_data_size, shape and the bytes that came do not agree")
        values = np.frombuffer(binary, "<f4")
    if not np.isfinite(values).all():
        raise _refuse(f"{INPUT}: a value is NaN or infinite")
    return values.reshape(shape)


def _from_json(data: Any, count: int) -> np.ndarray:
    """Numbers, flat or nested in row-major order, as float32 (count,).

    NumPy sees them only when they are known to be so many numbers: of one long text among many
    short ones it makes an array of gigabytes.
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
    except OverflowError:  # a whole number beyond float64
        raise refusal from None
