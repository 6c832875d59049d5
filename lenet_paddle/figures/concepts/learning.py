"""How a network learns, on two numbers: steps down a loss, with several learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import OKABE_ITO, ORANGE, new_figure, number_log_axis, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INPUT, TARGET = 2.0, 5.0  # the one example
START = (1.0, 0.0)  # weight and bias
RATES = (0.01, 0.05, 0.18, 0.22)
NUM_STEPS = 8


def draw_learning(config: VisualizeConfig) -> Drawn:
    """Draw how a loss falls, step by step, and what the learning rate does."""
    return {"learning": plot_learning()}


def compute_loss(weight: Any, bias: Any) -> Any:
    """Return the squared error for the one example."""
    return compute_error(weight, bias) ** 2


def compute_error(weight: Any, bias: Any) -> Any:
    """Return the answer weight * x + bias for the one example, less the right one."""
    return weight * INPUT + bias - TARGET


def descend(rate: float, num_steps: int) -> np.ndarray:
    """Take steps against the gradient; return weight, bias and loss, float64 (steps + 1, 3)."""
    weight, bias = START
    rows = [(weight, bias, compute_loss(weight, bias))]
    for _ in range(num_steps):
        error = compute_error(weight, bias)
        weight, bias = weight - rate * 2 * error * INPUT, bias - rate * 2 * error
        rows.append((weight, bias, compute_loss(weight, bias)))
    return np.array(rows, np.float64)


@styled
def plot_learning() -> Figure:
    """Plot the way over the loss; error and loss after each step for several learning rates."""
    figure = new_figure(10, 5)
    axes = figure.subplot_mosaic([["way", "error"], ["way", "loss"]])
    _draw_way(axes["way"])
    for rate, colour in zip(RATES, OKABE_ITO, strict=False):
        weights, biases, losses = descend(rate, NUM_STEPS).T
        label = say("learning rate {rate:g}", "学习率 {rate:g}", rate=rate)
        for name, values in (("error", compute_error(weights, biases)), ("loss", losses)):
            axes[name].plot(values, "o-", color=colour, markersize=4, label=label)
    axes["error"].set_title(
        say("the error (answer − 5) after each step", "每一步之后的误差（输出 − 5）")
    )
    axes["loss"].set_title(say("the loss, its square", "损失，即误差的平方"))
    axes["loss"].set_xlabel(say("step", "步"))
    axes["loss"].set_yscale("log")
    number_log_axis(axes["loss"].yaxis, "g")
    for name in ("error", "loss"):
        axes[name].grid(alpha=0.3)
    axes["loss"].legend(fontsize=8, loc="lower left")
    return figure


def _draw_way(axes: Axes) -> None:
    weights, biases = np.meshgrid(np.linspace(0.5, 2.7, 90), np.linspace(-0.5, 1.2, 90))
    losses = compute_loss(weights, biases)
    drawn = axes.contourf(weights, biases, losses, levels=(0, 0.1, 0.5, 1, 2, 4, 6, 9, 12, 20))
    axes.figure.colorbar(drawn, ax=axes, label=say("loss", "损失"))
    way = descend(0.05, 4)
    axes.plot(way[:, 0], way[:, 1], "o-", color=ORANGE, markersize=6)
    for number, (weight, bias, loss) in enumerate(way[:3]):
        text = say(
            "start: {loss:g}" if number == 0 else "step {number}: {loss:g}",
            "起点：{loss:g}" if number == 0 else "第 {number} 步：{loss:g}",
            number=number,
            loss=loss,
        )
        axes.annotate(
            *(text, (weight, bias)),
            xytext=(8, -13),
            textcoords="offset points",
            color="white",
            fontsize=9,
        )
    axes.set(xlabel=say("weight w", "权重 w"), ylabel=say("bias b", "偏置 b"))
    axes.set_title(say("steps to a lower loss, rate 0.05", "逐步降低损失，学习率 0.05"))
