"""What a unit sees of the picture: its receptive field, in theory and by gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from paddle import nn

from lenet_paddle.config import InputError
from lenet_paddle.explain.figures import ORANGE, styled
from lenet_paddle.explain.hooks import layer_outputs, leaf_layers, watch_layers
from lenet_paddle.explain.words import say


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that a layer's units can see; one number serves both axes."""

    layer: str
    kind: str
    """The layer's class, such as Conv2D."""
    size: int
    """Pixels a side."""
    jump: int
    """Pixels from one unit's field to the next one's; 0 where every unit sees the whole."""
    first: int
    """Where the first unit's field begins; below 0 it begins in the padding."""
    units: int
    """Units a side."""

    def span(self, unit: int) -> tuple[int, int]:
        """First and last pixel that unit number `unit` of a side sees, padding included."""
        begin = self.first + unit * self.jump
        return begin, begin + self.size - 1


def receptive_fields(network: nn.Layer, side: int) -> list[ReceptiveField]:
    """The theoretical receptive field after every convolution, pooling and dense layer.

    With kernel k, stride s, padding p, dilation d of a layer, size r, jump j and begin b:
    r' = r + d (k - 1) j, j' = j s, b' = b - p j, from r = j = 1, b = 0 (Araujo, Norris and Sim,
    "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019). A dense layer
    sees the whole picture of `side` pixels. Raises `InputError` where layers do not follow one
    another, as in a network with branches: there is no one chain to walk.
    """
    layers = leaf_layers(network)
    outputs = layer_outputs(network, np.zeros((1, 1, side, side), np.float32))
    fields: list[ReceptiveField] = []
    size, jump, first, units = 1, 1, 0, side
    for name, output in outputs.items():
        layer = layers[name]
        if isinstance(layer, nn.Linear):
            size, jump, first, units = side, 0, 0, 1
        elif (geometry := _geometry(layer)) is not None:
            kernel, stride, padding, dilation = geometry
            reach = dilation * (kernel - 1)
            units = (units + 2 * padding - reach - 1) // stride + 1
            size, first, jump = size + reach * jump, first - padding * jump, jump * stride
            if output.shape[2:] != (units, units):
                raise InputError(
                    f"{name} gives maps of {output.shape[2]}x{output.shape[3]}, a chain of layers "
                    f"would give {units}x{units}; expected a network without branches"
                )
        else:
            continue
        fields.append(ReceptiveField(name, type(layer).__name__, size, jump, first, units))
    return fields


def _geometry(layer: nn.Layer) -> tuple[int, int, int, int] | None:
    """Kernel, stride, padding, dilation of a square sliding layer, else None."""
    if isinstance(layer, nn.Conv2D):
        values = (layer._kernel_size, layer._stride, layer._padding, layer._dilation)
    elif isinstance(layer, (nn.MaxPool2D, nn.AvgPool2D)):
        values = (layer.ksize, layer.stride or layer.ksize, layer.padding, 1)
    else:
        return None
    kernel, stride, padding, dilation = (_one_number(value) for value in values)
    return kernel, stride, padding, dilation


def _one_number(value: Any) -> int:
    numbers = set(np.ravel(value).tolist())
    if len(numbers) != 1 or not isinstance(number := numbers.pop(), int):
        raise InputError(f"a layer has kernel, stride or padding {value}; expected a square one")
    return number


def effective_fields(
    network: nn.Layer, batch: np.ndarray, layers: list[str], seed: int = 0
) -> dict[str, np.ndarray]:
    """How strongly the middle unit of each layer really depends on each pixel, float64 (S, S).

    The root mean square, over pictures and channels, of the gradient of the unit in the middle
    (Luo, Li, Urtasun and Zemel, "Understanding the Effective Receptive Field in Deep
    Convolutional Neural Networks", NeurIPS 2016). One backward pass serves all channels: each
    picture sums them with random signs, so that in the mean square the mixed terms cancel.
    """
    rng = np.random.default_rng(seed)
    network.eval()
    images = paddle.to_tensor(batch, stop_gradient=False)
    with watch_layers(network) as outputs:
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
    """Side of a square with as many pixels as have over 4.55% of the strongest, (S, S) -> float.

    The rule of Luo et al. 2016: what lies outside two standard deviations of a Gaussian.
    """
    return float(np.sqrt((field > (1 - 0.9545) * field.max()).sum()))


@styled
def plot_receptive_fields(
    picture: np.ndarray,
    fields: Sequence[ReceptiveField],
    effective: Mapping[str, np.ndarray],
    title: str = "",
) -> Figure:
    """Above the theoretical field of each layer's middle unit on a picture, below the effective.

    picture: normalised float32 (S, S); effective: float (S, S) for each layer.
    """
    num_cols = len(fields)
    figure = Figure(figsize=(10, 19.4 / num_cols + 1.75), layout="constrained")
    grid = figure.subplots(2, num_cols, squeeze=False)
    for (above, below), field in zip(grid.T, fields, strict=True):
        seen = effective[field.layer]
        above.imshow(picture, cmap="gray", vmin=-1, vmax=1)
        below.imshow(seen, cmap="viridis", vmin=0, vmax=float(seen.max()) or 1.0)
        for axes in (above, below):
            _mark_field(axes, field, picture.shape[0])
        above.set_title(f"{field.layer} {field.kind}", fontsize=9)
        above.set_xlabel(
            say("field {size}x{size}\nstep {jump}", size=field.size, jump=field.jump)
            if field.jump
            else say("field: the whole\n{size}x{size} picture", size=field.size),
            fontsize=9,
        )
        below.set_xlabel(say("effective side {side:.1f}", side=effective_size(seen)), fontsize=9)
    grid[0, 0].set_ylabel(say("theoretical field"), fontsize=10)
    grid[1, 0].set_ylabel(say("effective field"), fontsize=10)
    rule = say(
        "theoretical: r' = r + d(k - 1)j, step j' = js (Araujo et al. 2019); effective: gradient, "
        "side of the area above 4.55% of its peak (Luo et al. 2016)"
    )
    figure.suptitle(f"{title}\n{rule}", fontsize=9.5)
    return figure


def _mark_field(axes: Axes, field: ReceptiveField, side: int) -> None:
    """Outline the middle unit's field; what reaches into the padding too."""
    begin, end = field.span(field.units // 2)
    corner, length = (begin - 0.5, begin - 0.5), end - begin + 1
    axes.add_patch(Rectangle(corner, length, length, fill=False, color=ORANGE, linewidth=2))
    edge = max(0, -begin, end - side + 1) + 0.8
    axes.set(xlim=(-edge, side - 1 + edge), ylim=(side - 1 + edge, -edge), xticks=[], yticks=[])
