"""Saturation: how much of what an activation gets has a gradient near 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.analysis.hooks import layer_inputs, leaf_layers

SATURATED = 0.01  # a gradient below this share of the activation's steepest counts as lost


@dataclass(frozen=True)
class Saturation:
    """The inputs of one activation layer, and where its gradient is lost."""

    name: str
    """The layer, e.g. features.1 (ReLU)."""
    inputs: np.ndarray
    """(values,), over all images and units."""
    lost: np.ndarray
    """bool (values,): where the gradient is below 1 % of the activation's steepest."""
    always: float
    """Share of the units whose gradient is lost on every image."""


def activate(layer: nn.Layer, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute an elementwise activation and its gradient: any shape -> two arrays of that shape."""
    tensor = paddle.to_tensor(inputs, stop_gradient=False)
    outputs = layer(tensor)
    outputs.sum().backward()
    return outputs.numpy(), tensor.grad.numpy()


def measure_saturation(network: nn.Layer, batch: np.ndarray) -> list[Saturation]:
    """Measure each activation layer of `network`, in the order of computation.

    batch: float32 (B, C, S, S), normalised. The gradient of a value is lost where it is below 1 %
    of the activation's greatest: |x| above 3.0 for tanh, above 6.0 for sigmoid, x up to 0 for ReLU.
    """
    layers = {n: layer for n, layer in leaf_layers(network).items() if _is_activation(layer)}
    result = []
    for name, inputs in layer_inputs(network, batch, layers).items():
        layer = layers[name]
        greatest = activate(layer, np.linspace(-8, 8, 1601, dtype=np.float32))[1].max()
        lost = np.abs(activate(layer, inputs)[1]) < SATURATED * greatest
        title = f"{name} ({type(layer).__name__})"
        always = float(lost.all(axis=0).mean())
        result.append(Saturation(title, inputs.ravel(), lost.ravel(), always))
    return result


def _is_activation(layer: nn.Layer) -> bool:
    kind = type(layer)
    return kind.__module__ == "paddle.nn.layer.activation" and "oftmax" not in kind.__name__
