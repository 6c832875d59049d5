"""From the Neocognitron to today: a timeline, and errors in ImageNet's challenge.

Top-5 errors of the classification task, as their papers or the challenge (Russakovsky et al. 2015,
arXiv 1409.0575) give them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Entry(NamedTuple):
    """A network in ImageNet's challenge."""

    year: int
    name: str
    error: float
    """Percent of the test pictures whose class is not among five guesses."""
    layers: int | None
    """Layers with weights; 0: features made by hand; None: not published."""


ENTRIES = (
    Entry(2010, "NEC-UIUC", 28.2, 0),
    Entry(2011, "XRCE", 25.8, 0),
    Entry(2012, "AlexNet", 15.3, 8),
    Entry(2013, "ZFNet", 14.8, 8),
    Entry(2013, "Clarifai", 11.2, None),
    Entry(2014, "VGG", 7.3, 19),
    Entry(2014, "GoogLeNet", 6.67, 22),
    Entry(2015, "ResNet", 3.57, 152),
)
PERSON = 5.1
YEARS = {
    1980: "Neocognitron",
    1989: "LeNet",
    1998: "LeNet-5",
    2009: "ImageNet",
    2012: "AlexNet",
    2015: "ResNet",
    2017: "MobileNet",
    2020: "ViT",
}


def draw_history(config: VisualizeConfig) -> Drawn:
    """Draw forty years of networks, and errors in ImageNet's challenge."""
    return {"history": plot_history()}


@styled
def plot_history() -> Figure:
    """Plot the timeline, and below it a bar for each entry."""
    figure = new_figure(10, 5.2)
    above, below = figure.subplots(2, 1, height_ratios=(1, 2.6))
    above.axhline(0, color="0.6", linewidth=2, zorder=1)
    above.scatter(list(YEARS), [0] * len(YEARS), s=60, color=BLUE, zorder=2)
    for number, (year, name) in enumerate(YEARS.items()):
        side = 1 if number % 2 else -1
        place = {"ha": "center", "va": "bottom" if side > 0 else "top"}
        above.text(year, 0.25 * side, f"{year}\n{name}", fontsize=9, **place)
    above.set(ylim=(-1.3, 1.3), xlim=(1977, 2023))
    above.axis("off")
    names = [f"{entry.name}\n{entry.year}" for entry in ENTRIES]
    colours = ["0.6" if entry.layers == 0 else BLUE for entry in ENTRIES]
    labels = [f"{entry.error:g} %\n{_describe(entry)}".rstrip() for entry in ENTRIES]
    bars = below.bar(
        [*names, say("a practised\nperson", "受过训练\n的人")],
        [*(entry.error for entry in ENTRIES), PERSON],
        color=[*colours, ORANGE],
    )
    below.bar_label(bars, [*labels, f"{PERSON} %"], fontsize=9)
    below.set(ylim=(0, 34), ylabel=say("top-5 error", "前 5 错误率"))
    below.spines[["top", "right"]].set_visible(False)
    return figure


def _describe(entry: Entry) -> str:
    if entry.layers is None:
        return ""
    return (
        say("{n} layers", "{n} 层", n=entry.layers) if entry.layers else say("by hand", "人工特征")
    )
