"""What a data set is like, and how far a model's probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet_paddle.figures.grid import split
from lenet_paddle.figures.style import BLUE, ORANGE, short, styled
from lenet_paddle.figures.words import say


@styled
def plot_samples(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    chosen: np.ndarray,
    title: str = "",
) -> Figure:
    """The images at `chosen` with their labels; beside them what the whole set is like.

    images: uint8 (N, H, W); labels: int (N,). Class balance, pixel values, mean and deviation.
    """
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    left, right = split(figure, 1, 2, width_ratios=(1.5, 1))
    side = min(8, max(1, int(np.ceil(np.sqrt(len(chosen))))))
    num_rows = max(1, -(-len(chosen) // side))
    for place, axes in enumerate(left.subplots(num_rows, side, squeeze=False).ravel()):
        axes.axis("off")
        if place < len(chosen):
            axes.imshow(images[chosen[place]], cmap="gray", vmin=0, vmax=255)
            axes.set_title(short(classes[labels[chosen[place]]]), fontsize=9)
    grid = right.add_gridspec(3, 2, height_ratios=(1.2, 1, 1))
    _draw_balance(right.add_subplot(grid[0, :]), labels, classes)
    counts, mean, deviation = measure_pixels(images)
    _draw_pixels(right.add_subplot(grid[1, :]), counts)
    pictures = ((say("mean image", "平均图像"), mean), (say("deviation", "标准差"), deviation))
    for col, (name, picture) in enumerate(pictures):
        axes = right.add_subplot(grid[2, col])
        axes.imshow(picture, cmap="gray")
        axes.set_title(name, fontsize=10)
        axes.set(xticks=[], yticks=[])
    figure.suptitle(title)
    return figure


@styled
def plot_rows(rows: Mapping[str, np.ndarray], captions: Sequence[str], title: str = "") -> Figure:
    """Named rows of grey images, uint8 (N, H, W) each, under the captions of their N columns."""
    [(count, height, width)] = {images.shape for images in rows.values()}
    high, wide = height + 3, width + 3  # with the gaps between
    sheet = np.full((len(rows), high, count, wide), np.nan)
    for number, images in enumerate(rows.values()):
        sheet[number, :height, :, :width] = np.moveaxis(images, 0, 1)
    sheet = sheet.reshape(len(rows) * high, count * wide)[:-3, :-3]
    cell = min(0.8, 8 / count)  # inches
    figure = Figure(figsize=(max(5, 2 + cell * count), 1 + cell * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#c6d4e8")  # the gaps; no image has it
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
    axes.set_yticks(np.arange(len(rows)) * high + height / 2, list(rows))
    axes.set_xticks(np.arange(count) * wide + width / 2, [short(text) for text in captions])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)
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
    """How often each value 0..255 occurs, int64 (256,), and each pixel's mean and standard
    deviation, float64 (H, W); a slice at a time, since the images may be larger than the memory."""
    counts = np.zeros(256, np.int64)
    sums, squares = np.zeros((2, *images.shape[1:]))
    for start in range(0, len(images), 4096):
        part = np.asarray(images[start : start + 4096])
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
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.tick_params(labelsize=8)
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


@styled
def plot_calibration(error: float, bins: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """A reliability diagram (Guo et al. 2017) from what `metrics.compute_calibration` returns."""
    count, accuracy, confidence = bins["count"], bins["accuracy"], bins["confidence"]
    edges = np.linspace(0, 1, len(count) + 1)
    width, used = edges[1], count > 0
    figure = Figure(figsize=(8, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot(
        [0, 1], [0, 1], color="black", linestyle=":", label=say("perfectly calibrated", "完全校准")
    )
    options: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white"}
    above.bar(
        edges[:-1][used], accuracy[used], color=BLUE, label=say("accuracy", "准确率"), **options
    )
    gap = (confidence - accuracy)[used]
    above.bar(
        *(edges[:-1][used], gap),
        bottom=accuracy[used],
        label=say("gap to the confidence", "与置信度的差距"),
        **{**options, "edgecolor": ORANGE, "facecolor": "none", "hatch": "///", "linewidth": 1.5},
    )
    above.set(ylabel=say("accuracy", "准确率"), xlim=(0, 1), ylim=(0, 1), title=title)
    above.legend(loc="upper left")
    text = say("expected calibration error {error:.4f}", "期望校准误差 {error:.4f}", error=error)
    above.text(0.98, 0.04, text, ha="right", fontsize=12, bbox={"facecolor": "white"})
    below.bar(edges[:-1], count, color="0.6", **options)
    for left, number in zip(edges[:-1][used], count[used], strict=True):
        below.text(left + width / 2, number, f"{number:,}", ha="center", va="bottom", fontsize=8)
    below.set(yscale="log", ylim=(0.7, count.max() * 6), xlabel=say("confidence", "置信度"))
    below.set_ylabel(say("images", "图片数"))
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure
