"""Features made by hand (Canny, SIFT, Harris, by scikit-image) next to learned ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.data.preprocess import enlarge, shrink
from lenet_paddle.errors import InputError
from lenet_paddle.figures.grid import DIVERGING
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import ORANGE, new_figure, styled
from lenet_paddle.figures.subject import choose_pictures, load_subject, name_files, stack_images
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

SMALL, ENLARGED = 64, 8  # a picture of fewer than 64 pixels a side is enlarged 8 times
MOST_MAPS, MOST_POINTS = 9, 80  # drawn
_log = logging.getLogger(__name__)


def draw_edges(config: VisualizeConfig) -> Drawn:
    """Draw the edges, key points and corners of a picture next to the first layer's maps."""
    from lenet_paddle.analysis.hooks import layer_outputs

    subject = load_subject(config)
    pictures = choose_pictures(config, 1)
    name = subject.first_convolution
    if name is None:
        _log.info("%s has no convolution: no maps next to the edges", subject.config.model)
    outputs = layer_outputs(subject.network, subject.normalise(stack_images(pictures)))
    figures = {}
    for row, stem in enumerate(name_files("edges", pictures)):
        maps = None if name is None else outputs[name][row]
        found = detect(shrink(pictures[row].grey, 400))
        title = say(
            "hand-made and learned features: {name}, {run}",
            "人工设计的与学到的特征：{name}，{run}",
            name=pictures[row].label,
            run=subject.about,
        )
        figures[stem] = plot_edges(found, maps, title)
    return figures


@dataclass(frozen=True)
class Detections:
    """What the three detectors find in a picture (H, W); places are (row, column)."""

    picture: np.ndarray
    """The picture as they saw it, float64 in [0, 1]."""
    scale: int
    """The enlargement."""
    edges: np.ndarray
    """bool (H, W): Canny 1986."""
    key_points: np.ndarray
    """float (K, 4): row, column, sigma in pixels, angle (Lowe 2004). The angle is that of the
    brightness gradient, in radians clockwise from the right."""
    corners: np.ndarray
    """int (N, 2): Harris and Stephens 1988."""


def detect(picture: np.ndarray) -> Detections:
    """Run Canny, SIFT and Harris on a grey picture, uint8 (H, W), enlarged if it is small.

    Raises `InputError` when scikit-image is not installed.
    """
    try:
        from skimage.feature import canny, corner_harris, corner_peaks
    except ImportError:
        raise InputError(
            "scikit-image is not installed; install the extra: pip install '.[vision]'"
        ) from None
    scale = ENLARGED if max(picture.shape) < SMALL else 1
    seen = enlarge(picture, scale) / 255.0
    response = corner_harris(seen, sigma=2)
    corners = corner_peaks(response, min_distance=5, threshold_rel=0.05)
    return Detections(seen, scale, canny(seen, sigma=2), _key_points(seen), corners)


def _key_points(picture: np.ndarray) -> np.ndarray:
    from skimage.feature import SIFT

    sift: Any = SIFT()
    try:
        sift.detect(picture)
    except RuntimeError:  # it found none
        return np.empty((0, 4))
    # scikit-image measures the angle from the row axis; here it is from the column axis.
    angles = np.pi / 2 - sift.orientations
    return np.column_stack([sift.positions, sift.sigmas, angles])


@styled
def plot_edges(found: Detections, maps: np.ndarray | None = None, title: str = "") -> Figure:
    """Plot picture, Canny edges, SIFT key points and Harris corners, and the first layer's maps.

    maps: float (C, h, w) or None; at most 9 are drawn, on one scale.
    """
    figure = new_figure(10, 5.7 if maps is not None else 10)
    figure.suptitle(title, fontsize=12)
    left: Figure | SubFigure = figure
    if maps is not None:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 0.9)).ravel()
        _draw_maps(right, maps)
    (plain, edges), (points, corners) = left.subplots(2, 2)
    for axes in (plain, edges, points, corners):
        axes.set(xticks=[], yticks=[])
        axes.imshow(found.picture, cmap="gray", vmin=0, vmax=1)
    is_larger = found.scale > 1
    name = (
        say("picture, enlarged {scale} times", "图片，放大 {scale} 倍", scale=found.scale)
        if is_larger
        else say("picture", "图片")
    )
    plain.set_title(name, fontsize=10)
    edges.imshow(found.edges, cmap="gray")
    edges.set_title(say("Canny edges", "Canny 边缘"), fontsize=10)
    largest = found.key_points[np.argsort(-found.key_points[:, 2], kind="stable")][:MOST_POINTS]
    for key_point in largest:
        _draw_key_point(points, *key_point)
    heading = say("SIFT: {n} key points", "SIFT：{n} 个关键点", n=len(found.key_points))
    if len(largest) < len(found.key_points):
        heading += say(", the {n} largest", "，画出最大的 {n} 个", n=len(largest))
    points.set_title(heading, fontsize=10)
    points.set(xlim=plain.get_xlim(), ylim=plain.get_ylim())  # circles may reach out
    corners.plot(found.corners[:, 1], found.corners[:, 0], "+", color=ORANGE, ms=10, mew=2)
    corners.set_title(
        say("Harris: {n} corners", "Harris：{n} 个角点", n=len(found.corners)), fontsize=10
    )
    return figure


def _draw_key_point(axes: Axes, row: float, col: float, sigma: float, angle: float) -> None:
    """Draw a circle of radius 2 sigma with a stroke in the key point's direction."""
    from matplotlib.patches import Circle

    radius = 2 * sigma
    axes.add_patch(Circle((col, row), radius, fill=False, color=ORANGE, linewidth=1.2))
    ends = [col, col + radius * np.cos(angle)], [row, row + radius * np.sin(angle)]
    axes.plot(*ends, color=ORANGE, linewidth=1.2)


def _draw_maps(part: SubFigure, maps: np.ndarray) -> None:
    """Draw at most 9 maps in three columns, red below 0, blue above."""
    title = say(
        "the first layer's maps: {n} learned kernels",
        "第一层的特征图：{n} 个学到的卷积核",
        n=len(maps),
    )
    if len(maps) > MOST_MAPS:
        title += say(", the first {count}", "，前 {count} 个", count=MOST_MAPS)
    part.suptitle(title, fontsize=10)
    maps = maps[:MOST_MAPS]
    grid = part.subplots(-(-len(maps) // 3), 3, squeeze=False).ravel()
    limit = float(np.abs(maps).max()) or 1.0
    for axes in grid:
        axes.axis("off")
    for number, (axes, values) in enumerate(zip(grid, maps, strict=False)):
        image = axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit)
        axes.set_title(f"{number}", fontsize=9)
    bar = part.colorbar(image, ax=list(grid), orientation="horizontal", shrink=0.8, aspect=40)
    bar.ax.tick_params(labelsize=8)
