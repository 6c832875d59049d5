"""Padding: what size comes out and who is seen how often; pooling, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet_paddle.figures.grid import Cells, plain, split
from lenet_paddle.figures.style import BLUE, ORANGE, styled
from lenet_paddle.figures.words import say

MATRIX = np.array([[1, 3, 2, 0], [5, 4, 1, 7], [8, 2, 6, 6], [0, 1, 3, 9]], np.float64)
"""A small matrix for pooling; its windows' maxima are 5, 7, 8 and 9."""


def output_size(size: int, kernel: int, pad: int, stride: int) -> float:
    """(N - F + 2P) / S + 1: the map's side; a fraction when the last step does not fit."""
    return (size - kernel + 2 * pad) / stride + 1


def count_views(size: int, kernel: int, pad: int, stride: int) -> np.ndarray:
    """How many windows see each pixel, int64 (N, N), with whole steps only."""
    seen = np.zeros(size + 2 * pad, np.int64)
    for start in range(0, size + 2 * pad - kernel + 1, stride):
        seen[start : start + kernel] += 1
    inside = seen[pad : pad + size]
    return np.outer(inside, inside)


@styled
def plot_padding(size: int, kernel: int, pad: int, stride: int) -> Figure:
    """The formula with these numbers, the steps along one side, and how often pixels are seen.

    Without padding is compared with `pad`, or with (F - 1) / 2 where `pad` is 0.
    """
    other = pad or kernel // 2
    figure = Figure(figsize=(10, 8), layout="constrained")
    above, below = split(figure, 2, 1, height_ratios=(1, 1.5))
    _draw_steps(above.subplots(), size, kernel, pad, stride)
    above.suptitle(_formula(size, kernel, pad, stride), fontsize=13)
    counts = [count_views(size, kernel, p, stride) for p in (0, other)]
    top = max(int(count.max()) for count in counts)
    panels = below.subplots(1, 2)
    for axes, count, p in zip(panels, counts, (0, other), strict=True):
        number = plain if size <= 12 else None
        cells = Cells(axes, count, number=number, cmap="viridis", limits=(0, top))
        side = max(0, int(output_size(size, kernel, p, stride)))
        axes.set_title(
            say(
                "P = {p}: a map of {side} × {side}",
                "P = {p}：特征图 {side} × {side}",
                p=p,
                side=side,
            )
        )
        text = say(
            "times seen: corner {corner}, middle {middle}",
            "被看到的次数：角上 {corner}，中间 {middle}",
            corner=count[0, 0],
            middle=count[size // 2, size // 2],
        )
        unseen = int((count == 0).sum())
        if unseen:
            text += "\n" + say(
                "{n} of {total} pixels never seen",
                "{total} 个像素中有 {n} 个从未被看到",
                n=unseen,
                total=size**2,
            )
        axes.set_xlabel(text)
    below.colorbar(
        cells.image,
        ax=panels,
        shrink=0.8,
        label=say("windows that see the pixel", "看到该像素的窗口数"),
    )
    return figure


def _formula(size: int, kernel: int, pad: int, stride: int) -> str:
    exact = output_size(size, kernel, pad, stride)
    text = f"(N − F + 2P) / S + 1 = ({size} − {kernel} + 2·{pad}) / {stride} + 1 = {exact:.4g}"
    if exact == int(exact):
        return text
    left = (size + 2 * pad - kernel) % stride
    return text + say(
        "\ndoes not fit: after {fit} windows {left} of {side} pixels are left over, fewer than the "
        "stride {stride};\nPaddle rounds down to {fit} and never sees them",
        "\n不能整除：放下 {fit} 个窗口后，{side} 个像素还剩 {left} 个，不够一个步长 {stride}；\n"
        "Paddle 向下取整为 {fit}，永远看不到剩下的像素",
        fit=int(exact),
        left=left,
        side=size + 2 * pad,
        stride=stride,
    )


def _draw_steps(axes: Axes, size: int, kernel: int, pad: int, stride: int) -> None:
    """One row of pixels, and every window's place as a bar beneath it."""
    whole = size + 2 * pad
    num_windows = int(output_size(size, kernel, pad, stride))
    for pixel in range(whole):
        inside = pad <= pixel < pad + size
        seen = pixel < (num_windows - 1) * stride + kernel
        colour = ("0.65" if inside else "white") if seen else ORANGE
        axes.add_patch(Rectangle((pixel, 0.2), 1, 0.8, facecolor=colour, edgecolor="0.3", lw=0.5))
    depth = max(1.0, num_windows / 8)
    for window in range(num_windows):
        top = -0.2 - window * depth / num_windows * 3
        height = min(0.6, 2.4 * depth / num_windows)
        axes.add_patch(
            Rectangle((window * stride, top - height), kernel, height, facecolor=BLUE, alpha=0.7)
        )
    labels = [
        say("grey: pixels", "灰：像素"),
        say("blue: the windows, one below the other", "蓝：依次排列的窗口"),
    ]
    if pad:
        labels.insert(1, say("white: padding", "白：填充"))
    if (whole - kernel) % stride:
        labels.append(say("orange: never reached", "橙：从未到达"))
    axes.set(xlim=(-0.5, whole + 0.5), ylim=(-0.4 - 3 * depth, 1.2))
    axes.set_xlabel(", ".join(labels))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


@dataclass(frozen=True)
class Pooled:
    """Pooling 2x2, stride 2, of one matrix: there and back."""

    output: np.ndarray
    """(H / 2, W / 2)."""
    gradient: np.ndarray
    """(H, W): d(sum of output * upstream) / d(input)."""


def pool_with_gradient(matrix: np.ndarray, upstream: np.ndarray, kind: str) -> Pooled:
    """`kind` "max" or "average", forward and backward by Paddle.

    matrix: (H, W), even; upstream: (H / 2, W / 2), the gradient that comes from above.
    """
    import paddle
    from paddle.nn import functional

    tensor = paddle.to_tensor(matrix[None, None].astype(np.float64), stop_gradient=False)
    pool = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    output = pool(tensor, 2, 2)
    output.backward(paddle.to_tensor(upstream[None, None].astype(np.float64)))
    return Pooled(output[0, 0].numpy(), tensor.grad[0, 0].numpy())


def find_maxima(matrix: np.ndarray) -> np.ndarray:
    """Where each 2x2 window's maximum is (of equal ones the first), int64 (windows, 2)."""
    height, width = matrix.shape
    windows = matrix.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    first = windows.reshape(height // 2, width // 2, 4).argmax(axis=2)
    rows, cols = np.divmod(first, 2)
    top, left = np.mgrid[: height // 2, : width // 2] * 2
    return np.stack([top + rows, left + cols], axis=-1).reshape(-1, 2)


@styled
def plot_pooling(feature_map: np.ndarray, title: str = "") -> Figure:
    """Max and average pooling of a small matrix, with numbers, and of a feature map (H, W)."""
    figure = Figure(figsize=(10, 12), layout="constrained")
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
        "cmap": "Blues" if numbers else "RdBu_r",
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
