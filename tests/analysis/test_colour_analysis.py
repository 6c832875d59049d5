"""Analysis of networks for colour pictures of any size."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from tools_help import tool

from lenet_paddle.analysis.attribution import (
    BACKGROUND,
    cam_layer,
    compute_slopes,
    integrated_gradients,
    logit_gains,
    occlude,
    patch_size,
)
from lenet_paddle.analysis.hooks import fitting
from lenet_paddle.analysis.layers import analyse_model, totals
from lenet_paddle.analysis.receptive import receptive_fields
from lenet_paddle.benchmark.side_by_side import compare_models
from lenet_paddle.models import MODELS, build_model, input_size


def linear(side: int) -> tuple[nn.Layer, np.ndarray]:
    """A weighted sum of all values for each of 3 classes, and its weights (3, 3, S, S)."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 3))
    return network, network[1].weight.numpy().T.reshape(3, 3, side, side)


def colour_batch(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    return rng.uniform(-1, 1, (count, 3, side, side)).astype(np.float32)


def test_lenet5_on_32x32x3_has_the_parameters_of_the_cifar_tutorial() -> None:
    done = tool("analyze", "--model", "lenet5", "--channels", "3", "--image-size", "32")
    assert done.returncode == 0
    assert "lenet5, input 3x32x32" in done.stdout
    for text in ("(5*5*3 + 1)*6 = 456", "Total params: 62,006"):
        assert text in done.stdout


@pytest.mark.parametrize("name", [*MODELS, "vision:resnet18"])
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 45), (3, 64)])
def test_every_network_is_analysed_for_every_form(name: str, channels: int, size: int) -> None:
    rows = analyse_model(name, 5, channels, size)
    trained = [p for p in build_model(name, 5, channels, size).parameters() if not p.stop_gradient]
    assert totals(rows)["parameters"] == sum(p.size for p in trained)
    assert rows[-1].output_shape == (5,)


def test_networks_side_by_side_are_those_of_the_form() -> None:
    [lenet, mlp] = compare_models(["lenet5", "mlp"], 10, 3, 30)
    assert (lenet["input"], mlp["input"]) == ("3x32x32", "3x30x30")
    assert lenet["parameters"] == 62_006
    assert mlp["parameters"] == (3 * 30 * 30 + 1) * 512 + 513 * 256 + 257 * 10


def test_a_colour_pixels_gradient_is_the_steepest_of_its_channels(rng: np.random.Generator) -> None:
    network, weights = linear(4)
    labels = np.array([0, 2])
    slopes = compute_slopes(network, colour_batch(rng, 2, 4), labels)
    np.testing.assert_allclose(slopes, np.abs(weights[labels]).max(axis=1), rtol=1e-6)


def test_integrated_gradients_add_the_channels_parts(rng: np.random.Generator) -> None:
    network, weights = linear(4)
    batch, labels = colour_batch(rng, 2, 4), np.array([1, 0])
    maps = integrated_gradients(network, batch, labels, steps=3)
    expected = (weights[labels] * (batch + 1)).sum(axis=1)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)
    paddle.seed(1)
    network, batch = build_model("lenet_relu", 10, 3, 40), colour_batch(rng, 2, 40)
    gains = logit_gains(network, batch, labels)
    sums = integrated_gradients(network, batch, labels).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, gains, atol=0.02 * np.abs(gains).max())


def test_occlusion_of_a_large_colour_picture_is_at_most_32x32_places(
    rng: np.random.Generator,
) -> None:
    assert [patch_size(side) for side in (28, 32, 33, 64, 224)] == [5, 5, 11, 11, 35]
    network, weights = linear(64)
    batch, labels = colour_batch(rng, 1, 64), np.array([2])
    [values] = occlude(network, batch, labels)
    assert values.shape == (32, 32)
    parts = (weights[2] * (batch[0] - BACKGROUND)).sum(axis=0)
    for row, col in [(0, 0), (5, 31), (16, 9)]:
        top, left = 2 * row + 1 - 5, 2 * col + 1 - 5
        drop = parts[max(0, top) : top + 11, max(0, left) : left + 11].sum()
        assert values[row, col] == pytest.approx(drop, abs=1e-4)


def test_receptive_fields_of_a_colour_network_lie_around_the_middle() -> None:
    fields = receptive_fields(build_model("lenet_relu", 10, 3, 64), 64, channels=3)
    first, pooled, *_, last = fields
    assert (first.size, first.step, first.begin) == ((3.0, 3.0), (1.0, 1.0), (31, 31))
    assert (pooled.size, pooled.step, pooled.begin) == ((4.0, 4.0), (2.0, 2.0), (31, 31))
    assert last.sees_all(64)


@pytest.mark.parametrize("name", MODELS)
def test_the_layer_for_grad_cam_is_found_in_networks_on_colour(name: str) -> None:
    network = build_model(name, 10, 3, 64)
    layer = cam_layer(network, input_size(name, 64), 3)
    assert (layer is None) == (name == "mlp")


def test_fewer_large_pictures_are_measured_at_once() -> None:
    assert [fitting(128, side) for side in (28, 32, 64, 224)] == [128, 128, 32, 16]
    assert fitting(8, 224) == 8
