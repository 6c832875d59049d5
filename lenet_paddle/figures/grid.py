"""Matrices as coloured cells with their numbers, the stuff of which most drawings here are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

DIVERGING = "RdBu_r"  # white at 0, colour-blind-safe


def two_places(value: float) -> str:
    """A number with two decimals, as `0.78`; a rounded 0 has no sign."""
    return f"{value + 0.0:.2f}" if abs(value) >= 0.005 else "0.00"


def plain(value: float) -> str:
    """A number as short as it is: `3`, `-1016`, `0.5`."""
    return f"{value + 0.0:.0f}" if value == round(value) else f"{value:.3g}"


def split(figure: Figure | SubFigure, rows: int, cols: int, **ratios: Any) -> list[SubFigure]:
    """Parts of a figure, in reading order, each laid out by itself."""
    return list(np.ravel(figure.subfigures(rows, cols, squeeze=False, **ratios)))


class Cells:
    """A matrix (H, W) drawn in `axes`; `show` puts other numbers into the same cells.

    `limits` are the values of the first and the last colour (default: symmetric about 0, for a
    diverging map). `number` writes a value (None: no numbers). NaN is an empty grey cell.
    """

    def __init__(
        self,
        axes: Axes,
        matrix: np.ndarray,
        title: str = "",
        *,
        number: Callable[[float], str] | None = plain,
        cmap: str = DIVERGING,
        limits: tuple[float, float] | None = None,
        size: float = 9,
    ) -> None:
        height, width = matrix.shape
        peak = float(np.nanmax(np.abs(matrix), initial=1e-12))
        low, high = limits or (-1.4 * peak, 1.4 * peak)  # the ends are too dark to read on
        self.number = number
        colours = colormaps[cmap].with_extremes(bad="0.8")
        self.image = axes.imshow(matrix, cmap=colours, vmin=low, vmax=high)
        self.texts = {
            place: axes.text(place[1], place[0], "", ha="center", va="center", fontsize=size)
            for place in (np.ndindex(height, width) if number else ())
        }
        axes.set_title(title, fontsize=10)
        axes.set_xticks(np.arange(width - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(height - 1) + 0.5, minor=True)
        axes.set(xticks=[], yticks=[])
        axes.tick_params(which="minor", length=0)
        if max(height, width) <= 12:
            axes.grid(which="minor", color="0.75", linewidth=0.6)
        self.show(matrix)

    def show(self, matrix: np.ndarray) -> None:
        """Put the numbers of `matrix`, of the same shape, into the cells."""
        self.image.set_data(matrix)
        colours = self.image.to_rgba(np.nan_to_num(matrix))
        luminance = colours[..., :3] @ np.array([0.299, 0.587, 0.114])
        for place, text in self.texts.items():
            value = float(matrix[place])
            text.set_text("" if np.isnan(value) or self.number is None else self.number(value))
            text.set_color("white" if luminance[place] < 0.5 else "black")


def box(axes: Axes, top: int, left: int, height: int, width: int, colour: str) -> Rectangle:
    """A frame around cells; `move` it with `set_xy((left - 0.5, top - 0.5))`."""
    frame = Rectangle(
        (left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=2.5
    )
    frame.set_clip_on(False)
    frame.set_path_effects([withStroke(linewidth=4.5, foreground="white")])
    axes.add_patch(frame)
    return frame


def sign(axes: Axes, text: str, size: float = 18) -> None:
    """Only a sign such as × or = between two drawings."""
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=size, transform=axes.transAxes)


def grey(axes: Axes, picture: np.ndarray, title: str = "", **options: Any) -> None:
    """A grey picture, 0 black and 255 white, without ticks."""
    axes.imshow(picture, cmap="gray", **{"vmin": 0, "vmax": 255, **options})
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
