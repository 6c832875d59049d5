"""Features before the last layer, their projections, and the SVM on them."""

import sys

import numpy as np
import paddle
import pytest

from lenet_paddle.analysis.features import (
    last_features,
    project_pca,
    project_tsne,
    svm_accuracy,
)
from lenet_paddle.errors import InputError
from lenet_paddle.models import MODELS, build_model


@pytest.fixture
def clouds(rng):
    """Three well separated clouds of 60 points in 5 dimensions, and their labels."""
    labels = np.repeat([0, 1, 2], 60)
    return rng.normal(size=(180, 5)) + 20 * np.eye(3, 5)[labels], labels


@pytest.mark.parametrize("name", MODELS)
def test_the_last_layer_on_the_features_gives_the_logits(name, rng):
    network, side = build_model(name), MODELS[name][1]
    batches = [rng.normal(size=(n, 1, side, side)).astype(np.float32) for n in (3, 2)]
    features = last_features(network, batches)
    last = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.Linear)][-1]
    logits = features @ last.weight.numpy() + last.bias.numpy()
    expected = network(paddle.to_tensor(np.concatenate(batches))).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_pca_equals_the_eigenvectors_of_the_covariance(rng):
    features = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    places, shares = project_pca(features)
    values, vectors = np.linalg.eigh(np.cov(features.T))
    expected = (features - features.mean(axis=0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(places), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(shares, values[::-1][:2] / values.sum())


def test_tsne_keeps_clouds_apart(clouds):
    pytest.importorskip("sklearn")
    features, labels = clouds
    places = project_tsne(features)
    middles = np.stack([places[labels == label].mean(axis=0) for label in range(3)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, labels)
    np.testing.assert_array_equal(places, project_tsne(features))


def test_the_svm_is_fitted_on_train_and_measured_on_test(clouds):
    pytest.importorskip("sklearn")
    features, labels = clouds
    wrong = labels.copy()
    wrong[:45] = 1  # a quarter of 180
    assert svm_accuracy((features, labels), (features, labels)) == 1.0
    assert svm_accuracy((features, labels), (features, wrong)) == 0.75


def test_without_scikit_learn_the_extra_is_named(clouds, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(InputError, match=r"pip install '\.\[vision\]'"):
        project_tsne(clouds[0])
