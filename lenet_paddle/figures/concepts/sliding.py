"""A convolution at work: one kernel sliding over one picture, and several channels at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet_paddle.figures.grid import Cells, box, plain, sign, split, two_places
from lenet_paddle.figures.style import ORANGE, styled
from lenet_paddle.figures.words import say

ANIMATION_DPI = 72


@dataclass(frozen=True)
class Sliding:
    """What a drawing of one kernel at work needs."""

    picture: np.ndarray
    """(H, W), padding included."""
    kernel: np.ndarray
    """(F, F)."""
    bias: float = 0.0
    stride: int = 1
    padding: int = 0
    """How much of the picture's border is padding."""
    title: str = ""

    def window(self, row: int, col: int) -> np.ndarray:
        """The F x F pixels under the kernel for the place (row, col) of the map."""
        side, top, left = len(self.kernel), row * self.stride, col * self.stride
        return self.picture[top : top + side, left : left + side]

    def compute_map(self) -> np.ndarray:
        """The feature map, float64 (H', W'), computed by Paddle."""
        return convolve(
            self.picture[None], self.kernel[None, None], np.array([self.bias]), self.stride
        )[0]


def convolve(
    channels: np.ndarray, kernels: np.ndarray, bias: np.ndarray, stride: int = 1, padding: int = 0
) -> np.ndarray:
    """`paddle.nn.functional.conv2d`, which does not flip the kernel.

    (C, H, W), (O, C, F, F), (O,) -> float64 (O, H', W').
    """
    import paddle

    tensors = [paddle.to_tensor(array.astype(np.float64)) for array in (kernels, bias)]
    picture = paddle.to_tensor(channels[None].astype(np.float64))
    return paddle.nn.functional.conv2d(picture, *tensors, stride, padding)[0].numpy()


class _Scene:
    """The drawing, whose window can be moved."""

    def __init__(self, sliding: Sliding) -> None:
        self.sliding, self.map = sliding, sliding.compute_map()
        is_whole = bool(np.all(sliding.picture == np.rint(sliding.picture)))
        number: Callable[[float], str] = plain if is_whole else two_places
        self.figure = Figure(figsize=(10, 7.6), layout="constrained")
        above, below = split(self.figure, 2, 1, height_ratios=(1.55, 1))
        left, right = above.subplots(1, 2)
        height, width = sliding.picture.shape
        left.imshow(sliding.picture, cmap="gray")
        self.answer = Cells(right, self.map, number=None)
        right.set_title(
            say(
                "feature map {h} × {w}",
                "特征图 {h} × {w}",
                h=self.map.shape[0],
                w=self.map.shape[1],
            )
        )
        name = say("input {h} × {w}", "输入 {h} × {w}", h=height, w=width)
        if sliding.padding:
            name += say(", {p} of it padding on each side", "，其中每边填充 {p}", p=sliding.padding)
        left.set_title(name)
        left.set(xticks=[], yticks=[])
        above.colorbar(self.answer.image, ax=right, shrink=0.8)
        side = len(sliding.kernel)
        self.frame = box(left, 0, 0, side, side, ORANGE)
        self.place = box(right, 0, 0, 1, 1, ORANGE)
        self._draw_sum(below.subplots(1, 6, width_ratios=(2, 0.3, 2, 0.3, 2, 1.9)), number)
        self.figure.suptitle(sliding.title)

    def _draw_sum(self, axes: np.ndarray, number: Callable[[float], str]) -> None:
        window, kernel = self.sliding.window(0, 0), self.sliding.kernel
        low, high = float(self.sliding.picture.min()), float(self.sliding.picture.max())
        peak = float(np.abs(kernel).max()) * max(abs(low), abs(high))
        size = 11 if len(kernel) <= 3 else 8
        self.window = Cells(
            *(axes[0], window, say("window", "窗口")),
            number=number,
            cmap="gray",
            limits=(low, high),
            size=size,
        )
        sign(axes[1], "×")
        Cells(axes[2], kernel, say("kernel", "卷积核"), number=number, size=size)
        sign(axes[3], "=")
        self.products = Cells(
            axes[4], window, say("products", "乘积"), number=number, limits=(-peak, peak), size=size
        )
        sign(axes[5], "", 13)
        self.total, self.number = axes[5].texts[0], number

    @property
    def moving(self) -> list[Artist]:
        """What changes with the place."""
        cells = (self.answer, self.window, self.products)
        return [*(each.image.axes for each in cells), self.frame, self.total]

    def move(self, row: int, col: int) -> None:
        """Put the window where it makes the map's value at (row, col)."""
        stride, bias = self.sliding.stride, self.sliding.bias
        window = self.sliding.window(row, col)
        products = window * self.sliding.kernel
        self.frame.set_xy((col * stride - 0.5, row * stride - 0.5))
        self.place.set_xy((col - 0.5, row - 0.5))
        self.window.show(window)
        self.products.show(products)
        text = say("sum {total}", "和 {total}", total=self.number(float(products.sum())))
        if bias:
            text += say("\n+ bias {bias}", "\n+ 偏置 {bias}", bias=self.number(bias))
            text += f"\n= {self.number(float(self.map[row, col]))}"
        self.total.set_text(text)

    def show_until(self, place: int) -> None:
        """Move to the place with this number in reading order; later ones are not yet computed."""
        row, col = divmod(place, self.map.shape[1])
        seen = np.where(np.arange(self.map.size).reshape(self.map.shape) <= place, self.map, np.nan)
        self.answer.show(seen)
        self.move(row, col)


