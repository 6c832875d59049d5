"""Receptive fields of a network's layers, in theory and by gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.analysis.hooks import fitting, layer_outputs, leaf_layers, watch_layers
from lenet_paddle.analysis.layers import analyse

KINDS = (
    *(nn.Conv2D, nn.MaxPool2D, nn.AvgPool2D),
    *(nn.AdaptiveAvgPool2D, nn.AdaptiveMaxPool2D, nn.Linear),
)
NOISE = 64  # pictures of noise that locate the fields; fewer of more than 32x32


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that a layer's middle unit sees, along each axis of the picture."""

    layer: str
    kind: str
    """The layer's class, such as Conv2D."""
    size: tuple[float, ...]
    """Pixels a side, padding included; NaN where it is unknown."""
    step: tuple[float, ...]
    """Pixels between the fields of neighbouring units; empty for a vector."""
    begin: tuple[float, ...]
    """The first pixel of the middle unit's field; below 0 it is in the padding."""

    def sees_all(self, side: int) -> bool:
        """Return whether the unit sees the whole of a picture of `side` x `side` pixels."""
        return all(
            begin <= 0 and side <= begin + size
            for begin, size in zip(self.begin, self.size, strict=True)
        )


def layers_with_fields(network: nn.Layer, side: int, channels: int = 1) -> list[str]:
    """Return the names of convolutions, poolings and dense layers, in the order of computation."""
    layers = leaf_layers(network)
    outputs = layer_outputs(network, np.zeros((1, channels, side, side), np.float32))
    return [name for name in outputs if isinstance(layers[name], KINDS)]


def receptive_fields(
    network: nn.Layer, side: int, layers: Sequence[str] | None = None, channels: int = 1
) -> list[ReceptiveField]:
    """Compute the theoretical receptive field of each of `layers`, default `layers_with_fields`.

    Size and step follow the network, branches included (`layers.move`, after Araujo, Norris and
    Sim 2019). The position is measured: on pictures of noise, a unit's gradient reaches from the
    first to the last pixel that it sees.
    """
    shape = (channels, side, side)
    rows = {row.name: row for row in analyse(network, shape)}  # of a layer's calls the last
    layers = layers_with_fields(network, side, channels) if layers is None else layers
    count = fitting(NOISE, side)
    noise = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    fields = []
    for name, slopes in effective_fields(network, noise, layers).items():
        row = rows[name]
        begin = tuple(_locate(size, slopes.max(axis=1 - i) > 0) for i, size in enumerate(row.field))
        fields.append(ReceptiveField(name, row.kind, row.field, row.stride, begin))
    return fields


def _locate(size: float, seen: np.ndarray) -> float:
    """Return where a field of `size` pixels begins; `seen`, bool (S,), are its pixels inside."""
    if not seen.any():
        return math.nan
    inside = np.flatnonzero(seen)
    first, last, side = int(inside[0]), int(inside[-1]), len(seen)
    if first > 0 and last < side - 1:  # inside; a fraction where maps were enlarged
        return (first + last + 1 - size) / 2
    if first > 0:
        return first
    return last + 1 - size if last < side - 1 else (side - size) / 2


def effective_fields(
    network: nn.Layer, batch: np.ndarray, layers: Sequence[str], seed: int = 0
) -> dict[str, np.ndarray]:
    """Compute how strongly each layer's middle unit depends on each pixel, float64 (S, S).

    The root mean square, over pictures and channels, of the gradient of the unit in the middle
    (Luo, Li, Urtasun and Zemel, "Understanding the Effective Receptive Field in Deep
    Convolutional Neural Networks", NeurIPS 2016). One backward pass serves all channels: each
    picture sums them with random signs, so that mixed terms cancel in the mean square.
    """
    rng = np.random.default_rng(seed)
    network.eval()
    images = paddle.to_tensor(batch, stop_gradient=False)
    with watch_layers(leaf_layers(network)) as outputs:
        network(images)
    maps = {}
    for name in layers:
        middle = outputs[name]
        if middle.ndim == 4:
            middle = middle[:, :, middle.shape[2] // 2, middle.shape[3] // 2]
        signs = rng.choice(np.array([-1, 1], np.float32), tuple(middle.shape))
        [slope] = paddle.grad((middle * paddle.to_tensor(signs)).sum(), images, retain_graph=True)
        maps[name] = np.sqrt((slope.numpy().astype(np.float64) ** 2).mean(axis=(0, 1)))
    return maps


def effective_size(field: np.ndarray) -> float:
    """Return the side of a square with as many pixels as exceed 4.55% of the peak, (S, S) -> float.

    The rule of Luo et al. 2016: 4.55% of a Gaussian is outside two standard deviations.
    """
    return float(np.sqrt((field > (1 - 0.9545) * field.max()).sum()))
