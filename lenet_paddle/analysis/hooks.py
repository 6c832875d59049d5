"""Inputs, outputs and gradients of a network's layers, by forward hooks."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from lenet_paddle.errors import InputError


def leaf_layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """Return the layers that hold no others, by name (`features.0`), in the order of construction.

    `Identity` layers are left out. A network of a single layer is named `network`.
    """
    return {
        name or "network": layer
        for name, layer in network.named_sublayers(include_self=True)
        if not layer.sublayers() and not isinstance(layer, nn.Identity)
    }


@contextlib.contextmanager
def watch_layers(
    layers: Mapping[str, nn.Layer], inputs: bool = False
) -> Iterator[dict[str, paddle.Tensor]]:
    """Collect each layer's output, or with `inputs` its input, in every forward pass of the block.

    Yields a dict, layer name -> tensor, in the order of computation; a layer that is used twice
    keeps its last tensor. The tensors are part of the graph, so gradients reach them.
    """
    seen: dict[str, paddle.Tensor] = {}

    def keep(name: str) -> object:
        def hook(_layer: nn.Layer, given: tuple[paddle.Tensor, ...], output: Any) -> None:
            seen.pop(name, None)
            seen[name] = given[0] if inputs else output

        return hook

    handles = [layer.register_forward_post_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@paddle.no_grad()
def layer_outputs(network: nn.Layer, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every layer's output for a normalised batch, float32 (B, C, S, S).

    Runs in evaluation mode. Feature maps are float32 (B, C, H, W), outputs of dense layers (B, N).
    """
    network.eval()
    with watch_layers(leaf_layers(network)) as outputs:
        network(paddle.to_tensor(batch))
    return {name: output.numpy() for name, output in outputs.items()}


@paddle.no_grad()
def layer_inputs(
    network: nn.Layer, batch: np.ndarray, layers: Mapping[str, nn.Layer]
) -> dict[str, np.ndarray]:
    """Compute the inputs of `layers`, otherwise as `layer_outputs`."""
    network.eval()
    with watch_layers(layers, inputs=True) as given:
        network(paddle.to_tensor(batch))
    return {name: tensor.numpy() for name, tensor in given.items()}


def check_maps(layer: str, outputs: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `layer` is in `outputs` and has feature maps, (B, C, H, W)."""
    if layer not in outputs or outputs[layer].ndim != 4:
        maps = [name for name, output in outputs.items() if output.ndim == 4]
        raise InputError(
            f"layer {layer!r} has no feature maps; expected one of {', '.join(maps) or 'none'}"
        )


def fitting(count: int, side: int) -> int:
    """Return how many pictures of `side` x `side` need as much memory as `count` of 32x32; at least
    16."""
    return min(count, max(16, count * 32**2 // side**2))


def caption(name: str, layer: nn.Layer) -> str:
    """Return a layer's name for figures: `features.0 Conv2D`."""
    return f"{name} {type(layer).__name__}"


def copy_network(network: nn.Layer) -> nn.Layer:
    """Return a float32 copy of `network` that shares nothing with it.

    Paddle's counters of names, on which an optimizer's state depends, stay as they are.
    """
    with paddle.utils.unique_name.guard():
        return copy.deepcopy(network).float()


def compute_gradients(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the gradient of the mean cross-entropy for each parameter, by name.

    batch: float32 (B, C, S, S); labels: int64 (B,). Leaves the parameters and their `.grad` as
    they are.
    """
    network.eval()
    parameters = {name: p for name, p in network.named_parameters() if not p.stop_gradient}
    loss = F.cross_entropy(network(paddle.to_tensor(batch)), paddle.to_tensor(labels))
    gradients = paddle.grad(loss, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return {name: gradient.numpy() for name, gradient in pairs if gradient is not None}
