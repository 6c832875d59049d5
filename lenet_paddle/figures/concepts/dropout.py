"""Dropout: a layer with and without it, and its mean over many draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.grid import DIVERGING, Cells, split
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, styled
from lenet_paddle.figures.subject import choose_picture, load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_dropout(config: VisualizeConfig) -> Drawn:
    """Draw dropout of 120 units, or of the run's last hidden layer for one digit."""
    import paddle

    from lenet_paddle.analysis.features import last_features

    paddle.seed(0)
    if config.run:
        subject, picture = load_subject(config), choose_picture(config)
        batch = subject.normalise(picture.image[None])
        units = last_features(subject.network, [batch])[0]
        title = say(
            "dropout, p = 0.5, of the last hidden layer on {name}",
            "最后一个隐藏层的丢弃法，p = 0.5，{name}",
            name=picture.name,
        )
    else:
        units = np.maximum(np.random.default_rng(0).normal(0.3, 1, 120), 0)
        title = say("dropout, p = 0.5, of 120 units", "120 个单元的丢弃法，p = 0.5")
    return {"dropout": plot_dropout(units, 0.5, title)}


def draw_masks(num_units: int, p: float, num_draws: int) -> np.ndarray:
    """Draw dropout's masks with Paddle's global generator: float32 (draws, units).

    A value is 0 with probability `p`, else 1 / (1 - p), which keeps the mean (Srivastava et al.
    2014, in the "inverted" form of all libraries).
    """
    import paddle
    from paddle.nn import functional

    ones = paddle.ones([num_draws, num_units])
    return functional.dropout(ones, p, training=True, mode="upscale_in_train").numpy()


@styled
def plot_dropout(units: np.ndarray, p: float = 0.5, title: str = "") -> Figure:
    """Plot units (n,) without dropout and in three draws, and the mean over many draws."""
    masks = draw_masks(len(units), p, 300)
    draws = units * masks
    figure = new_figure(10, 6.6)
    above, below = split(figure, 2, 1, height_ratios=(1, 1.1))
    top = float(np.abs(draws).max())
    signed = float(draws.min()) < 0
    limits, cmap = ((-top, top), DIVERGING) if signed else ((0.0, top), "viridis")
    panels = above.subplots(1, 4)
    cells = Cells(
        *(panels[0], _as_block(units), say("without", "不丢弃")),
        number=None,
        cmap=cmap,
        limits=limits,
    )
    panels[0].set_xlabel(say("mean {mean:.3f}", "均值 {mean:.3f}", mean=units.mean()))
    for n, axes in enumerate(panels[1:]):
        shown = _as_block(np.where(masks[n] == 0, np.nan, draws[n]))
        Cells(
            axes,
            shown,
            say("draw {n}", "第 {n} 次抽样", n=n + 1),
            number=None,
            cmap=cmap,
            limits=limits,
        )
        text = say(
            "{n} of {total} units dropped",
            "{total} 个单元丢弃了 {n} 个",
            n=int((masks[n] == 0).sum()),
            total=len(units),
        )
        axes.set_xlabel(
            say("mean {mean:.3f}", "均值 {mean:.3f}", mean=draws[n].mean()) + "\n" + text
        )
    above.colorbar(
        cells.image, ax=panels, shrink=0.7, label=say("value; grey: dropped", "值；灰色：已丢弃")
    )
    _draw_means(below.subplots(), draws, units, p)
    figure.suptitle(title)
    return figure


def _draw_means(axes: Axes, draws: np.ndarray, units: np.ndarray, p: float) -> None:
    counts = np.arange(1, len(draws) + 1)
    running = np.cumsum(draws.mean(axis=1)) / counts
    axes.axhline(
        units.mean(), color="black", linestyle=":", label=say("without dropout", "不用丢弃法")
    )
    axes.plot(
        counts,
        running,
        color=BLUE,
        label=say(
            "kept units × 1 / (1 − p) = {scale:g}",
            "保留的单元 × 1 / (1 − p) = {scale:g}",
            scale=1 / (1 - p),
        ),
    )
    axes.plot(
        counts,
        running * (1 - p),
        color=ORANGE,
        linestyle="--",
        label=say("kept units, unscaled", "保留的单元不缩放"),
    )
    axes.set(
        xlabel=say("draws", "抽样次数"),
        ylabel=say("mean of the layer over the draws", "该层在多次抽样中的均值"),
    )
    axes.axhline(0, color="0.6", linewidth=1)
    axes.grid(alpha=0.3)
    axes.legend()


def _as_block(values: np.ndarray) -> np.ndarray:
    """Arrange (n,) as a nearly square block; cells that remain are NaN."""
    root = int(np.ceil(np.sqrt(len(values))))
    width = next((w for w in range(root, 2 * root) if len(values) % w == 0), root)
    block = np.full(-(-len(values) // width) * width, np.nan)
    block[: len(values)] = values
    return block.reshape(-1, width)
