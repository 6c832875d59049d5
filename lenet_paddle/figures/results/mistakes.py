"""The mistakes with the highest loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.results.images import plot_images
from lenet_paddle.figures.style import label_classes, short, styled
from lenet_paddle.figures.subject import load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_mistakes(config: VisualizeConfig) -> Drawn:
    """Draw the test images with the worst mistakes."""
    subject = load_subject(config)
    test_set, logits, title = subject.predict_test_set()
    figure = plot_mistakes(
        test_set.images, test_set.labels, compute_probs(logits), test_set.classes, title=title
    )
    return {"mistakes": figure}


@styled
def plot_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probs: np.ndarray,
    classes: Sequence[str],
    num_most: int = 24,
    title: str = "",
) -> Figure:
    """Plot the `num_most` mistakes with the highest loss, worst first.

    images: uint8 (N, H, W) or (N, H, W, 3); labels: int (N,); probs: float (N, C).
    """
    preds, names = probs.argmax(axis=1), label_classes(classes)
    wrong = np.flatnonzero(preds != labels)
    worst = wrong[np.argsort(probs[wrong, labels[wrong]], kind="stable")][:num_most]
    captions = [
        f"{short(names[labels[i]])}\n"
        + say("read as {name}", "误判为 {name}", name=short(names[preds[i]]))
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
