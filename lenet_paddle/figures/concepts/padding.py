"""Padding and stride: the size of the feature map, and how often each pixel is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.figures.grid import Cells, plain, split
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_padding(config: VisualizeConfig) -> Drawn:
    """Draw the windows of a kernel on padded pixels, (N - F + 2P) / S + 1 of them."""
    if isinstance(config.kernel, str):
        raise InputError(f"kernel is {config.kernel!r}; expected a whole number: its pixels a side")
    figure = plot_padding(
        size=config.size, kernel=config.kernel, pad=config.pad, stride=config.stride
    )
    return {"padding": figure}


def output_size(size: int, kernel: int, pad: int, stride: int) -> float:
    """Return the map's side (N - F + 2P) / S + 1, a fraction when the last step does not fit."""
    return (size - kernel + 2 * pad) / stride + 1


def count_views(size: int, kernel: int, pad: int, stride: int) -> np.ndarray:
    """Count the windows that see each pixel, int64 (N, N), with whole steps only."""
    seen = np.zeros(size + 2 * pad, np.int64)
    for start in range(0, size + 2 * pad - kernel + 1, stride):
        seen[start : start + kernel] += 1
    inside = seen[pad : pad + size]
    return np.outer(inside, inside)


@styled
def plot_padding(size: int, kernel: int, pad: int, stride: int) -> Figure:
    """Plot the formula with these numbers, the steps along one side, and the views of each pixel.

    The views without padding stand next to those with `pad`, or with (F - 1) / 2 if `pad` is 0.
    """
    other = pad or kernel // 2
    figure = new_figure(10, 8)
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
                "{total} 个像素中有 {n} 个永远覆盖不到",
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
        "\ndoes not fit: {left} of {side} pixels left over after {fit} windows, fewer than the "
        "stride {stride};\nPaddle rounds down to {fit} and never sees them",
        "\n结果不能作为尺寸：放下 {fit} 个窗口后，{side} 个像素还剩 {left} 个，"
        "不够一个步长 {stride}；\n飞桨向下取整为 {fit}，剩下的像素永远覆盖不到",
        fit=int(exact),
        left=left,
        side=size + 2 * pad,
        stride=stride,
    )


def _draw_steps(axes: Axes, size: int, kernel: int, pad: int, stride: int) -> None:
    """Draw one row of pixels, and every window as a bar below it."""
    from matplotlib.patches import Rectangle

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
        labels.append(say("orange: never reached", "橙：永远覆盖不到"))
    axes.set(xlim=(-0.5, whole + 0.5), ylim=(-0.4 - 3 * depth, 1.2))
    axes.set_xlabel(say(", ", "，").join(labels))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
