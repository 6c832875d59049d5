"""What goes on inside a network for a few images: activations, gradients, maps, features.

Nothing here changes the network but its mode: it is left in evaluation mode, its gradients stay
as they are.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import paddle
from matplotlib.figure import Figure
from paddle import nn
from paddle.nn import functional as F

from lenet_paddle.explain.figures import styled
from lenet_paddle.explain.words import say


def twin(network: nn.Layer) -> nn.Layer:
    """A float32 copy of `network` to look at: whatever is done with it, the original is as it was.

    Paddle's counters of names do not move, on which an optimizer's state depends.
    """
    with paddle.utils.unique_name.guard():
        return copy.deepcopy(network).float()


def leaf_layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """The layers that compute something by themselves, by name, in the order of their making."""
    layers = network.named_sublayers()
    return {name: layer for name, layer in layers if not layer.sublayers()}


def describe_layers(network: nn.Layer, batch: np.ndarray) -> list[str]:
    """A line for each layer: name, kind, shape of its output for one image, parameters; and the
    total. batch: float32 (B, 1, S, S)."""
    lines = []
    layers = leaf_layers(network)
    for name, output in compute_activations(network, batch).items():
        shape = " x ".join(map(str, output.shape[1:]))
        count = sum(p.size for p in layers[name.split(" ")[0]].parameters())
        lines.append(f"{name}: {shape}" + (f", {count:,} parameters" if count else ""))
    total = sum(p.size for p in network.parameters())
    return [*lines, f"in all {total:,} parameters"]


def compute_activations(network: nn.Layer, batch: np.ndarray) -> dict[str, np.ndarray]:
    """The output of each layer for a normalised batch, float32 (B, 1, S, S), by the layer's name
    and kind: "features.0 Conv2D".

    Flattening layers, whose values are those of the layer before, are left out.
    """
    with paddle.no_grad(), _watch(network) as outputs:
        network.eval()
        network(paddle.to_tensor(batch))
    return outputs


def compute_gradients(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """The gradient of the mean cross-entropy by each parameter, by the parameter's name.

    batch: float32 (B, 1, S, S); labels: int64 (B,). The parameters' own `.grad` is not used, and
    nothing is updated.
    """
    network.eval()
    parameters = {name: p for name, p in network.named_parameters() if not p.stop_gradient}
    loss = F.cross_entropy(network(paddle.to_tensor(batch)), paddle.to_tensor(labels))
    gradients = paddle.grad(loss, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return {name: gradient.numpy() for name, gradient in pairs if gradient is not None}


def compute_features(network: nn.Layer, batch: np.ndarray) -> np.ndarray | None:
    """The last hidden layer's output, float32 (B, D): what the last linear layer is given; None
    for a network without linear layers."""
    linear = [layer for layer in leaf_layers(network).values() if isinstance(layer, nn.Linear)]
    if not linear:
        return None
    found: list[np.ndarray] = []
    hook = linear[-1].register_forward_pre_hook(lambda _, given: found.append(given[0].numpy()))
    try:
        with paddle.no_grad():
            network.eval()
            network(paddle.to_tensor(batch))
    finally:
        hook.remove()
    return found[0].reshape(len(batch), -1)


@contextlib.contextmanager
def _watch(network: nn.Layer) -> Iterator[dict[str, np.ndarray]]:
    """While the block runs, each leaf layer's last output is put into the dict."""
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[[nn.Layer, Any, Any], None]:
        def hook(_: nn.Layer, inputs: Any, output: Any) -> None:
            outputs[name] = output.numpy().copy()  # a following layer may work in place

        return hook

    hooks = [
        layer.register_forward_post_hook(keep(f"{name} {type(layer).__name__}"))
        for name, layer in leaf_layers(network).items()
        if not isinstance(layer, nn.Flatten)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def first_filters(network: nn.Layer, input_size: int) -> np.ndarray | None:
    """What the first layer with weights looks for: float32 (filters, H, W).

    A convolution's kernels for its first input channel, or the weights of each unit of a linear
    layer that sees all pixels, laid out as a picture. None for any other layer.
    """
    for layer in leaf_layers(network).values():
        if isinstance(layer, nn.Conv2D):
            return layer.weight.numpy()[:, 0]
        if isinstance(layer, nn.Linear):
            weight = layer.weight.numpy().T
            fits = weight.shape[1] == input_size**2
            return weight.reshape(-1, input_size, input_size) if fits else None
    return None


@styled
def plot_filters(filters: np.ndarray, title: str = "", num_most: int = 32) -> Figure:
    """The first filters, float (filters, H, W), on one scale: blue below 0, red above."""
    shown = filters[:num_most]
    num_cols = min(8, len(shown))
    num_rows = -(-len(shown) // num_cols)
    figure = Figure(figsize=(1.1 * num_cols + 1.2, 1.2 * num_rows + 0.5), layout="constrained")
    grid = figure.subplots(num_rows, num_cols, squeeze=False)
    limit = float(np.abs(filters).max()) or 1.0
    for axes in grid.ravel():
        axes.axis("off")
    for i, (axes, values) in enumerate(zip(grid.ravel(), shown, strict=False)):
        image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(f"{i}", fontsize=8)
    figure.colorbar(image, ax=grid, shrink=0.9, aspect=12)
    counts = {"shown": len(shown), "all": len(filters)}
    of_all = say("filters of the first layer, {shown} of {all}", **counts)
    figure.suptitle(f"{title}{': ' if title else ''}{of_all}", fontsize=10)
    return figure


@styled
def plot_maps(
    image: np.ndarray, activations: dict[str, np.ndarray], title: str = "", num_layers: int = 6
) -> Figure | None:
    """An image, uint8 (H, W), and under it the feature maps of each layer that has any.

    activations: of a batch of that image alone (`compute_activations`). Every map has a scale of
    its own. At most `num_layers`, evenly chosen, and 16 maps of each. None without maps.
    """
    maps = {name: a[0] for name, a in activations.items() if a.ndim == 4 and a[0, 0].size > 1}
    if not maps:
        return None
    chosen = np.linspace(0, len(maps) - 1, min(num_layers, len(maps))).round().astype(int)
    rows = [("", image[None] / 255), *(list(maps.items())[i] for i in chosen)]
    mosaics = [_mosaic(values[:16]) for _, values in rows]
    heights = [10 * mosaic.shape[0] / mosaic.shape[1] for mosaic in mosaics]  # inches
    size = (10, sum(heights) + 0.3 * len(rows) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), 1, height_ratios=heights)
    for axes, (name, values), mosaic in zip(grid, rows, mosaics, strict=True):
        grey = values is rows[0][1]
        axes.imshow(mosaic, cmap="gray" if grey else "viridis", vmin=0, vmax=1)
        shape = " x ".join(map(str, values.shape))
        axes.set_title(title if grey else f"{name}: {shape}", fontsize=9, loc="left")
        axes.axis("off")
    return figure


def _mosaic(maps: np.ndarray, min_cols: int = 10) -> np.ndarray:
    """Maps (C, H, W), each scaled to 0..1, side by side with gaps of NaN; few maps leave room."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    scaled = np.divide(maps - low, span, out=np.zeros_like(maps), where=span > 0)
    gap = max(1, maps.shape[2] // 10)
    missing = max(0, min_cols - len(maps))
    padded = np.pad(scaled, ((0, missing), (0, 0), (0, gap)), constant_values=np.nan)
    return np.concatenate(list(padded), axis=1)[:, :-gap]
