"""Write what the page needs to explain a network: its layers with their weights, and digits.

explainer/network.json   the layers in order; weights as base64 of float32, little endian
explainer/digits.png     training digits of MNIST, a row of 100 for each class, 28x28 each
explainer/compare.json   another export's network.json, whose answer is shown beside

The page computes each layer's output from network.json in the browser (`page/network.js`), so
that it explains the same with and without a server.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import encode_png
from lenet_paddle.errors import InputError
from lenet_paddle.files import read_text, write_json, write_text

if TYPE_CHECKING:
    from paddle import nn

NETWORK, DIGITS, COMPARED = "network.json", "digits.png", "compare.json"
FILES = (NETWORK, DIGITS, COMPARED)
FOLDER = "explainer"  # in an exported folder, and in a static page
PER_CLASS = 100  # digits in a row of digits.png
# A browser computes about a thousand million multiply-adds a second, in one thread.
MOST_MULTIPLY_ADDS, MOST_WEIGHTS = 20_000_000, 400_000


def write_explainer(
    network: nn.Layer,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    info: dict[str, Any],
    folder: Path,
    compare: Path | None = None,
    temperature: float = 1.0,
) -> Path | None:
    """Write the explainer's files to the new folder `folder` and return it.

    `shape` is that of an input, (C, S, S); `info` names the run, its model and its data set;
    `compare` is another export; `temperature` divides the logits. Nothing is written, and None
    returned, for a network that `describe_network` does not describe. Raises `InputError` if
    `compare` has no network.json for the same pictures and classes.
    """
    layers = describe_network(network, shape)
    if layers is None:
        if compare is not None:
            raise InputError(f"{compare}: the page cannot explain this network, nor compare it")
        return None
    names: dict[str, Any] = {key: info[key] for key in ("run", "model") if key in info}
    description = {**names, "classes": list(classes), "input": list(shape)}
    description |= {"temperature": temperature, "layers": layers}
    other = None if compare is None else _read_other(compare / FOLDER / NETWORK, description)
    folder.mkdir()
    write_json(folder / NETWORK, description)
    if info["dataset"] == "mnist" and info["preprocess"] == "digit":
        (folder / DIGITS).write_bytes(encode_png(make_sheet()))
    if other is not None:
        write_text(folder / COMPARED, other)
    return folder


def list_files(folder: Path) -> list[Path]:
    """Return the explainer's files that are in an exported folder or a static page."""
    return [path for name in FILES if (path := folder / FOLDER / name).is_file()]


def _read_other(path: Path, own: dict[str, Any]) -> str:
    """Return the text of another export's network.json, after a check that it fits `own`."""
    try:
        text = read_text(path)
        other = json.loads(text)
        form = [(it["classes"], it["input"][0]) for it in (own, other)]
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise InputError(
            f"{path}: no description of a network; expected that of an export with onnx"
        ) from None
    if form[0] != form[1]:
        raise InputError(f"{path}: a network for other classes or colours than the exported one")
    return text


def describe_network(network: nn.Layer, shape: tuple[int, int, int]) -> list[dict[str, Any]] | None:
    """Return a record of each layer, in the order of computation.

    A record has `kind`, `name`, and the `shape` of its output, (C, H, W) or (N,); convolutions and
    pooling have `kernel`, `stride` and `padding`, each (vertical, horizontal). `weight` is (out,
    in, ...), `bias` (out,); of a `norm`, batch normalisation, `scale` and `shift` (C,).

    Returns None for a network without convolutions, with a layer of another kind, or in which not
    every layer works on the output of the one before it, and for one that is too large for a page.
    """
    from paddle import nn

    from lenet_paddle.analysis.hooks import layer_inputs, layer_outputs, leaf_layers
    from lenet_paddle.evaluation.evaluate import compute_logits

    layers = leaf_layers(network)
    batch = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    given, outputs = layer_inputs(network, batch, layers), layer_outputs(network, batch)
    records: list[dict[str, Any]] = []
    before, sums = batch, 0
    for name, output in outputs.items():
        if not np.array_equal(given[name].ravel(), before.ravel()):
            return None  # a branch, or a function between the layers
        is_idle = isinstance(layers[name], (nn.Flatten, nn.Dropout, nn.Dropout2D))
        if not is_idle or not np.array_equal(output.ravel(), before.ravel()):
            record = _describe_layer(layers[name], given[name], output)
            if record is None:
                return None
            records.append({"name": name, "shape": list(output.shape[1:]), **record})
            weights = math.prod(layers[name].weight.shape[1:]) if "weight" in record else 0
            sums += output.size * weights if record["kind"] == "conv" else weights
        before = output
    is_whole = bool(records) and np.array_equal(before, compute_logits(network, batch))
    count = sum(weight.size for weight in network.parameters())
    is_small = sums <= MOST_MULTIPLY_ADDS and count <= MOST_WEIGHTS
    kinds = {record["kind"] for record in records}
    return records if is_whole and is_small and "conv" in kinds else None


def _describe_layer(
    layer: nn.Layer, given: np.ndarray, output: np.ndarray
) -> dict[str, Any] | None:
    """Return a layer's record without name and shape; None for one that the page cannot compute."""
    from paddle import nn

    kinds = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
    if type(layer) in kinds:
        return {"kind": kinds[type(layer)]}
    if type(layer) is nn.Linear:
        return {"kind": "linear", **_weights(layer.weight.numpy().T, layer.bias)}
    if type(layer) is nn.BatchNorm2D:
        mean, variance = layer._mean.numpy(), layer._variance.numpy()
        scale = layer.weight.numpy() / np.sqrt(variance + layer._epsilon)
        return {
            "kind": "norm",
            "scale": _encode(scale),
            "shift": _encode(layer.bias.numpy() - mean * scale),
        }
    if type(layer) is nn.AdaptiveAvgPool2D and output.shape[2:] == (1, 1):
        return {"kind": "average", **_window(given.shape[2:], given.shape[2:], 0)}
    if type(layer) in (nn.MaxPool2D, nn.AvgPool2D):
        if layer.ceil_mode or layer.padding not in (0, [0, 0], (0, 0)):
            return None
        kind = "max" if type(layer) is nn.MaxPool2D else "average"
        return {"kind": kind, **_window(layer.ksize, layer.stride or layer.ksize, 0)}
    if type(layer) is nn.Conv2D:
        plain = (layer._groups, *layer._dilation, layer._padding_mode, layer._padding_algorithm)
        padding = layer._updated_padding
        if plain != (1, 1, 1, "zeros", "EXPLICIT") or len(padding) != 2:
            return None
        window = _window(layer.weight.shape[2:], layer._stride, padding)
        return {"kind": "conv", **window, **_weights(layer.weight.numpy(), layer.bias)}
    return None


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, list[int]]:
    def pair(value: Any) -> list[int]:
        return [value, value] if isinstance(value, int) else [int(part) for part in value]

    return {"kernel": pair(kernel), "stride": pair(stride), "padding": pair(padding)}


def _weights(weight: np.ndarray, bias: Any) -> dict[str, str]:
    values = np.zeros(len(weight), np.float32) if bias is None else bias.numpy()
    return {"weight": _encode(weight), "bias": _encode(values)}


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def make_sheet() -> np.ndarray:
    """Return the first 100 training digits of each class, a row a class, uint8 (280, 2800)."""
    digits = load_dataset("mnist", "train")
    rows = [digits.images[digits.labels == label][:PER_CLASS] for label in range(10)]
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
