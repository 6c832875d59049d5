"""The page's own computation of networks, page/network.js in node, against Paddle's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from tools_help import ROOT

from lenet_paddle.analysis.attribution import compute_slopes
from lenet_paddle.analysis.hooks import layer_outputs
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.export.explainer import describe_network
from lenet_paddle.models import MODELS, build_model, input_size

PAGE = ROOT / "lenet_paddle" / "page"
pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node here")
CONVOLUTIONAL = [name for name in MODELS if name != "mlp"]
SCRIPT = """
import { readFileSync } from "node:fs";
import { Network } from "./network.js";
const { description, image, cells } = JSON.parse(readFileSync("job.json"));
const network = new Network(description), outputs = network.forward(Float32Array.from(image));
const winner = outputs.at(-1).indexOf(Math.max(...outputs.at(-1)));
let ms = Infinity; // the fastest: others use the processor, too
for (let k = 0; k < 50; k++) {
    const started = performance.now();
    network.forward(outputs[0]);
    ms = Math.min(ms, performance.now() - started);
}
console.log(JSON.stringify({
    outputs: outputs.slice(1).map((values) => [...values]), winner, cost: network.cost,
    gradient: [...network.gradient(outputs, winner)], shares: network.shares(outputs.at(-1)),
    fields: cells.map((cell) => network.fields(...cell)), ms,
}));
"""


def run(folder: Path, description: Any, image: np.ndarray, cells: Any = ()) -> dict[str, Any]:
    """Compute a network of network.json for one normalised image in node."""
    shutil.copy(PAGE / "network.js", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "script.js").write_text(SCRIPT)
    job = {"description": description, "image": image.ravel().tolist(), "cells": cells}
    (folder / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        ["node", "script.js"], cwd=folder, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def build(name: str, channels: int = 1, side: int = 28) -> paddle.nn.Layer:
    """Build a network whose batch normalisation is not the identity."""
    paddle.seed(0)
    network = build_model(name, 10, channels, side)
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            for tensor in (layer._mean, layer._variance, layer.weight, layer.bias):
                tensor.set_value(paddle.uniform(tensor.shape, min=0.5, max=1.5))
    network.eval()
    return network


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_every_layer_and_the_gradient_equal_paddles(name: str, tmp_path: Path) -> None:
    network, side = build(name), input_size(name)
    batch = normalise(load_dataset("mnist", "test").images[:1], side)
    layers = describe_network(network, (1, side, side))
    assert layers is not None
    result = run(tmp_path, {"input": [1, side, side], "layers": layers}, batch)
    expected = layer_outputs(network, batch)
    for layer, actual in zip(layers, result["outputs"], strict=True):
        np.testing.assert_allclose(actual, expected[layer["name"]].ravel(), rtol=1e-4, atol=1e-5)
        assert list(expected[layer["name"]].shape[1:]) == layer["shape"]
    logits = expected[layers[-1]["name"]][0]
    assert result["winner"] == logits.argmax()
    np.testing.assert_allclose(
        result["shares"], np.exp(logits) / np.exp(logits).sum(), rtol=1e-4, atol=1e-6
    )
    [slopes] = compute_slopes(network, batch, np.array([result["winner"]]))
    gradient = np.reshape(result["gradient"], (side, side))
    np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-6 + 1e-4 * abs(slopes).max())


@pytest.mark.parametrize("form", [(3, 32), (1, 64)])
def test_pictures_in_colour_and_larger_ones_are_computed_too(
    form: tuple[int, int], tmp_path: Path, rng: np.random.Generator
) -> None:
    channels, side = form
    network = build("lenet_sequential", channels, side)
    batch = rng.uniform(-1, 1, (1, channels, side, side)).astype(np.float32)
    layers = describe_network(network, (channels, side, side))
    result = run(tmp_path, {"input": [channels, side, side], "layers": layers}, batch)
    with paddle.no_grad():
        logits = network(paddle.to_tensor(batch)).numpy()[0]
    np.testing.assert_allclose(result["outputs"][-1], logits, rtol=1e-4, atol=1e-5)


def test_strides_padding_and_overlapping_windows_are_computed_too(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    nn = paddle.nn
    network = nn.Sequential(
        *(nn.Conv2D(1, 3, (3, 5), stride=(2, 3), padding=(2, 1)), nn.ReLU()),
        *(nn.MaxPool2D(3, 2), nn.Conv2D(3, 4, 3, stride=2, padding=2), nn.AvgPool2D(2, 1)),
        *(nn.Flatten(), nn.Linear(4 * 4 * 2, 5)),
    )
    batch = rng.normal(size=(1, 1, 28, 28)).astype(np.float32)
    layers = describe_network(network, (1, 28, 28))
    assert layers is not None
    result = run(tmp_path, {"input": [1, 28, 28], "layers": layers}, batch)
    expected = layer_outputs(network, batch)
    for layer, actual in zip(layers, result["outputs"], strict=True):
        np.testing.assert_allclose(actual, expected[layer["name"]].ravel(), rtol=1e-4, atol=1e-5)
    [slopes] = compute_slopes(network, batch, np.array([result["winner"]]))
    gradient = np.reshape(result["gradient"], (28, 28))
    np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-6)


def test_a_cells_field_is_where_the_gradient_is_not_zero(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    network = build("lenet_sequential")
    network[1], network[4] = paddle.nn.Tanh(), paddle.nn.Tanh()  # no slope of zero
    network[2], network[5] = paddle.nn.AvgPool2D(2), paddle.nn.AvgPool2D(2)
    layers = describe_network(network, (1, 28, 28))
    cells = [(1, 3, 20), (3, 5, 6), (4, 2, 7), (6, 0, 4)]
    batch = rng.normal(size=(1, 1, 28, 28)).astype(np.float32)
    result = run(tmp_path, {"input": [1, 28, 28], "layers": layers}, batch, cells)
    for (stage, row, column), fields in zip(cells, result["fields"], strict=True):
        image = paddle.to_tensor(batch, stop_gradient=False)
        maps = network[:stage](image)
        [slope] = paddle.grad(maps[0, :, row, column].sum(), image)
        rows, columns = np.nonzero(slope.numpy()[0, 0])
        top, left, bottom, right = np.clip(fields[0], 0, 27)
        assert (rows.min(), columns.min()) == (top, left)
        assert (rows.max(), columns.max()) == (bottom, right)


def test_lenet_takes_a_small_part_of_a_frame(tmp_path: Path) -> None:
    layers = describe_network(build("lenet_builtin"), (1, 28, 28))
    batch = normalise(load_dataset("mnist", "test").images[:1], 28)
    result = run(tmp_path, {"input": [1, 28, 28], "layers": layers}, batch)
    assert result["cost"] == 42336 + 240000 + 48000 + 10080 + 840
    assert result["ms"] < 8  # half a frame
