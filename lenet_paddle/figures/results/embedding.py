"""The last hidden layer's features: seen in two dimensions, and given to another classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from paddle import nn

from lenet_paddle.analysis.hooks import layer_inputs, leaf_layers
from lenet_paddle.errors import InputError
from lenet_paddle.figures.style import BLUE, ORANGE, short, styled
from lenet_paddle.figures.words import say

# Paul Tol's muted scheme and black: ten colours that colour-blind eyes tell apart; the names in
# the middle of each cloud say the same without colour.
COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000"),
)


def last_features(network: nn.Layer, batches: Sequence[np.ndarray]) -> np.ndarray:
    """What goes into the last dense layer, float32 (N, F), for normalised batches (B, 1, S, S).

    Raises `InputError` for a network without a dense layer.
    """
    layers = leaf_layers(network)
    dense = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    if not dense:
        raise InputError("the network has no dense layer; expected one that ends in a Linear")
    last = {dense[-1]: layers[dense[-1]]}
    return np.concatenate([layer_inputs(network, batch, last)[dense[-1]] for batch in batches])


def project_pca(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two directions of largest variance: places float64 (N, 2), their shares of the variance.

    By the singular value decomposition of the centred features, (N, F).
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * singular[:2], (singular**2 / (singular**2).sum())[:2]


def project_tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE, float64 (N, 2): neighbours stay neighbours, distances between clouds say little.

    van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008, by scikit-learn.
    """
    manifold = _learn("sklearn.manifold")
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = manifold.TSNE(2, init="pca", perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(features).astype(np.float64)


def svm_accuracy(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> float:
    """Test accuracy of an SVM with an RBF kernel (C = 1) on (features, labels), standardised by
    the training features."""
    svm, preprocessing = _learn("sklearn.svm"), _learn("sklearn.preprocessing")
    scaler = preprocessing.StandardScaler().fit(train[0])
    machine = svm.SVC().fit(scaler.transform(train[0]), train[1])
    return float(np.mean(machine.predict(scaler.transform(test[0])) == test[1]))


def _learn(module: str) -> Any:
    """A module of scikit-learn, which is an extra."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            "scikit-learn is not installed; install the extra: pip install '.[vision]'"
        ) from None


@styled
def plot_embedding(
    places: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    accuracies: Mapping[str, float],
    title: str = "",
) -> Figure:
    """Projections side by side, name -> (N, 2), coloured by class, over a bar for each accuracy.

    accuracies: what was measured -> share of right answers.
    """
    figure = Figure(figsize=(10, 5.6 + 0.35 * len(accuracies)), layout="constrained")
    figure.suptitle(title, fontsize=12)
    above, below = figure.subfigures(
        2, 1, squeeze=False, height_ratios=(5, 0.6 + 0.35 * len(accuracies))
    ).ravel()
    for axes, (name, points) in zip(
        np.ravel(above.subplots(1, len(places))), places.items(), strict=True
    ):
        _scatter(axes, points, labels, classes)
        axes.set_title(name, fontsize=10)
    _draw_bars(below.subplots(), accuracies)
    return figure


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
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
    """Accuracies on an axis from 0 to 1, with their numbers."""
    names = list(accuracies)
    axes.barh(names, list(accuracies.values()), color=[BLUE, ORANGE][: len(names)])
    for row, value in enumerate(accuracies.values()):
        axes.text(value - 0.01, row, f"{value:.4f}", ha="right", va="center", color="white")
    axes.set(xlim=(0, 1), xlabel=say("test accuracy", "测试准确率"))
    axes.invert_yaxis()
    axes.tick_params(labelsize=9)
