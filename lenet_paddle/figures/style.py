"""Pictures of a training and of an evaluation: arrays in, matplotlib Figures out.

Figures are made without pyplot, so nothing depends on a display or on global state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lenet_paddle.figures.words import say
from lenet_paddle.files import make_folder, replacing

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito 2008: colour-blind-safe
OKABE_ITO = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MAX_NAME = 16  # characters of a class name that a figure shows
CJK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "SimHei")

Drawing = TypeVar("Drawing", bound=Callable[..., Any])


def styled(draw: Drawing) -> Drawing:
    """Draw with a font for Chinese names, where one is installed, and with `$` as plain text."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context({"text.parse_math": False, "font.family": _font_families()}):
            return draw(*args, **kwargs)

    return drawn  # type: ignore[return-value]


@functools.cache
def _font_families() -> list[str]:
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]


def short(name: str) -> str:
    """A class name, cut to what a figure has room for."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def find_chinese_font() -> bool:
    """Whether figures can show Chinese; looks for fonts installed after matplotlib's last look."""
    if len(_font_families()) == 1:
        for path in font_manager.findSystemFonts():
            if Path(path).name.startswith(("NotoSansCJK", "wqy-microhei", "simhei", "SimHei")):
                font_manager.fontManager.addfont(path)
        _font_families.cache_clear()
    return len(_font_families()) > 1


