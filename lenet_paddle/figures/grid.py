"""Matrices and pictures in axes: coloured cells with their numbers, mosaics, frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Rectangle

DIVERGING = "RdBu"  # red below 0, white at 0, blue above; colour-blind-safe
GAP = 2  # pixels between the tiles of a mosaic


def two_places(value: float) -> str:
    """Format a number with two decimals, as `0.78`; a rounded 0 has no sign."""
    return f"{value + 0.0:.2f}" if abs(value) >= 0.005 else "0.00"


def plain(value: float) -> str:
    """Format a number without needless digits: `3`, `-1016`, `0.5`."""
    return f"{value + 0.0:.0f}" if value == round(value) else f"{value:.3g}"


def split(figure: Figure | SubFigure, rows: int, cols: int, **ratios: Any) -> list[SubFigure]:
    """Split a figure into parts with a layout of their own, in reading order."""
    return list(np.ravel(figure.subfigures(rows, cols, squeeze=False, **ratios)))


class Cells:
    """A matrix (H, W) drawn in `axes`; `show` replaces its values.

    `limits` are the values of the first and the last colour (default: symmetric about 0, for a
    diverging map). `number` formats a value (None: no numbers). NaN is an empty grey cell.
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
        from matplotlib import colormaps

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
        """Show the values of `matrix`, of the same shape."""
        self.image.set_data(matrix)
        colours = self.image.to_rgba(np.nan_to_num(matrix))
        luminance = colours[..., :3] @ np.array([0.299, 0.587, 0.114])
        for place, text in self.texts.items():
            value = float(matrix[place])
            text.set_text("" if np.isnan(value) or self.number is None else self.number(value))
            text.set_color("white" if luminance[place] < 0.5 else "black")


def box(axes: Axes, top: int, left: int, height: int, width: int, colour: str) -> Rectangle:
    """Frame cells and return the frame; `set_xy((left - 0.5, top - 0.5))` moves it."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    frame = Rectangle(
        (left - 0.5, top - 0.5),
        width,
        height,
        fill=False,
        edgecolor=colour,
        linewidth=2.5,
        zorder=4,
    )
    frame.set_clip_on(False)
    frame.set_path_effects([withStroke(linewidth=4.5, foreground="white")])
    axes.add_patch(frame)
    return frame


def sign(axes: Axes, text: str, size: float = 18) -> None:
    """Write a sign such as × or = between two drawings."""
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=size, transform=axes.transAxes)


def grey(axes: Axes, picture: np.ndarray, title: str = "", **options: Any) -> None:
    """Show a grey picture, 0 black and 255 white, without ticks."""
    axes.imshow(picture, cmap="gray", **{"vmin": 0, "vmax": 255, **options})
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)


def as_pictures(batch: np.ndarray) -> np.ndarray:
    """Return a normalised batch, (B, 1, S, S) or (B, 3, S, S), as pictures, (B, S, S) or
    (B, S, S, 3)."""
    return batch[:, 0] if batch.shape[1] == 1 else batch.transpose(0, 2, 3, 1)


def seen(axes: Axes, picture: np.ndarray) -> None:
    """Show a normalised picture, float32 (S, S) or (S, S, 3) in [-1, 1]."""
    shown = picture if picture.ndim == 2 else (picture + 1) / 2
    axes.imshow(shown, cmap="gray", vmin=-1, vmax=1)


def as_colours(kernels: np.ndarray, limit: float) -> np.ndarray:
    """Return kernels on red, green and blue as colours in [0, 1], from -limit to limit; 0 is grey.

    kernels: (..., 3, H, W) -> (..., H, W, 3).
    """
    return 0.5 + np.moveaxis(kernels, -3, -1) / (2 * (limit or 1.0))


def mosaic(tiles: np.ndarray, scale: int = 1) -> np.ndarray:
    """Join a table of matrices, (rows, cols, H, W), to one float64 matrix with NaN in the gaps.

    Each value becomes a square of `scale` pixels.
    """
    tiles = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    rows, cols, height, width = tiles.shape
    sheet = np.full((rows, height + GAP, cols, width + GAP), np.nan)
    sheet[:, :height, :, :width] = tiles.transpose(0, 2, 1, 3)
    return sheet.reshape(rows * (height + GAP), cols * (width + GAP))[:-GAP, :-GAP]


def tile_scale(tiles: np.ndarray) -> int:
    """Return the enlargement that makes a mosaic's gap about a fifteenth of a tile."""
    return max(1, round(30 / tiles.shape[-1]))


def show_signed(axes: Axes, values: np.ndarray, limit: float) -> AxesImage:
    """Show values red below 0, white at 0, blue above, up to +-limit; NaN is grey."""
    axes.set_facecolor("#d0d0d0")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    limit = limit or 1.0
    return axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
