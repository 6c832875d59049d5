"""Images of a data set, its class balance and pixel statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.figures.grid import split
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import (
    BLUE,
    label_classes,
    new_figure,
    number_log_axis,
    short,
    styled,
)
from lenet_paddle.figures.subject import find_position, load_images
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_SAMPLES = 64


def draw_samples(config: VisualizeConfig) -> Drawn:
    """Draw training images, or the test images of --images, and the data set's statistics."""
    split = "test" if config.images else "train"
    image_set, dataset = load_images(config, split)
    chosen = np.array([find_position(text, image_set) for text in config.images], np.int64)
    if not len(chosen):
        count = min(NUM_SAMPLES, len(image_set))
        chosen = np.random.default_rng(0).choice(len(image_set), count, replace=False)
    which = say("training", "训练") if split == "train" else say("test", "测试")
    title = say(
        "{dataset}: {shown} of {n:,} {split} images, and statistics of all",
        "{dataset}：{n:,} 张{split}图片中的 {shown} 张，以及全部图片的统计",
        dataset=dataset,
        shown=len(chosen),
        n=len(image_set),
        split=which,
    )
    figure = plot_samples(image_set.images, image_set.labels, image_set.classes, chosen, title)
    return {"samples": figure}


@styled
def plot_samples(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    chosen: np.ndarray,
    title: str = "",
) -> Figure:
    """Plot the images at `chosen` with their labels, and statistics of the whole set.

    images: uint8 (N, H, W) or (N, H, W, 3); labels: int (N,). The statistics are class balance,
    pixel values, mean image and standard deviation.
    """
    figure, names = new_figure(10, 6.6), label_classes(classes)
    left, right = split(figure, 1, 2, width_ratios=(1.5, 1))
    side = min(8, max(1, int(np.ceil(np.sqrt(len(chosen))))))
    num_rows = max(1, -(-len(chosen) // side))
    for place, axes in enumerate(left.subplots(num_rows, side, squeeze=False).ravel()):
        axes.axis("off")
        if place < len(chosen):
            axes.imshow(images[chosen[place]], cmap="gray", vmin=0, vmax=255)
            axes.set_title(short(names[labels[chosen[place]]]), fontsize=9)
    grid = right.add_gridspec(3, 2, height_ratios=(1.2, 1, 1))
    _draw_balance(right.add_subplot(grid[0, :]), labels, names)
    counts, mean, deviation = measure_pixels(images)
    _draw_pixels(right.add_subplot(grid[1, :]), counts)
    pictures = ((say("mean image", "平均图片"), mean), (say("deviation", "标准差"), deviation))
    for col, (name, picture) in enumerate(pictures):
        axes = right.add_subplot(grid[2, col])
        scale = 1.0 if picture.ndim == 2 else 255.0 if picture is mean else picture.max() or 1.0
        axes.imshow(picture / scale, cmap="gray")
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])
    figure.suptitle(title)
    return figure


def _draw_balance(axes: Axes, labels: np.ndarray, classes: Sequence[str]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    axes.bar(range(len(classes)), counts, color=BLUE)
    axes.axhline(counts.mean(), color="black", linestyle=":", linewidth=1)
    axes.set_title(
        say(
            "class balance: {low:,} to {high:,} images",
            "类别分布：每类 {low:,} 至 {high:,} 张",
            low=counts.min(),
            high=counts.max(),
        ),
        fontsize=10,
    )
    names = [short(name) for name in classes]
    if len(classes) <= 30:
        turned: dict[str, Any] = {"rotation": 60, "ha": "right", "fontsize": 8}
        long = max(map(len, names)) > 2
        axes.set_xticks(range(len(classes)), names, **(turned if long else {}))


def measure_pixels(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count each value 0..255, int64 (256,); compute each pixel's mean and standard deviation,
    float64 (H, W) or (H, W, 3).

    Works slice by slice, since memory-mapped images may be larger than the memory.
    """
    at_once = max(1, 2**22 // math.prod(images.shape[1:]))
    counts = np.zeros(256, np.int64)
    sums, squares = np.zeros((2, *images.shape[1:]))
    for start in range(0, len(images), at_once):
        part = np.asarray(images[start : start + at_once])
        counts += np.bincount(part.ravel(), minlength=256)
        values = part.astype(np.float64)
        sums += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
    mean = sums / len(images)
    return counts, mean, np.sqrt(np.maximum(squares / len(images) - mean**2, 0))


def _draw_pixels(axes: Axes, counts: np.ndarray) -> None:
    values, share = np.arange(256), counts / counts.sum()
    mean = float((values * share).sum())
    axes.bar(
        np.arange(0, 256, 8), counts.reshape(32, 8).sum(axis=1), width=8, align="edge", color=BLUE
    )
    axes.set_yscale("log")
    number_log_axis(axes.yaxis, ",.0f")
    axes.tick_params(which="both", labelsize=8)
    axes.set_title(
        say(
            "pixels: mean {mean:.1f}, deviation {std:.1f}, {zero:.0%} are 0",
            "像素：均值 {mean:.1f}，标准差 {std:.1f}，{zero:.0%} 为 0",
            mean=mean,
            std=float(((values - mean) ** 2 * share).sum() ** 0.5),
            zero=share[0],
        ),
        fontsize=10,
    )