@styled
def plot_history(rows: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Loss and accuracy per epoch from the rows of `history.csv`, train beside val (or test)."""
    return plot_curves({title: rows})


@styled
def plot_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and accuracy per epoch of one or several runs, the overfitting gap shaded.

    runs: name -> rows of `history.csv`. The gap is what val (or test) is worse than train, from
    the epoch with the lowest val loss on.
    """
    figure = Figure(figsize=(10, 4 + 0.25 * (len(runs) > 2) * len(runs)), layout="constrained")
    colours = [BLUE, ORANGE] if len(runs) == 1 else list(OKABE_ITO)
    panels = figure.subplots(1, 2)
    for axes, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for number, (name, rows) in enumerate(runs.items()):
            pair = colours[:2] if len(runs) == 1 else [colours[number % len(colours)]] * 2
            _draw_run(axes, rows, quantity, (pair[0], pair[1]), name if len(runs) > 1 else "")
        axes.set(
            xlabel=say("epoch", "轮次"),
            ylabel=say("loss", "损失") if quantity == "loss" else say("accuracy", "准确率"),
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    if len(runs) == 1:
        for axes in panels:
            axes.legend(fontsize=9)
        figure.suptitle(next(iter(runs)))
    else:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_run(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    quantity: str,
    colours: tuple[str, str],
    name: str,
) -> None:
    held_out = "val" if not rows or "val_loss" in rows[0] else "test"
    epochs = np.array([row["epoch"] for row in rows])
    train = np.array([row[f"train_{quantity}"] for row in rows])
    other = np.array([row[f"{held_out}_{quantity}"] for row in rows])
    before = f"{name}, " if name else ""
    axes.plot(
        epochs, train, "o--", color=colours[0], markersize=4, label=before + say("train", "训练")
    )
    label = before + (say("val", "验证") if held_out == "val" else say("test", "测试"))
    axes.plot(epochs, other, "s-", color=colours[1], markersize=4, label=label)
    if not rows:
        return
    first = find_overfitting([row[f"{held_out}_loss"] for row in rows])
    gap = other - train if quantity == "loss" else train - other
    shaded = slice(first, None)
    label = before + say(
        "overfitting gap, {gap:.3f} at the end", "过拟合差距，末轮 {gap:.3f}", gap=gap[-1]
    )
    if first < len(rows) - 1 and (gap[shaded] > 0).any():
        axes.fill_between(
            *(epochs[shaded], train[shaded], other[shaded]),
            where=gap[shaded] > 0,
            interpolate=True,
            color=colours[1],
            alpha=0.18,
            label=label,
        )
        label = "" if name else say("lowest loss that was not trained on", "非训练数据上的最低损失")
        axes.axvline(epochs[first], color=colours[1], linestyle=":", linewidth=1.5, label=label)


def find_overfitting(losses: Sequence[float]) -> int:
    """The position from which a model overfits: that of the lowest held-out loss."""
    return int(np.argmin(losses))


@styled
def plot_confusion(confusion: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """A confusion matrix, int (C, C), rows true and columns predicted.

    Colour shows the share of the true class on a square-root scale, so that rare mistakes are
    seen beside a diagonal near 1.
    """
    num_classes = len(classes)
    side = min(max(5.0, 0.62 * num_classes + 2), 20.0)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for row, col in np.argwhere(confusion > 0) if num_classes <= 30 else ():
        colour = "white" if share[row, col] > 0.3 else "black"
        axes.text(col, row, f"{confusion[row, col]}", ha="center", va="center", color=colour)
    axes.set(xlabel=say("predicted", "预测类别"), ylabel=say("true", "真实类别"), title=title)
    if num_classes <= 60:
        names = [short(name) for name in classes]
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(num_classes), names, **(turned if max(map(len, names)) > 2 else {}))
        axes.set_yticks(range(num_classes), names)
    bar = figure.colorbar(
        image, ax=axes, shrink=0.8, label=say("share of the true class", "占真实类别的比例")
    )
    bar.set_ticks([0, 0.1**0.5, 0.5, 1], labels=["0", "0.1", "0.25", "1"])
    return figure


@styled
def plot_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probs: np.ndarray,
    classes: Sequence[str],
    num_most: int = 24,
    title: str = "",
) -> Figure:
    """The mistakes with the highest loss, worst first.

    images: uint8 (N, H, W); labels: int (N,); probs: float (N, C).
    """
    preds = probs.argmax(axis=1)
    wrong = np.flatnonzero(preds != labels)
    worst = wrong[np.argsort(probs[wrong, labels[wrong]], kind="stable")][:num_most]
    captions = [
        f"{short(classes[labels[i]])}\n"
        + say("read as {name}", "误判为 {name}", name=short(classes[preds[i]]))
        + f"\np = {probs[i, preds[i]]:.2f}, #{i}"
        for i in worst
    ]
    shown = say(
        "{n} worst of {wrong} mistakes in {total:,} images",
        "{total:,} 张图片中有 {wrong} 个错误，这里是最严重的 {n} 个",
        n=len(worst),
        wrong=len(wrong),
        total=len(labels),
    )
    return plot_images(images[worst], captions, f"{title}{': ' if title else ''}{shown}")


@styled
def plot_images(
    images: np.ndarray, captions: Sequence[str], title: str = "", num_cols: int = 8
) -> Figure:
    """A grid of grey images, uint8 (N, H, W), each under its caption; N may be 0."""
    num_rows = max(1, -(-len(images) // num_cols))
    figure = Figure(figsize=(1.5 * num_cols, 2.1 * num_rows + 0.5), layout="constrained")
    grid = figure.subplots(num_rows, num_cols, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(grid, images, captions, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=8)
    figure.suptitle(title)
    return figure


@styled
def plot_answers(
    pictures: Sequence[np.ndarray],
    seen: Sequence[np.ndarray],
    captions: Sequence[str],
    title: str = "",
    num_cols: int = 4,
) -> Figure:
    """For each picture the original, what the network saw beside it, and the answer above.

    pictures: grey uint8 (H, W) of any size; seen: uint8 (28, 28); at least one.
    """
    num_cols = min(num_cols, len(pictures))
    num_rows = -(-len(pictures) // num_cols)
    figure = Figure(figsize=(max(5.0, 3.2 * num_cols), 2.0 * num_rows + 0.4), layout="constrained")
    grid = figure.subplots(num_rows, 2 * num_cols, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    pairs = grid.reshape(-1, 2)
    for (left, right), picture, small, caption in zip(
        pairs, pictures, seen, captions, strict=False
    ):
        left.imshow(picture, cmap="gray", vmin=0, vmax=255)
        right.imshow(small, cmap="gray", vmin=0, vmax=255)
        left.set_title(caption, fontsize=9, loc="left")
    figure.suptitle(title)
    return figure


@styled
def render(figure: Figure, dpi: int = 80) -> np.ndarray:
    """A figure as pixels, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@styled
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix chooses PNG, SVG or PDF."""
    make_folder(path.parent)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def save_animation(frames: np.ndarray, path: Path, milliseconds: int = 170) -> None:
    """Write frames, uint8 (T, H, W, 3), as a GIF that begins anew after a while.

    All frames have one palette, made from a few of them, so that no colour flickers.
    """
    make_folder(path.parent)
    some = np.concatenate(frames[[len(frames) // 3, len(frames) // 2, -1]])
    colours = Image.fromarray(some).quantize(256, Image.Quantize.MAXCOVERAGE)
    pictures = [
        Image.fromarray(frame).quantize(palette=colours, dither=Image.Dither.NONE)
        for frame in frames
    ]
    times = [milliseconds] * (len(frames) - 1) + [10 * milliseconds]
    with replacing(path) as temporary:
        pictures[0].save(
            *(temporary, "GIF"), save_all=True, append_images=pictures[1:], duration=times, loop=0
        )