@styled
def plot_convolution(sliding: Sliding) -> Figure:
    """One place worked out with its numbers: where the map is farthest from its median."""
    scene = _Scene(sliding)
    distance = np.abs(scene.map - np.median(scene.map))
    row, col = np.unravel_index(int(distance.argmax()), scene.map.shape)
    scene.move(int(row), int(col))
    return scene.figure


@styled
def animate_convolution(sliding: Sliding, num_frames: int = 50) -> np.ndarray:
    """The window sliding, as frames uint8 (T, H, W, 3): the row with most to see place by place,
    the others in leaps.

    What does not move is drawn once; before each frame it is put back, and the rest drawn on it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    scene = _Scene(sliding)
    scene.figure.set_dpi(ANIMATION_DPI)
    canvas = FigureCanvasAgg(scene.figure)
    canvas.draw()
    scene.figure.set_layout_engine("none")  # once is enough: nothing changes its size
    for artist in scene.moving:
        artist.set_visible(False)
    canvas.draw()
    still = canvas.copy_from_bbox(scene.figure.bbox)
    for artist in scene.moving:
        artist.set_visible(True)
    frames = []
    for place in choose_places(scene.map, num_frames):
        scene.show_until(int(place))
        canvas.restore_region(still)
        for artist in scene.moving:
            artist.draw(canvas.get_renderer())
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return np.stack(frames)


def choose_places(values: np.ndarray, num_frames: int) -> np.ndarray:
    """Numbers (in reading order, ascending, the last one included) of the places to stop at.

    The row whose values differ most is walked place by place, the rest in even leaps; at most
    `num_frames` when that row is no longer.
    """
    width = values.shape[1]
    liveliest = int(values.std(axis=1).argmax())
    slow = np.arange(liveliest * width, (liveliest + 1) * width)
    leaps = max(2, num_frames - len(slow))
    fast = np.linspace(0, values.size - 1, leaps).round().astype(int)
    return np.unique(np.concatenate([slow, fast]))


def colour_digit(digit: np.ndarray) -> np.ndarray:
    """A small colour picture of a digit, uint8 (28, 28) -> float64 (3, 8, 8) of 0, 1 ... 9.

    Red is the digit (means of 3 x 3 pixels), green a paler digit moved right, blue the sky behind.
    """
    red = np.rint(digit[2:26, 2:26].reshape(8, 3, 8, 3).mean(axis=(1, 3)) / 255 * 9)
    green = np.rint(np.roll(red, 1, axis=1) * 0.6)
    sky = np.rint(np.linspace(2, 8, 8))[:, None] * np.ones(8)
    return np.stack([red, green, np.where(red + green > 2, 0, sky)])


@styled
def plot_channels(
    channels: np.ndarray, kernels: np.ndarray, bias: np.ndarray, at: tuple[int, int] = (3, 4)
) -> Figure:
    """Several channels in, several out: (3, 8, 8) of 0..9, (O, 3, 3, 3), (O,), padding 1.

    For each output channel a row: each input channel's own kernel and what it gives, their sum
    plus the bias; `at` is the place whose numbers are written.
    """
    num_out, num_in = kernels.shape[:2]
    figure = Figure(figsize=(10, 1.9 * num_out + 3.1), layout="constrained")
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
        "{o} × {c} kernels of 3 × 3 and {o} biases: {total} parameters",
        "{o} × {c} 个 3 × 3 卷积核和 {o} 个偏置：{total} 个参数",
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
    """One output channel: kernel, partial map and a sign for each input channel; bias; the sum."""
    none = np.zeros(1)
    partial = [
        convolve(channel[None], kernel[None, None], none, padding=1)[0]
        for channel, kernel in zip(channels, kernels, strict=True)
    ]
    peak = 1.2 * float(np.abs([*partial, answer]).max())
    options: dict[str, Any] = {"number": None, "limits": (-peak, peak)}
    for c, part in enumerate(partial):
        Cells(row[3 * c], kernels[c], say("kernel", "卷积核"))
        Cells(row[3 * c + 1], part, **options)
        sign(row[3 * c + 2], "+")
    sign(row[-2], say("bias\n{bias}\n=", "偏置\n{bias}\n=", bias=plain(bias)), 12)
    Cells(row[-1], answer, **options)
    for axes, values in zip((*row[1::3][: len(partial)], row[-1]), (*partial, answer), strict=True):
        box(axes, *at, 1, 1, ORANGE)
        axes.set_xlabel(plain(float(values[at])), fontsize=11)
