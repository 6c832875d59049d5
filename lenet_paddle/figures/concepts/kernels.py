"""The classic kernels of picture editing, as a first look at what a convolution can do."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from scipy import ndimage

from lenet_paddle.figures.grid import Cells, grey, split
from lenet_paddle.figures.style import styled
from lenet_paddle.figures.words import say

KERNELS: dict[str, np.ndarray] = {
    "the picture": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], float),
    "blur": np.full((3, 3), 1 / 9),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], float),
    "emboss": np.array([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]], float),
    "edges": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], float),
    "vertical edges": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float),
    "horizontal edges": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], float),
}
"""Name -> float64 (3, 3). The last two are Sobel's."""


def apply_kernel(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Cross-correlation, float64 (H, W), of a grey picture (H, W); its border is repeated."""
    return ndimage.correlate(picture.astype(np.float64), kernel, mode="nearest")


def paint(picture: np.ndarray) -> np.ndarray:
    """ "Water colour", float64 (H, W): the median of 5 x 5 pixels flattens, sharpening outlines."""
    return apply_kernel(ndimage.median_filter(picture, size=5, mode="nearest"), KERNELS["sharpen"])


def as_shown(name: str, result: np.ndarray) -> np.ndarray:
    """What a screen can show of a result, uint8 (H, W).

    Coefficients that sum to 0 give 0 wherever the picture is flat, and negative numbers: emboss
    is shown with 128 added, edges by their size.
    """
    if name == "emboss":
        result = result + 128
    elif "edges" in name:
        result = np.abs(result)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


@styled
def plot_kernels(picture: np.ndarray, title: str = "") -> Figure:
    """Each kernel's work on a grey picture, uint8 (H, W), its numbers and their sum beneath."""
    words = {
        "the picture": say("the picture itself", "原图"),
        "blur": say("blur", "模糊"),
        "sharpen": say("sharpen: centre above 1", "锐化：中心大于 1"),
        "emboss": say("emboss (shown + 128)", "浮雕（显示时加 128）"),
        "edges": say("edges (shown |x|)", "边缘（显示绝对值）"),
        "vertical edges": say("vertical edges, Sobel (|x|)", "竖直边缘，Sobel（绝对值）"),
        "horizontal edges": say("horizontal edges, Sobel (|x|)", "水平边缘，Sobel（绝对值）"),
    }
    figure = Figure(figsize=(10, 8.6), layout="constrained")
    figure.suptitle(title)
    parts = split(figure, 2, 4)
    for part, (name, kernel) in zip(parts, KERNELS.items(), strict=False):
        above, below = part.subplots(2, 1, height_ratios=(2.2, 1))
        grey(above, as_shown(name, apply_kernel(picture, kernel)), words[name])
        _draw_kernel(below, kernel)
    _draw_water_colour(parts[-1], picture)
    return figure


def _draw_kernel(axes: Axes, kernel: np.ndarray) -> None:
    Cells(axes, kernel, number=_fraction)
    axes.set_xlabel(say("sum {total}", "和 {total}", total=_fraction(kernel.sum())), fontsize=10)


def _draw_water_colour(part: SubFigure, picture: np.ndarray) -> None:
    grid = part.add_gridspec(2, 2, height_ratios=(2.2, 1))
    grey(part.add_subplot(grid[0, :]), as_shown("", paint(picture)), say("water colour", "水彩"))
    median = part.add_subplot(grid[1, 0])
    Cells(median, np.zeros((5, 5)), number=None)
    median.text(2, 2, say("median\nof 25", "25 个数的\n中值"), ha="center", va="center", fontsize=9)
    median.set_xlabel(say("5 × 5 pixels, then", "5 × 5 中值，然后"), fontsize=10)
    _draw_kernel(part.add_subplot(grid[1, 1]), KERNELS["sharpen"])


def _fraction(value: float) -> str:
    return str(Fraction(value).limit_denominator(16))
