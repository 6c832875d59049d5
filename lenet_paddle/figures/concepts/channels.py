"""Several channels in, several out: a kernel for each pair, and a sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.data.preprocess import prepare_picture
from lenet_paddle.figures.grid import Cells, box, plain, sign
from lenet_paddle.figures.style import ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def convolve(
    channels: np.ndarray, kernels: np.ndarray, bias: np.ndarray, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """Run `paddle.nn.functional.conv2d`, which does not flip the kernel.

    (C, H, W), (O, C, F, F), (O,) -> float64 (O, H', W').
    """
    import paddle

    tensors = [paddle.to_tensor(array.astype(np.float64)) for array in (kernels, bias)]
    picture = paddle.to_tensor(channels[None].astype(np.float64))
    return paddle.nn.functional.conv2d(picture, *tensors, stride, padding)[0].numpy()


def colour_digit(digit: np.ndarray) -> np.ndarray:
    """Make a small colour picture of a digit, uint8 (28, 28) -> float64 (3, 8, 8) of 0, 1 ... 9.

    Red is the digit (means of 3 x 3 pixels), green a paler digit shifted right, blue a gradient
    behind them.
    """
    red = np.rint(digit[2:26, 2:26].reshape(8, 3, 8, 3).mean(axis=(1, 3)) / 255 * 9)
    green = np.rint(np.roll(red, 1, axis=1) * 0.6)
    sky = np.rint(np.linspace(2, 8, 8))[:, None] * np.ones(8)
    return np.stack([red, green, np.where(red + green > 2, 0, sky)])


def small_channels(image: np.ndarray) -> np.ndarray:
    """Scale a picture, uint8 (S, S) or (S, S, 3), down to float64 (3, 8, 8) of 0, 1 ... 9."""
    small = prepare_picture(image, "resize", 8)
    if small.ndim == 2:
        small = small[..., None].repeat(3, axis=2)
    return np.rint(small.transpose(2, 0, 1) / 255 * 9)


@styled
def plot_channels(
    channels: np.ndarray, kernels: np.ndarray, bias: np.ndarray, at: tuple[int, int] = (3, 4)
) -> Figure:
    """Plot a convolution of three channels with padding 1, a row for each output channel.

    channels: (3, 8, 8) of 0..9; kernels: (O, 3, 3, 3); bias: (O,). A row shows the kernel's slice
    and the map of each input channel, and their sum plus the bias; `at` is the place whose numbers
    are written.
    """
    num_out, num_in = kernels.shape[:2]
    figure = new_figure(10, 1.9 * num_out + 3.1)
    ratios = [*([1.2, 1.2, 0.25] * num_in), 0.6, 1.4]
    grid = figure.add_gridspec(
        num_out + 1, len(ratios), width_ratios=ratios, height_ratios=[1.5, *([1] * num_out)]
    )
    names = (say("red", "红"), say("green", "绿"), say("blue", "蓝"))
    for c, (channel, name) in enumerate(zip(channels, names, strict=True)):
        axes = figure.add_subplot(grid[0, 3 * c : 3 * c + 2])
        title = say("input channel {c}: {name}", "输入通道 {c}：{name}", c=c + 1, name=name)
        Cells(axes, channel, title, cmap="gray", limits=(0, 9))
        box(axes, at[0] - 1, at[1] - 1, 3, 3, ORANGE)
    whole = figure.add_subplot(grid[0, -1])
    whole.imshow(channels.transpose(1, 2, 0) / 9)
    whole.set(xticks=[], yticks=[])
    whole.set_title(say("together", "合在一起"), fontsize=10)
    answer = convolve(channels, kernels, bias, padding=1)
    for o in range(num_out):
        row = [figure.add_subplot(grid[o + 1, k]) for k in range(len(ratios))]
        _draw_output(row, channels, kernels[o], float(bias[o]), answer[o], at)
        row[-1].set_title(say("output channel {o}", "输出通道 {o}", o=o + 1), fontsize=10)
    shape = f"8 × 8 × {num_in} → 8 × 8 × {num_out}"
    count = say(
        "{o} kernels of {c} slices, 3 × 3 each, and {o} biases: {total} parameters",
        "{o} 个卷积核，每个 {c} 片 3 × 3，和 {o} 个偏置：{total} 个参数",
        o=num_out,
        c=num_in,
        total=kernels.size + bias.size,
    )
    figure.suptitle(f"{shape}    {count}")
    return figure


def _draw_output(
    row: list[Axes],
    channels: np.ndarray,
    kernels: np.ndarray,
    bias: float,
    answer: np.ndarray,
    at: tuple[int, int],
) -> None:
    """Draw kernel, map and a + for each input channel, then the bias and the sum."""
    none = np.zeros(1)
    partial = [
        convolve(channel[None], kernel[None, None], none, padding=1)[0]
        for channel, kernel in zip(channels, kernels, strict=True)
    ]
    peak = 1.2 * float(np.abs([*partial, answer]).max())
    options: dict[str, Any] = {"number": None, "limits": (-peak, peak)}
    for c, part in enumerate(partial):
        Cells(row[3 * c], kernels[c], say("slice {c}", "第 {c} 片", c=c + 1))
        Cells(row[3 * c + 1], part, **options)
        sign(row[3 * c + 2], "+")
    sign(row[-2], say("bias\n{bias}\n=", "偏置\n{bias}\n=", bias=plain(bias)), 12)
    Cells(row[-1], answer, **options)
    for axes, values in zip((*row[1::3][: len(partial)], row[-1]), (*partial, answer), strict=True):
        box(axes, *at, 1, 1, ORANGE)
        axes.set_xlabel(plain(float(values[at])), fontsize=11)
