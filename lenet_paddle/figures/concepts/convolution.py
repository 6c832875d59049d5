"""A convolution at work: one kernel sliding over one picture, also of a reader's own numbers."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.data.form import SIZE, to_grey
from lenet_paddle.errors import InputError
from lenet_paddle.figures.concepts.channels import (
    colour_digit,
    convolve,
    plot_channels,
    small_channels,
)
from lenet_paddle.figures.concepts.kernels import KERNELS
from lenet_paddle.figures.grid import Cells, box, plain, sign, split, two_places
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import ORANGE, new_figure, styled
from lenet_paddle.figures.subject import Subject, choose_picture, load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from paddle import nn

ANIMATION_DPI = 72
MOST_KERNEL, MOST_PICTURE = 11, 28  # numbers a side of a kernel and a picture given in numbers
MOST_NUMBER = 1e6
NUMBERED = 9  # cells a side up to which the picture and its map show their numbers


def draw_convolution(config: VisualizeConfig) -> Drawn:
    """Draw a kernel sliding over a digit, Sobel's or one of the run's, and several channels."""
    if isinstance(config.kernel, str) or config.picture is not None:
        own = read_sliding(config)
        return {
            "convolution": plot_convolution(own),
            "convolution-sliding": animate_convolution(own),
        }
    if config.kernel != VisualizeConfig.kernel:
        raise InputError(f'kernel is {config.kernel}; expected its rows, as "1 0 1/0 1 0/1 0 1"')
    sliding, image = find_sliding(config)
    is_grey_28 = image.shape == (SIZE, SIZE)
    channels = colour_digit(image) if is_grey_28 else small_channels(image)
    kernels = np.random.default_rng(3).integers(-1, 2, (2, 3, 3, 3)).astype(np.float64)
    return {
        "convolution": plot_convolution(sliding),
        "convolution-channels": plot_channels(channels, kernels, np.array([2.0, -3.0])),
        "convolution-sliding": animate_convolution(sliding),
    }


def read_sliding(config: VisualizeConfig) -> Sliding:
    """Return the kernel and the picture given in numbers; for what is not given, Sobel's kernel,
    and the picture of `--images`. Raises `InputError`."""
    if config.run or (config.images and config.picture):
        other = "run" if config.run else "images"
        raise InputError(f"{other} and numbers name two convolutions; give one of them")
    kernel, title = KERNELS["vertical edges"], say("a picture in numbers", "数字组成的图片")
    if isinstance(config.kernel, str):
        kernel = read_rows("kernel", config.kernel, MOST_KERNEL)
    if kernel.shape[0] != kernel.shape[1]:
        raise InputError(
            "kernel is {} x {}; expected as many rows as columns".format(*kernel.shape)
        )
    if config.picture is not None:
        picture = read_rows("picture", config.picture, MOST_PICTURE)
    else:
        chosen = choose_picture(config)
        picture, title = chosen.image.astype(np.float64), chosen.name
        picture = picture if picture.ndim == 2 else to_grey(chosen.image).astype(np.float64)
    if len(kernel) > min(picture.shape):
        raise InputError(
            "picture is {} x {}; expected one no smaller than the kernel, {side} x {side}".format(
                *picture.shape, side=len(kernel)
            )
        )
    return Sliding(picture, kernel, title=title)


def read_rows(name: str, text: str, most: int) -> np.ndarray:
    """Read a matrix such as "1 0 1/0 1 0/1 0 1", float64, at most `most` numbers a side.

    Raises `InputError`.
    """
    rows = [row.replace(",", " ").split() for row in text.strip().split("/")]
    widths = [len(row) for row in rows]
    if min(widths) < 1 or max(len(rows), *widths) > most:
        raise InputError(f"{name} is {reprlib.repr(text)}; expected 1 to {most} numbers a side")
    if min(widths) < max(widths):
        raise InputError(
            f"{name} has rows of {', '.join(map(str, widths))} numbers; expected rows of one "
            "length, with / between them"
        )
    try:
        matrix = np.array([[float(cell) for cell in row] for row in rows])
    except ValueError as error:
        bad = str(error).rpartition(": ")[2]
        raise InputError(f"{name} has {bad}; expected numbers, as in 1 0 1/0 1 0/1 0 1") from None
    if not (np.abs(matrix) <= MOST_NUMBER).all():
        raise InputError(f"{name} has a number that is not in ±{MOST_NUMBER:,.0f}")
    return matrix


@dataclass(frozen=True)
class Sliding:
    """A kernel and a picture."""

    picture: np.ndarray
    """(H, W), padding included."""
    kernel: np.ndarray
    """(F, F)."""
    bias: float = 0.0
    stride: int = 1
    padding: int = 0
    """Pixels of padding on each side of the picture."""
    title: str = ""

    def window(self, row: int, col: int) -> np.ndarray:
        """Return the F x F pixels under the kernel for the place (row, col) of the map."""
        side, top, left = len(self.kernel), row * self.stride, col * self.stride
        return self.picture[top : top + side, left : left + side]

    def compute_map(self) -> np.ndarray:
        """Compute the feature map, float64 (H', W'), with Paddle."""
        return convolve(
            self.picture[None], self.kernel[None, None], np.array([self.bias]), self.stride
        )[0]


def find_sliding(config: VisualizeConfig) -> tuple[Sliding, np.ndarray]:
    """Choose a kernel and a picture: Sobel's kernel on it in grey, or the strongest kernel of the
    run's layer, on the channel that counts most.

    Returns them, and the whole picture as networks get it, uint8 (S, S) or (S, S, 3).
    """
    picture = choose_picture(config)
    image = picture.image
    if not config.run:
        if config.layer is not None:
            raise InputError(f"layer {config.layer!r} needs a run; give --run output/<run> too")
        title = say(
            "vertical edges (Sobel) of {name}", "竖直边缘（Sobel）：{name}", name=picture.name
        )
        grey = image if image.ndim == 2 else to_grey(image)
        return Sliding(grey.astype(np.float64), KERNELS["vertical edges"], title=title), image
    from lenet_paddle.analysis.hooks import layer_inputs

    subject = load_subject(config)
    layer_name, layer = _find_convolution(subject, config.layer)
    seen = layer_inputs(subject.network, subject.normalise(image[None]), {layer_name: layer})
    channels = seen[layer_name][0].astype(np.float64)
    weights = layer.weight.numpy().astype(np.float64)
    sums = np.abs(weights).sum(axis=(2, 3))
    if len(channels) == 3:  # choose a channel that shows something
        sums *= channels.std(axis=(1, 2))
    strongest, channel = (int(i) for i in np.unravel_index(sums.argmax(), sums.shape))
    padding, stride = _one_number(layer._padding), _one_number(layer._stride)
    title = say(
        "{layer}, kernel {n} of {total}, on {name}",
        "{layer} 的第 {n} 个卷积核（共 {total} 个），{name}",
        layer=layer_name,
        n=strongest + 1,
        total=len(weights),
        name=picture.name,
    )
    plane = np.pad(channels[channel], padding)
    bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[strongest])
    if len(channels) == 3:  # the layer adds the three channels' parts and the bias
        bias = 0.0
        title += say(
            ": the {name} channel's part",
            "：其中{name}色通道的部分",
            name=(say("red", "红"), say("green", "绿"), say("blue", "蓝"))[channel],
        )
    return Sliding(plane, weights[strongest, channel], bias, stride, padding, title), image


def _find_convolution(subject: Subject, name: str | None) -> tuple[str, nn.Conv2D]:
    """Return the convolution of that name, by default the first, and check that it sees the
    picture's channels."""
    from paddle import nn

    from lenet_paddle.analysis.hooks import leaf_layers

    found = {
        n: layer
        for n, layer in leaf_layers(subject.network).items()
        if isinstance(layer, nn.Conv2D) and layer._in_channels == subject.channels
    }
    if not found:
        kind = "one grey channel" if subject.channels == 1 else "three channels"
        raise InputError(
            f"{subject.name}: {subject.config.model} has no convolution of {kind}; "
            "leave out --run, or give that of a LeNet"
        )
    if name is not None and name not in found:
        raise InputError(
            f"layer is {name!r}; expected a convolution that sees the picture: {', '.join(found)}"
        )
    chosen = name or next(iter(found))
    return chosen, found[chosen]


