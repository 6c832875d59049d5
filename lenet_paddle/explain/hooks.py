"""What every layer of a network puts out: forward hooks, whatever the network is built of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import paddle
from paddle import nn


def leaf_layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """The layers that hold no others, by name (`features.0`), in the order of construction."""
    return {
        name: layer
        for name, layer in network.named_sublayers(include_self=True)
        if not layer.sublayers()
    }


@contextlib.contextmanager
def watch_layers(network: nn.Layer) -> Iterator[dict[str, paddle.Tensor]]:
    """While the block runs, every forward pass fills the dict: layer name -> its output.

    The order is that of computation; of a layer used twice the last output stays. The tensors
    are part of the graph, so gradients flow back to them.
    """
    outputs: dict[str, paddle.Tensor] = {}

    def keep(name: str) -> object:
        def hook(_layer: nn.Layer, _inputs: object, output: paddle.Tensor) -> None:
            outputs.pop(name, None)
            outputs[name] = output

        return hook

    handles = [
        layer.register_forward_post_hook(keep(name)) for name, layer in leaf_layers(network).items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@paddle.no_grad()
def layer_outputs(network: nn.Layer, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer's output for a normalised batch, float32 (B, 1, S, S), in evaluation mode.

    Feature maps are float32 (B, C, H, W), what dense layers give (B, N).
    """
    network.eval()
    with watch_layers(network) as outputs:
        network(paddle.to_tensor(batch))
    return {name: output.numpy() for name, output in outputs.items()}


def caption(name: str, layer: nn.Layer) -> str:
    """How figures call a layer: `features.0 Conv2D`."""
    return f"{name} {type(layer).__name__}"
