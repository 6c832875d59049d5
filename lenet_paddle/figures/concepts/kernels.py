"""The classic kernels of picture editing: a first look at what a convolution can do."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.data.preprocess import enlarge, shrink
from lenet_paddle.figures.grid import Cells, grey, split
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import new_figure, styled
from lenet_paddle.figures.subject import choose_picture
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_log = logging.getLogger(__name__)

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


def draw_kernels(config: VisualizeConfig) -> Drawn:
    """Draw the classic kernels of picture editing on a photo, or on the picture of --images."""
    picture, name = _find_photo(config)
    if (longer := max(picture.shape)) < 100:
        picture = enlarge(picture, max(1, 84 // longer))  # more is too smooth for 3x3 kernels
    title = say("the classic kernels on {name}", "经典卷积核：{name}", name=name)
    return {"kernels": plot_kernels(shrink(picture, 256), title)}


def _find_photo(config: VisualizeConfig) -> tuple[np.ndarray, str]:
    """Return a grey picture, uint8 (H, W), and its name: `--images`, a photo, or a digit."""
    if not config.images:
        try:
            from skimage import data

            return data.camera(), "skimage.data.camera"
        except ImportError:
            _log.warning(
                "scikit-image, which has the photo, is not installed (pip install '.[vision]'); "
                "a digit is drawn instead, or give a picture with --images"
            )
    picture = choose_picture(config)
    return picture.grey, picture.name


def apply_kernel(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Cross-correlate a grey picture (H, W): float64 (H, W); the border is repeated."""
    from scipy import ndimage

    return ndimage.correlate(picture.astype(np.float64), kernel, mode="nearest")


def paint(picture: np.ndarray) -> np.ndarray:
    """Turn a picture into a "water colour", float64 (H, W): median of 5 x 5 pixels, sharpened."""
    from scipy import ndimage

    return apply_kernel(ndimage.median_filter(picture, size=5, mode="nearest"), KERNELS["sharpen"])


def as_shown(name: str, result: np.ndarray) -> np.ndarray:
    """Return a kernel's result as a grey picture, uint8 (H, W).

    Coefficients that sum to 0 give 0 where the picture is flat, and negative numbers: emboss is
    shown with 128 added, edges by their absolute value.
    """
    if name == "emboss":
        result = result + 128
    elif "edges" in name:
        result = np.abs(result)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


@styled
def plot_kernels(picture: np.ndarray, title: str = "") -> Figure:
    """Plot each kernel's result on a grey picture, uint8 (H, W), its numbers and their sum."""
    words = {
        "the picture": say("the picture itself", "原图"),
        "blur": say("blur", "模糊"),
        "sharpen": say("sharpen: centre above 1", "锐化：中心大于 1"),
        "emboss": say("emboss (shown + 128)", "浮雕（显示时加 128）"),
        "edges": say("edges (shown |x|)", "边缘（显示绝对值）"),
        "vertical edges": say("vertical edges, Sobel (|x|)", "竖直边缘，Sobel（绝对值）"),
        "horizontal edges": say("horizontal edges, Sobel (|x|)", "水平边缘，Sobel（绝对值）"),
    }
    figure = new_figure(10, 8.6)
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
