"""Which pixels an answer rests on, by four methods of `analysis.attribution`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.figures.grid import DIVERGING, as_pictures, seen
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import label_classes, new_figure, styled
from lenet_paddle.figures.subject import choose_pictures, load_subject, stack_images
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from paddle import nn

Method = tuple[str, np.ndarray, Sequence[str]]
"""A method's name, its maps (B, h, w), and a note for each picture."""

_log = logging.getLogger(__name__)


def draw_saliency(config: VisualizeConfig) -> Drawn:
    """Draw the pixels that count for an answer: gradients, Grad-CAM, occlusion."""
    from lenet_paddle.analysis.attribution import cam_layer
    from lenet_paddle.evaluation.evaluate import compute_logits

    subject = load_subject(config)
    pictures = choose_pictures(config, 5)
    network, batch = subject.network, subject.normalise(stack_images(pictures))
    logits = compute_logits(network, batch)
    answers, probs = logits.argmax(axis=1), compute_probs(logits)
    names = label_classes(subject.classes)
    captions = [
        say(
            "{name}: {answer}, p = {p:.3f}",
            "{name}：{answer}，p = {p:.3f}",
            name=picture.label,
            answer=names[k],
            p=own[k],
        )
        for picture, k, own in zip(pictures, answers, probs, strict=True)
    ]
    layer = config.layer or cam_layer(network, subject.side, subject.channels)
    if layer is None:
        _log.info("%s has no convolution: Grad-CAM cannot be drawn", subject.config.model)
    methods = explain(network, batch, answers, layer)
    title = say(
        "{run}: pixels for the answer (blue) and against it (red)",
        "{run}：支持（蓝）与反对（红）所给答案的像素",
        run=subject.about,
    )
    return {"saliency": plot_saliency(as_pictures(batch), captions, methods, title)}


def explain(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray, layer: str | None
) -> list[Method]:
    """Run all methods; Grad-CAM only with a `layer`."""
    from lenet_paddle.analysis.attribution import (
        compute_slopes,
        grad_cam,
        integrated_gradients,
        logit_gains,
        occlude,
        patch_size,
    )

    slopes = compute_slopes(network, batch, labels)
    integrated = integrated_gradients(network, batch, labels)
    gains = logit_gains(network, batch, labels)
    hidden = occlude(network, batch, labels)
    methods: list[Method] = [
        (
            say("gradient\nSimonyan et al. 2013", "梯度\nSimonyan 等 2013"),
            slopes,
            [
                say("steepest {value:.2f}", "最大斜率 {value:.2f}", value=np.abs(each).max())
                for each in slopes
            ],
        ),
        (
            say("integrated gradients\nSundararajan et al. 2017", "积分梯度\nSundararajan 等 2017"),
            integrated,
            [
                say(
                    "sum {sum:.2f}, logit gain {gain:.2f}",
                    "总和 {sum:.2f}，logit 增量 {gain:.2f}",
                    sum=each.sum(),
                    gain=gain,
                )
                for each, gain in zip(integrated, gains, strict=True)
            ],
        ),
        (
            say(
                "occlusion by {n}x{n}\nZeiler and Fergus 2014",
                "{n}x{n} 遮挡\nZeiler 与 Fergus 2014",
                n=patch_size(batch.shape[-1]),
            ),
            hidden,
            [
                say(
                    "logit falls by up to {value:.1f}",
                    "logit 最多下降 {value:.1f}",
                    value=max(each.max(), 0.0),  # where it only rises
                )
                for each in hidden
            ],
        ),
    ]
    if layer is not None:
        maps = grad_cam(network, batch, labels, layer)
        notes = [say("up to {value:.2g}", "最大 {value:.2g}", value=each.max()) for each in maps]
        methods.insert(
            2,
            (
                say(
                    "Grad-CAM at {layer}\nSelvaraju et al. 2017",
                    "Grad-CAM，{layer}\nSelvaraju 等 2017",
                    layer=layer,
                ),
                maps,
                notes,
            ),
        )
    return methods


@styled
def plot_saliency(
    pictures: np.ndarray,
    captions: Sequence[str],
    methods: Sequence[Method],
    title: str = "",
) -> Figure:
    """Plot a row for each picture: itself, then each method's map.

    pictures: normalised float32 (B, S, S) or (B, S, S, 3). A map with negative values is blue for
    the class, red against it, white at 0; one without goes from dark to bright. Each map has its
    own scale.
    """
    num_rows, num_cols = len(pictures), len(methods) + 1
    figure = new_figure(10, num_rows * (9.6 / num_cols + 0.3) + 0.95)
    grid = figure.subplots(num_rows, num_cols, squeeze=False)
    for row, (axes_row, picture, caption) in enumerate(zip(grid, pictures, captions, strict=True)):
        seen(axes_row[0], picture)
        axes_row[0].set(xticks=[], yticks=[])
        axes_row[0].set_xlabel(caption, fontsize=8.5)
        for axes, (_, maps, notes) in zip(axes_row[1:], methods, strict=True):
            _show_map(axes, picture, maps[row])
            axes.set_xlabel(notes[row], fontsize=8.5)
    for axes, (name, *_) in zip(grid[0, 1:], methods, strict=True):
        axes.set_title(name, fontsize=9)
    grid[0, 0].set_title(say("what the network sees", "网络看到的图片"), fontsize=9)
    figure.suptitle(title, fontsize=12)
    return figure


def _show_map(axes: Axes, picture: np.ndarray, values: np.ndarray) -> None:
    """Show a map with the outline of a grey picture, or over the lightness of one in colour."""
    side = len(picture)
    place = (-0.5, side - 0.5, side - 0.5, -0.5)
    colour: dict[str, Any] = {}
    if picture.ndim == 3:
        seen(axes, picture.mean(axis=2))
        colour = {"alpha": 0.7}
    if values.min() < 0 or values.shape == picture.shape:
        limit = np.abs(values).max() or 1.0
        axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, extent=place, **colour)
        outline: dict[str, Any] = {"colors": "black", "linewidths": 0.5, "alpha": 0.6}
    else:
        top = float(values.max()) or 1.0
        smooth = {"interpolation": "bilinear", **colour}
        axes.imshow(values, vmin=0, vmax=top, extent=place, **smooth)
        outline = {"colors": "white", "linewidths": 0.8}
    if not colour:
        axes.contour(picture, levels=[0], **outline)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
