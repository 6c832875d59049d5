"""Activations with their gradients, and their saturation measured in a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, count_shown, new_figure, spread, styled
from lenet_paddle.figures.subject import choose_pictures, load_images, load_subject, stack_images
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from paddle import nn

    from lenet_paddle.analysis.saturation import Saturation

MOST_LAYERS = 12  # that one figure has room for
NUM_IMAGES = 500  # test images on which saturation is measured; fewer of more than 32x32


def draw_activations(config: VisualizeConfig) -> Drawn:
    """Draw activations and their gradients, with --run also the saturation in its model."""
    from lenet_paddle.analysis.hooks import fitting
    from lenet_paddle.analysis.saturation import measure_saturation

    if not config.run:
        title = say(
            "activations (solid) and their gradients (dashed)",
            "激活函数（实线）及其梯度（虚线）",
        )
        return {"activations": plot_activations([], title)}
    subject = load_subject(config)
    if config.images:
        images = stack_images(choose_pictures(config, 1))
        title = say(
            "activations; below: their inputs in {run}, {n} chosen pictures",
            "激活函数；下方：{run} 各激活层的输入，所选的 {n} 张图片",
            run=subject.about,
            n=len(images),
        )
    else:
        image_set, dataset = load_images(config)
        images = image_set.images[: fitting(NUM_IMAGES, subject.side)]
        title = say(
            "activations; below: their inputs in {run}, {n} {dataset} test images",
            "激活函数；下方：{run} 中各激活层的输入，{n} 张 {dataset} 测试图片",
            run=subject.about,
            n=len(images),
            dataset=dataset,
        )
    measured = measure_saturation(subject.network, subject.normalise(images))
    return {"activations": plot_activations(measured, title)}


@styled
def plot_activations(measured: list[Saturation], title: str = "") -> Figure:
    """Plot four activations with their gradients, and below them what was measured in a model."""
    from paddle import nn

    every, measured = measured, spread(measured, MOST_LAYERS)
    title += count_shown(measured, every)
    num_rows = 1 + -(-len(measured) // 4)
    figure = new_figure(10, 3.1 * num_rows + 0.4)
    panels = figure.subplots(num_rows, 4, squeeze=False).ravel()
    kinds = {
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "ReLU": nn.ReLU(),
        say("leaky ReLU, slope {slope}", "带泄漏的 ReLU，斜率 {slope}", slope=0.01): nn.LeakyReLU(
            0.01
        ),
    }
    for axes, (name, layer) in zip(panels, kinds.items(), strict=False):
        _draw_activation(axes, name, layer)
    panels[0].legend(fontsize=8, loc="upper left")
    for axes in panels[4:]:
        axes.axis("off")
    for axes, saturation in zip(panels[4:], measured, strict=False):
        _draw_saturation(axes, saturation)
    figure.suptitle(title)
    return figure


def _draw_activation(axes: Axes, name: str, layer: nn.Layer) -> None:
    from lenet_paddle.analysis.saturation import SATURATED, activate

    inputs = np.linspace(-8, 8, 801)
    outputs, gradients = activate(layer, inputs)
    axes.plot(inputs, outputs, color=BLUE, linewidth=2, label=say("value", "函数值"))
    axes.plot(
        inputs, gradients, color=ORANGE, linewidth=2, linestyle="--", label=say("gradient", "梯度")
    )
    lost = gradients < SATURATED * gradients.max()
    axes.fill_between(
        inputs, -1.2, 2, where=lost, color="0.88", label=say("gradient lost", "饱和，几乎没有梯度")
    )
    axes.set(title=name, ylim=(-1.2, 2), xlim=(-8, 8))
    axes.set_xlabel(
        say("greatest gradient {value:.3g}", "最大梯度 {value:.3g}", value=gradients.max())
    )
    axes.grid(alpha=0.3)


def _draw_saturation(axes: Axes, saturation: Saturation) -> None:
    axes.axis("on")
    parts = [saturation.inputs[~saturation.lost], saturation.inputs[saturation.lost]]
    low, high = np.percentile(saturation.inputs, (0.1, 99.9))
    axes.hist(parts, bins=60, range=(low, high), stacked=True, color=(BLUE, ORANGE))
    axes.set_title(saturation.name, fontsize=10)
    axes.set_xlabel(
        say(
            "input; orange: gradient lost,\n{lost:.1%} of all values;\n"
            "on every image in {always:.1%} of the units",
            "输入；橙色：饱和，几乎没有梯度，\n占全部数值的 {lost:.1%}；\n"
            "{always:.1%} 的单元对每张图片都如此",
            lost=saturation.lost.mean(),
            always=saturation.always,
        ),
        fontsize=8,
    )
    axes.set_yticks([])