def _one_number(setting: Any) -> int:
    """Return a padding or stride that Paddle keeps as a number or as a list of equal ones."""
    return int(np.ravel(setting)[0])


class _Scene:
    """The figure, with a window that can be moved."""

    def __init__(self, sliding: Sliding) -> None:
        self.sliding, self.map = sliding, sliding.compute_map()
        is_whole = bool(np.all(sliding.picture == np.rint(sliding.picture)))
        number: Callable[[float], str] = plain if is_whole else two_places
        self.figure = new_figure(10, 7.6)
        above, below = split(self.figure, 2, 1, height_ratios=(1.55, 1))
        left, right = above.subplots(1, 2)
        height, width = sliding.picture.shape
        shown = number if max(height, width) <= NUMBERED else None
        Cells(left, sliding.picture, number=shown, cmap="gray", limits=_ends(sliding.picture))
        self.answer = Cells(right, self.map, number=shown)
        _align(right, sliding)
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
        low, high = _ends(self.sliding.picture)
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
            axes[4],
            window,
            say("products", "乘积"),
            number=number,
            limits=(-1.4 * peak, 1.4 * peak),
            size=size,
        )
        sign(axes[5], "", 13)
        self.total, self.number = axes[5].texts[0], number

    @property
    def moving(self) -> list[Artist]:
        """The artists that change with the place."""
        cells = (self.answer, self.window, self.products)
        return [*(each.image.axes for each in cells), self.frame, self.total]

    def move(self, row: int, col: int) -> None:
        """Move the window to where it makes the map's value at (row, col)."""
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
        """Move to the place with this number in reading order and hide the map's later values."""
        row, col = divmod(place, self.map.shape[1])
        seen = np.where(np.arange(self.map.size).reshape(self.map.shape) <= place, self.map, np.nan)
        self.answer.show(seen)
        self.move(row, col)


