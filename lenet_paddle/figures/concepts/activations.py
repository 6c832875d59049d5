"""Activations with their gradients and saturation, and dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet_paddle.analysis.hooks import layer_inputs, leaf_layers
from lenet_paddle.figures.grid import Cells, split
from lenet_paddle.figures.network.views import count_shown, spread
from lenet_paddle.figures.style import BLUE, ORANGE, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    import paddle

MOST_MEASURED = 12  # layers that one figure has room for
SATURATED = 0.01  # a gradient below this share of the activation's steepest counts as lost


@dataclass(frozen=True)
class Saturation:
    """What went into one activation layer, and how much of it the gradient cannot pass."""

    name: str
    """The layer, e.g. features.1 (ReLU)."""
    inputs: np.ndarray
    """(values,), over all images and units."""
    lost: np.ndarray
    """bool (values,): the gradient there is below 1 % of the activation's steepest."""
    always: float
    """Share of the units whose gradient is lost on every image."""


def activate(layer: paddle.nn.Layer, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An elementwise activation and its gradient by Paddle: any shape -> two arrays of it."""
    import paddle

    tensor = paddle.to_tensor(inputs, stop_gradient=False)
    outputs = layer(tensor)
    outputs.sum().backward()
    return outputs.numpy(), tensor.grad.numpy()


def measure_saturation(network: paddle.nn.Layer, batch: np.ndarray) -> list[Saturation]:
    """For each activation layer of `network`, in the order of computation, what came into it.

    batch: float32 (B, 1, S, S), normalised. A value is lost where the activation's gradient is
    below 1 % of its greatest: |x| above 3.0 for tanh, above 6.0 for sigmoid, x up to 0 for ReLU.
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


def _is_activation(layer: paddle.nn.Layer) -> bool:
    kind = type(layer)
    return kind.__module__ == "paddle.nn.layer.activation" and "oftmax" not in kind.__name__


@styled
def plot_activations(measured: list[Saturation], title: str = "") -> Figure:
    """Four activations with their gradients, and beneath them what was measured in a model."""
    from paddle import nn

    every, measured = measured, spread(measured, MOST_MEASURED)
    title += count_shown(measured, every)
    num_rows = 1 + -(-len(measured) // 4)
    figure = Figure(figsize=(10, 3.1 * num_rows + 0.4), layout="constrained")
    panels = figure.subplots(num_rows, 4, squeeze=False).ravel()
    kinds = {
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "ReLU": nn.ReLU(),
        say("leaky ReLU, slope {slope}", "带泄漏的 ReLU，斜率 {slope}", slope=0.01): nn.LeakyReLU(
            0.01
        ),
    }
    for axes, (name, layer) in zip(panels, kinds.items(), strict=False):
        _draw_activation(axes, name, layer)
    panels[0].legend(fontsize=8, loc="upper left")
    for axes in panels[4:]:
        axes.axis("off")
    for axes, saturation in zip(panels[4:], measured, strict=False):
        _draw_saturation(axes, saturation)
    figure.suptitle(title)
    return figure


def _draw_activation(axes: Axes, name: str, layer: paddle.nn.Layer) -> None:
    inputs = np.linspace(-8, 8, 801)
    outputs, gradients = activate(layer, inputs)
    axes.plot(inputs, outputs, color=BLUE, linewidth=2, label=say("value", "函数值"))
    axes.plot(
        inputs, gradients, color=ORANGE, linewidth=2, linestyle="--", label=say("gradient", "梯度")
    )
    lost = gradients < SATURATED * gradients.max()
    axes.fill_between(
        inputs, -1.2, 2, where=lost, color="0.88", label=say("gradient lost", "梯度消失")
    )
    axes.set(title=name, ylim=(-1.2, 2), xlim=(-8, 8))
    axes.set_xlabel(
        say("greatest gradient {value:.3g}", "最大梯度 {value:.3g}", value=gradients.max())
    )
    axes.grid(alpha=0.3)


def _draw_saturation(axes: Axes, saturation: Saturation) -> None:
    axes.axis("on")
    parts = [saturation.inputs[~saturation.lost], saturation.inputs[saturation.lost]]
    low, high = np.percentile(saturation.inputs, (0.1, 99.9))
    axes.hist(parts, bins=60, range=(low, high), stacked=True, color=(BLUE, ORANGE))
    axes.set_title(saturation.name, fontsize=10)
    axes.set_xlabel(
        say(
            "input; orange: gradient lost,\n{lost:.1%} of all values;\n"
            "on every image in {always:.1%} of the units",
            "输入；橙色：梯度消失，\n占全部数值的 {lost:.1%}；\n"
            "{always:.1%} 的单元对每张图片都如此",
            lost=saturation.lost.mean(),
            always=saturation.always,
        ),
        fontsize=8,
    )
    axes.set_yticks([])


def draw_masks(num_units: int, p: float, num_draws: int) -> np.ndarray:
    """What dropout multiplies units with, by Paddle's global generator: float32 (draws, units).

    0 with probability `p`, else 1 / (1 - p), so that the mean is kept (Srivastava et al. 2014;
    the "inverted" form that all libraries use).
    """
    import paddle
    from paddle.nn import functional

    ones = paddle.ones([num_draws, num_units])
    return functional.dropout(ones, p, training=True, mode="upscale_in_train").numpy()


@styled
def plot_dropout(units: np.ndarray, p: float = 0.5, title: str = "") -> Figure:
    """A layer's units (n,) without dropout and in three draws, and the mean over many draws."""
    masks = draw_masks(len(units), p, 300)
    draws = units * masks
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    above, below = split(figure, 2, 1, height_ratios=(1, 1.1))
    top = float(np.abs(draws).max())
    signed = float(draws.min()) < 0
    limits, cmap = ((-top, top), "RdBu_r") if signed else ((0.0, top), "viridis")
    panels = above.subplots(1, 4)
    cells = Cells(
        *(panels[0], _as_block(units), say("without", "不丢弃")),
        number=None,
        cmap=cmap,
        limits=limits,
    )
    panels[0].set_xlabel(say("mean {mean:.3f}", "均值 {mean:.3f}", mean=units.mean()))
    for n, axes in enumerate(panels[1:]):
        shown = _as_block(np.where(masks[n] == 0, np.nan, draws[n]))
        Cells(
            axes,
            shown,
            say("draw {n}", "第 {n} 次抽样", n=n + 1),
            number=None,
            cmap=cmap,
            limits=limits,
        )
        text = say(
            "{n} of {total} units dropped",
            "{total} 个单元丢弃了 {n} 个",
            n=int((masks[n] == 0).sum()),
            total=len(units),
        )
        axes.set_xlabel(
            say("mean {mean:.3f}", "均值 {mean:.3f}", mean=draws[n].mean()) + "\n" + text
        )
    above.colorbar(
        cells.image, ax=panels, shrink=0.7, label=say("value; grey: dropped", "值；灰色：已丢弃")
    )
    _draw_means(below.subplots(), draws, units, p)
    figure.suptitle(title)
    return figure


def _draw_means(axes: Axes, draws: np.ndarray, units: np.ndarray, p: float) -> None:
    counts = np.arange(1, len(draws) + 1)
    running = np.cumsum(draws.mean(axis=1)) / counts
    axes.axhline(
        units.mean(), color="black", linestyle=":", label=say("without dropout", "不用丢弃法")
    )
    axes.plot(
        counts,
        running,
        color=BLUE,
        label=say(
            "kept units × 1 / (1 − p) = {scale:g}",
            "保留的单元 × 1 / (1 − p) = {scale:g}",
            scale=1 / (1 - p),
        ),
    )
    axes.plot(
        counts,
        running * (1 - p),
        color=ORANGE,
        linestyle="--",
        label=say("kept units as they are", "保留的单元不缩放"),
    )
    axes.set(
        xlabel=say("draws", "抽样次数"),
        ylabel=say("mean of the layer over the draws", "该层在多次抽样中的均值"),
    )
    axes.axhline(0, color="0.6", linewidth=1)
    axes.grid(alpha=0.3)
    axes.legend()


def _as_block(values: np.ndarray) -> np.ndarray:
    """(n,) as rows of a nearly square block; where none fits wholly, the rest is NaN."""
    root = int(np.ceil(np.sqrt(len(values))))
    width = next((w for w in range(root, 2 * root) if len(values) % w == 0), root)
    block = np.full(-(-len(values) // width) * width, np.nan)
    block[: len(values)] = values
    return block.reshape(-1, width)
