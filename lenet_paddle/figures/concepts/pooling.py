"""Max and average pooling, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.figures.concepts.convolution import find_sliding
from lenet_paddle.figures.grid import DIVERGING, Cells, plain
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MATRIX = np.array([[1, 3, 2, 0], [5, 4, 1, 7], [8, 2, 6, 6], [0, 1, 3, 9]], np.float64)
"""A small matrix for pooling; its windows' maxima are 5, 7, 8 and 9."""


def draw_pooling(config: VisualizeConfig) -> Drawn:
    """Draw max and average pooling, forward and backward."""
    sliding, _ = find_sliding(config)
    title = say(
        "pooling 2 × 2, stride 2; feature map: {title}",
        "2 × 2 池化，步长 2；特征图：{title}",
        title=sliding.title,
    )
    return {"pooling": plot_pooling(sliding.compute_map(), title)}


@dataclass(frozen=True)
class Pooled:
    """The result of pooling a matrix (H, W) 2x2 with stride 2, forward and backward."""

    output: np.ndarray
    """(H / 2, W / 2)."""
    gradient: np.ndarray
    """(H, W): d(sum of output * upstream) / d(input)."""


def pool_with_gradient(matrix: np.ndarray, upstream: np.ndarray, kind: str) -> Pooled:
    """Pool with Paddle, forward and backward; `kind` is "max" or "average".

    matrix: (H, W), both even; upstream: (H / 2, W / 2), the gradient from above.
    """
    import paddle
    from paddle.nn import functional

    tensor = paddle.to_tensor(matrix[None, None].astype(np.float64), stop_gradient=False)
    pool = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    output = pool(tensor, 2, 2)
    output.backward(paddle.to_tensor(upstream[None, None].astype(np.float64)))
    return Pooled(output[0, 0].numpy(), tensor.grad[0, 0].numpy())


def find_maxima(matrix: np.ndarray) -> np.ndarray:
    """Return the place of each 2x2 window's first maximum, int64 (windows, 2)."""
    height, width = matrix.shape
    windows = matrix.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    first = windows.reshape(height // 2, width // 2, 4).argmax(axis=2)
    rows, cols = np.divmod(first, 2)
    top, left = np.mgrid[: height // 2, : width // 2] * 2
    return np.stack([top + rows, left + cols], axis=-1).reshape(-1, 2)


@styled
def plot_pooling(feature_map: np.ndarray, title: str = "") -> Figure:
    """Plot both poolings of a small matrix, with numbers, and of a feature map (H, W)."""
    figure = new_figure(10, 12)
    figure.get_layout_engine().set(h_pad=0.1)  # type: ignore[union-attr,call-arg]
    rows = figure.subplots(4, 4)
    upstream = np.array([[1, 2], [3, 4]], np.float64)
    for axes, kind in zip(rows[:2], ("max", "average"), strict=True):
        _draw_pooling(axes, MATRIX, upstream, kind, numbers=True)
    height, width = feature_map.shape
    feature_map = feature_map[: height // 2 * 2, : width // 2 * 2]
    ramp = np.linspace(0.2, 1, height // 2)[:, None] * np.ones(width // 2)
    for axes, kind in zip(rows[2:], ("max", "average"), strict=True):
        _draw_pooling(axes, feature_map, ramp, kind, numbers=False)
    figure.suptitle(title)
    return figure


def _draw_pooling(
    axes: np.ndarray, matrix: np.ndarray, upstream: np.ndarray, kind: str, numbers: bool
) -> None:
    pooled = pool_with_gradient(matrix, upstream, kind)
    number = plain if numbers else None
    peak = float(np.abs(matrix).max())
    forward: dict[str, Any] = {
        "number": number,
        "cmap": "Blues" if numbers else DIVERGING,
        "limits": (0, 1.6 * peak) if numbers else (-1.2 * peak, 1.2 * peak),
    }
    limits = (0, 1.6 * float(upstream.max()))
    back: dict[str, Any] = {"number": number, "cmap": "Oranges", "limits": limits}
    words = {"max": say("max pooling", "最大池化"), "average": say("average pooling", "平均池化")}
    Cells(
        axes[0],
        matrix,
        say("input", "输入") if numbers else say("feature map", "特征图"),
        **forward,
        size=11,
    )
    Cells(axes[1], pooled.output, words[kind], **forward, size=11)
    Cells(axes[2], upstream, say("gradient from above", "上游梯度"), **back, size=11)
    Cells(axes[3], pooled.gradient, say("gradient at the input", "输入处的梯度"), **back, size=11)
    if numbers:
        for k, colour in enumerate((BLUE, ORANGE, "#009E73", "#CC79A7")):
            _frame_window(axes, k, colour)
    if kind == "max":
        places = find_maxima(matrix)
        for panel in (axes[0], axes[3]) if numbers else (axes[0],):
            panel.scatter(
                places[:, 1],
                places[:, 0],
                s=900 if numbers else 8,
                facecolors="none" if numbers else "black",
                edgecolors="black",
                linewidths=1.5 if numbers else 0,
            )
        axes[0].set_xlabel(say("marked: each window's maximum", "圈点：各窗口的最大值"))
        axes[3].set_xlabel(say("all of it goes to the maximum", "梯度全部传给最大值"))
    else:
        axes[3].set_xlabel(say("a quarter goes to each of the four", "四个输入各得四分之一"))


def _frame_window(axes: np.ndarray, k: int, colour: str) -> None:
    from matplotlib.patches import Rectangle

    row, col = divmod(k, 2)
    for panel, side in zip(axes, (2, 1, 1, 2), strict=True):
        panel.add_patch(
            Rectangle(
                (col * side - 0.45, row * side - 0.45),
                side - 0.1,
                side - 0.1,
                fill=False,
                edgecolor=colour,
                linewidth=2.5,
            )
        )