def _ends(picture: np.ndarray) -> tuple[float, float]:
    """Return the values that are black and white."""
    low, high = float(picture.min()), float(picture.max())
    return low, high if high > low else low + 1


def _align(axes: Axes, sliding: Sliding) -> None:
    """Put each value of the map where the middle of its window is in the picture."""
    height, width = sliding.picture.shape
    before, stride = (len(sliding.kernel) - 1) / 2 + 0.5, sliding.stride
    axes.set_xlim(-before / stride, (width - before) / stride)
    axes.set_ylim((height - before) / stride, -before / stride)
    axes.grid(False, which="minor")  # it would go on where there are no values
    axes.set_facecolor("0.9")
    axes.spines[:].set_visible(False)


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
    """Return frames of the sliding window, uint8 (T, H, W, 3).

    It stops at every place of the row that changes most and leaps over the others. The artists
    that do not move are drawn once, as the background of every frame.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    scene = _Scene(sliding)
    scene.figure.set_dpi(ANIMATION_DPI)
    canvas = FigureCanvasAgg(scene.figure)
    canvas.draw()
    scene.figure.set_layout_engine("none")  # nothing changes its size any more
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
    """Return the places to stop at, numbered in reading order; the last one is included.

    All places of the row whose values differ most, the rest in even leaps: at most `num_frames`
    unless that row is longer.
    """
    width = values.shape[1]
    liveliest = int(values.std(axis=1).argmax())
    slow = np.arange(liveliest * width, (liveliest + 1) * width)
    leaps = max(2, num_frames - len(slow))
    fast = np.linspace(0, values.size - 1, leaps).round().astype(int)
    return np.unique(np.concatenate([slow, fast]))
