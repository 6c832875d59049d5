"""The Open Inference Protocol, version 2, which KServe and Triton speak: metadata and tensors.

Sources: the protocol, https://github.com/kserve/open-inference-protocol, and Triton's extensions
binary_data, model_configuration, statistics and model_repository (of it the index only),
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
The server has one model, `lenet`, with one input, `image`, float32 (B, C, S, S) of 1 or 3 channels,
normalised as inference.yml says, and one output, `logits`, float32 (B, number of classes). They
are divided by the temperature in inference.yml, so that their softmax is calibrated.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from lenet_paddle._version import __version__
from lenet_paddle.data.form import CHANNELS
from lenet_paddle.data.preprocess import NORMALISATION
from lenet_paddle.serve.bodies import parse_message
from lenet_paddle.serve.schemas import InferRequest, InputTensor
from lenet_paddle.tables import format_json

MODEL, VERSION = "lenet", "1"
INPUT, OUTPUT = "image", "logits"
LENGTH_HEADER = "inference-header-content-length"
EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]
SERVER = {"name": "lenet_paddle", "version": __version__, "extensions": EXTENSIONS}
INDEX = [{"name": MODEL, "version": VERSION, "state": "READY", "reason": ""}]
TOLERANCE = 0.01  # beyond -1 to 1, for rounding and interpolation


def describe_model(engine: str, shape: Sequence[int], num_classes: int) -> dict[str, Any]:
    """Return the answer to GET /v2/models/lenet; `shape` (C, S, S) is that of a picture."""
    return {
        "name": MODEL,
        "versions": [VERSION],
        "platform": "paddle_inference" if engine == "paddle" else "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, num_classes]}],
        "parameters": {
            "image_min": -1.0,
            "image_max": 1.0,
            "image_normalisation": NORMALISATION,
            "image_channels": CHANNELS[shape[0]],
        },
    }


def configure_model(
    engine: str, shape: Sequence[int], num_classes: int, max_batch: int
) -> dict[str, Any]:
    """Return the answer to GET /v2/models/lenet/config: Triton's `ModelConfig`."""
    about = describe_model(engine, shape, num_classes)
    return {
        "name": MODEL,
        "platform": about["platform"],
        "backend": "paddle" if engine == "paddle" else "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch,
        "input": [{"name": INPUT, "data_type": "TYPE_FP32", "dims": list(shape)}],
        "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [num_classes]}],
        "parameters": {
            key: {"string_value": str(value)} for key, value in about["parameters"].items()
        },
    }


def describe_statistics(totals: Mapping[str, float]) -> dict[str, Any]:
    """Return the answer to GET /v2/models/lenet/stats, from `Metrics.sum_up`.

    The durations that are not measured apart, such as `queue`, are 0.
    """
    names = ("queue", "compute_input", "compute_output", "cache_hit", "cache_miss")
    durations = {name: {"count": 0, "ns": 0} for name in names}
    failed, seconds_failed = totals["lenet_errors_total"], totals["lenet_error_seconds_total"]
    num_batches = totals["lenet_batch_size_count"]
    for name, count, seconds in (
        (
            "success",
            totals["lenet_requests_total"] - failed,
            totals["lenet_request_seconds_sum"] - seconds_failed,
        ),
        ("fail", failed, seconds_failed),
        ("compute_infer", num_batches, totals["lenet_model_seconds_total"]),
    ):
        durations[name] = {"count": int(count), "ns": round(max(0, seconds) * 1e9)}
    model = {
        "name": MODEL,
        "version": VERSION,
        "last_inference": round(totals["lenet_last_batch_timestamp_seconds"] * 1000),
        "inference_count": int(totals["lenet_batch_size_sum"]),
        "execution_count": int(num_batches),
        "inference_stats": durations,
        "batch_stats": [],
    }
    return {"model_stats": [model]}


@dataclass(frozen=True)
class Inference:
    """A checked inference request."""

    batch: np.ndarray
    """float32 (B, C, S, S), finite."""
    id: str | None
    as_binary: bool
    """Whether the logits are wanted as bytes after the JSON part."""
    warning: str | None
    """What is odd about the range of the values."""


def read_request(
    body: bytes, header_length: str | None, shape: Sequence[int], max_batch: int
) -> Inference:
    """Parse a request for a model of pictures of `shape` (C, S, S).

    `header_length` is the value of Inference-Header-Content-Length. Raises `HTTPException`: 413 for
    a batch above `max_batch`, 400 for anything else that does not fit the model.
    """
    request, binary = _split(body, header_length, shape)
    batch = _read_input(request.inputs[0], binary, shape, max_batch)
    wanted = request.parameters.binary_data_output
    for output in request.outputs:
        if output.parameters.binary_data is not None:
            wanted = output.parameters.binary_data
    return Inference(batch, request.id, bool(wanted), _check_range(batch))


def _check_range(batch: np.ndarray) -> str | None:
    """Return a warning for a batch that does not seem to be normalised, such as pixels in 0..1.

    A picture of the data has dark and light parts, so values on both sides of 0.
    """
    low, high = float(batch.min()), float(batch.max())
    if -1 - TOLERANCE <= low < 0 and high <= 1 + TOLERANCE:
        return None
    return (
        f"{INPUT}: values from {low:.4g} to {high:.4g}; expected -1 to 1 on both sides of 0, "
        f"normalise pixels x of 0 to 255: {NORMALISATION}"
    )


def write_answer(request: Inference, logits: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """Return the answer's body and headers; a binary tensor follows the JSON part.

    `logits` is float32 (B, C). Raises `HTTPException`, 400, if a value is not finite.
    """
    if not np.isfinite(logits).all():  # JSON has no word for it
        raise _refuse(f"{INPUT}: values so large that the model overflows; expected -1 to 1")
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": list(logits.shape)}
    answer: dict[str, Any] = {"model_name": MODEL, "model_version": VERSION, "outputs": [output]}
    headers = {"content-type": "application/json"}
    if request.id is not None:
        answer["id"] = request.id
    if request.warning is not None:
        answer["parameters"] = {"warning": request.warning}
        headers["warning"] = f'299 - "{request.warning}"'
    if not request.as_binary:
        output["data"] = logits.ravel().tolist()
        return format_json(answer, None).encode(), headers
    data = np.ascontiguousarray(logits, "<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    head = format_json(answer, None).encode()
    headers |= {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(head))}
    return head + data, headers


def _refuse(reason: str) -> HTTPException:
    return HTTPException(400, reason)


def _split(
    body: bytes, header_length: str | None, shape: Sequence[int]
) -> tuple[InferRequest, bytes]:
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
    parameters = {"binary_data_size": len(body)}
    tensor = {"name": INPUT, "datatype": "FP32", "shape": [1, *shape], "parameters": parameters}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    return InferRequest.model_validate(request), body


def _read_input(
    tensor: InputTensor, binary: bytes, picture: Sequence[int], max_batch: int
) -> np.ndarray:
    """Return the input tensor, float32 (B, C, S, S), after checking it against the model."""
    shape, (channels, side, _) = tensor.shape, picture
    expected = (
        f"{INPUT}: {reprlib.repr(shape)} came; expected the shape [B, {channels}, {side}, {side}], "
        f"B from 1 to {max_batch}"
    )
    if shape[1:] != [*picture] or shape[0] < 1:
        raise _refuse(
            f"{expected}: {CHANNELS[channels]} pictures of {side}x{side}; convert them, or let "
            "POST /predict do it"
        )
    if shape[0] > max_batch:
        raise HTTPException(413, f"{expected}; send several requests")
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
