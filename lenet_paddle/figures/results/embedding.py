"""The last hidden layer's features by PCA and t-SNE, and the accuracy of an SVM on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, label_classes, new_figure, short, styled
from lenet_paddle.figures.subject import Subject, load_subject
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS, SVM_IMAGES = 2000, 10_000  # t-SNE and SVM take time that grows with their squares
# Paul Tol's muted scheme and black: ten colours for the colour-blind too.
COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000"),
)


def draw_embedding(config: VisualizeConfig) -> Drawn:
    """Draw the last hidden layer's features by PCA and t-SNE, and an SVM's accuracy."""
    from lenet_paddle.analysis.features import project_pca, project_tsne, svm_accuracy

    subject = load_subject(config)
    test_set, logits, _ = subject.predict_test_set()
    [train_set] = load_data(subject.config, "train", classes=subject.classes)
    trained_on, train_set = len(train_set), train_set.take(slice(0, SVM_IMAGES))
    train, test = _compute_features(subject, train_set), _compute_features(subject, test_set)
    shown = np.arange(0, len(test_set), -(-len(test_set) // MOST_POINTS))  # of every class
    plane, shares = project_pca(test[shown])
    places = {
        say(
            "PCA: {share:.0%} of the variance", "PCA：占方差的 {share:.0%}", share=shares.sum()
        ): plane,
        say("t-SNE", "t-SNE"): project_tsne(test[shown]),
    }
    by_svm = svm_accuracy((train, train_set.labels), (test, test_set.labels))
    accuracies = {
        say(
            "its own last layer, {n:,} training images",
            "网络自己的最后一层，{n:,} 张训练图片",
            n=trained_on,
        ): float(np.mean(logits.argmax(axis=1) == test_set.labels)),
        say("SVM, {n:,} training images", "SVM，{n:,} 张训练图片", n=len(train_set)): by_svm,
    }
    title = say(
        "{run}: the {n} features before the last layer, {count:,} test images",
        "{run}：最后一层之前的 {n} 个特征，{count:,} 张测试图片",
        run=subject.about,
        n=test.shape[1],
        count=len(plane),
    )
    labels = test_set.labels[shown]
    figure = plot_embedding(places, labels, subject.classes, accuracies, title)
    return {"embedding": figure}


def _compute_features(subject: Subject, image_set: ImageSet) -> np.ndarray:
    from lenet_paddle.analysis.features import last_features

    loader = BatchLoader(image_set, 256, input_size=subject.side)
    return last_features(subject.network, [images for images, _ in loader])


@styled
def plot_embedding(
    places: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    accuracies: Mapping[str, float],
    title: str = "",
) -> Figure:
    """Plot projections, name -> (N, 2), coloured by class, and a bar for each accuracy.

    labels: int (N,); accuracies: what was measured -> accuracy in [0, 1].
    """
    figure = new_figure(10, 5.6 + 0.35 * len(accuracies))
    figure.suptitle(title, fontsize=12)
    above, below = figure.subfigures(
        2, 1, squeeze=False, height_ratios=(5, 0.6 + 0.35 * len(accuracies))
    ).ravel()
    for axes, (name, points) in zip(
        np.ravel(above.subplots(1, len(places))), places.items(), strict=True
    ):
        _scatter(axes, points, labels, label_classes(classes))
        axes.set_title(name, fontsize=10)
    _draw_bars(below.subplots(), accuracies)
    return figure


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    from matplotlib.patheffects import withStroke

    for label in np.unique(labels):
        own = points[labels == label]
        colour = COLOURS[label % len(COLOURS)]
        axes.scatter(own[:, 0], own[:, 1], s=9, color=colour, alpha=0.55, linewidths=0)
    for label in np.unique(labels):
        middle = np.median(points[labels == label], axis=0)
        axes.text(
            middle[0],
            middle[1],
            short(classes[label]),
            fontsize=14 if max(map(len, classes)) <= 2 else 9,
            fontweight="bold",
            color=COLOURS[label % len(COLOURS)],
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axes.set(xticks=[], yticks=[])


def _draw_bars(axes: Axes, accuracies: Mapping[str, float]) -> None:
    """Draw accuracies as bars with their numbers."""
    names = list(accuracies)
    axes.barh(names, list(accuracies.values()), color=[BLUE, ORANGE][: len(names)])
    for row, value in enumerate(accuracies.values()):
        axes.text(value - 0.01, row, f"{value:.4f}", ha="right", va="center", color="white")
    axes.set(xlim=(0, 1), xlabel=say("test accuracy", "测试准确率"))
    axes.invert_yaxis()
    axes.tick_params(labelsize=9)
