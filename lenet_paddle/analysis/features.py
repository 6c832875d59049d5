"""The last hidden layer's features: projections to two dimensions, and an SVM on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from paddle import nn

from lenet_paddle.analysis.hooks import layer_inputs, leaf_layers
from lenet_paddle.errors import InputError


def last_features(network: nn.Layer, batches: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the inputs of the last dense layer, float32 (N, F), for batches (B, C, S, S).

    Raises `InputError` for a network without a dense layer.
    """
    layers = leaf_layers(network)
    dense = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    if not dense:
        raise InputError("the network has no dense layer; expected one that ends in a Linear")
    last = {dense[-1]: layers[dense[-1]]}
    return np.concatenate([layer_inputs(network, batch, last)[dense[-1]] for batch in batches])


def project_pca(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project features (N, F) on the two directions of largest variance.

    Returns places, float64 (N, 2), and the directions' shares of the variance, by the singular
    value decomposition of the centred features.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * singular[:2], (singular**2 / (singular**2).sum())[:2]


def project_tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Project features (N, F) by t-SNE: float64 (N, 2).

    Neighbours stay neighbours; distances between clouds mean little. Van der Maaten and Hinton,
    "Visualizing Data using t-SNE", JMLR 2008, by scikit-learn.
    """
    manifold = _import_sklearn("sklearn.manifold")
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = manifold.TSNE(2, init="pca", perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(features).astype(np.float64)


def svm_accuracy(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> float:
    """Fit an SVM with an RBF kernel (C = 1) on (features, labels) and return its test accuracy.

    The features are standardised by the training features.
    """
    svm, preprocessing = _import_sklearn("sklearn.svm"), _import_sklearn("sklearn.preprocessing")
    scaler = preprocessing.StandardScaler().fit(train[0])
    machine = svm.SVC().fit(scaler.transform(train[0]), train[1])
    return float(np.mean(machine.predict(scaler.transform(test[0])) == test[1]))


def _import_sklearn(module: str) -> Any:
    """Import a module of scikit-learn, which is an extra."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            "scikit-learn is not installed; install the extra: pip install '.[vision]'"
        ) from None
