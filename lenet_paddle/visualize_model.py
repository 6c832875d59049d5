"""The figures that need a network: runs and pictures loaded, given to `explain/`.

Each function takes the settings of `tools/visualize.py` and returns file stem -> Figure;
`MODEL_DRAWINGS` names them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.config import InputError
from lenet_paddle.visualize_input import Settings, Subject, choose_pictures, load_subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lenet_paddle.data.imageset import ImageSet

PICTURES_FOR_FIELDS = 128  # over which the effective receptive field is averaged
POINTS_SHOWN, SVM_IMAGES = 2000, 10_000  # t-SNE and SVM grow with the square of these
MOST_FIELDS = 7  # layers in the figure of receptive fields
_log = logging.getLogger(__name__)


def _stems(what: str, names: list[str]) -> list[str]:
    """A file stem for each picture: `what` for one, else with its name, told apart by a number."""
    if len(names) == 1:
        return [what]
    plain = [f"{what}-{name.removeprefix('#')}" for name in names]
    return [
        stem if plain.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(plain)
    ]


def draw_operators(settings: Settings) -> dict[str, Figure]:
    """The family of the convolution, with its numbers; no run is needed."""
    from lenet_paddle.explain.operator_cards import plot_operators
    from lenet_paddle.explain.operators import make_operators

    return {"operators": plot_operators(make_operators())}


def draw_filters(settings: Settings) -> dict[str, Figure]:
    """Each convolution's kernels."""
    from paddle import nn

    from lenet_paddle.explain.hooks import caption, leaf_layers
    from lenet_paddle.explain.views import plot_filters
    from lenet_paddle.explain.words import say

    subject = load_subject(settings)
    subject.need_convolution("kernel")
    kernels = {
        caption(name, layer): layer.weight.numpy()
        for name, layer in leaf_layers(subject.network).items()
        if isinstance(layer, nn.Conv2D)
    }
    return {"filters": plot_filters(kernels, say("kernels of {run}", run=subject.name))}


def draw_features(settings: Settings) -> dict[str, Figure]:
    """Every layer's output for each picture, and ten pictures by all kernels of one layer."""
    from lenet_paddle.explain.hooks import caption, layer_outputs, leaf_layers
    from lenet_paddle.explain.views import plot_features
    from lenet_paddle.explain.words import say

    subject = load_subject(settings)
    pictures = choose_pictures(settings, subject, 1)
    layers, batch = leaf_layers(subject.network), subject.normalise(pictures.images)
    outputs = layer_outputs(subject.network, batch)
    figures = {}
    for row, (name, stem) in enumerate(
        zip(pictures.names, _stems("features", pictures.names), strict=True)
    ):
        own = {caption(layer, layers[layer]): values[row] for layer, values in outputs.items()}
        title = say("{run}: what every layer makes of {name}", run=subject.name, name=name)
        figures[stem] = plot_features(batch[row, 0], own, title)
    return figures | _draw_feature_grid(settings, subject)


def _draw_feature_grid(settings: Settings, subject: Subject) -> dict[str, Figure]:
    from paddle import nn

    from lenet_paddle.explain.hooks import caption, layer_outputs, leaf_layers
    from lenet_paddle.explain.views import plot_feature_grid
    from lenet_paddle.explain.words import say

    name = settings.layer or subject.first_convolution
    if name is None:
        _log.info("%s has no feature maps: no grid of them is drawn", subject.config.model)
        return {}
    pictures = choose_pictures(settings, subject, 10)
    batch = subject.normalise(pictures.images)
    outputs = layer_outputs(subject.network, batch)
    if name not in outputs or outputs[name].ndim != 4:
        maps = [layer for layer, output in outputs.items() if output.ndim == 4]
        raise InputError(
            f"layer {name!r} has no feature maps; expected one of {', '.join(maps) or 'none'}"
        )
    layer = leaf_layers(subject.network)[name]
    is_first = isinstance(layer, nn.Conv2D) and layer.weight.shape[1] == 1
    kernels = layer.weight.numpy()[:, 0] if is_first else None
    title = say("{layer}: {n} pictures by its kernels", layer=caption(name, layer), n=len(batch))
    return {"features-grid": plot_feature_grid(batch[:, 0], outputs[name], kernels, title)}


def draw_edges(settings: Settings) -> dict[str, Figure]:
    """Canny, SIFT and Harris beside the first layer's maps."""
    from lenet_paddle.data.preprocess import shrink
    from lenet_paddle.explain.detectors import detect, plot_edges
    from lenet_paddle.explain.hooks import layer_outputs
    from lenet_paddle.explain.words import say

    subject = load_subject(settings)
    pictures = choose_pictures(settings, subject, 1)
    name = subject.first_convolution
    if name is None:
        _log.info("%s has no convolution: no maps beside the edges", subject.config.model)
    outputs = layer_outputs(subject.network, subject.normalise(pictures.images))
    figures = {}
    for row, (picture, stem) in enumerate(
        zip(pictures.names, _stems("edges", pictures.names), strict=True)
    ):
        maps = None if name is None else outputs[name][row]
        found = detect(shrink(pictures.originals[row], 400))
        title = say("made by hand and learned: {name}, {run}", name=picture, run=subject.name)
        figures[stem] = plot_edges(found, maps, title)
    return figures


def draw_receptive_field(settings: Settings) -> dict[str, Figure]:
    """What the middle unit of every layer sees."""
    from lenet_paddle.data import load_test_set
    from lenet_paddle.explain.receptive import (
        effective_fields,
        plot_receptive_fields,
        receptive_fields,
    )
    from lenet_paddle.explain.views import spread
    from lenet_paddle.explain.words import say

    subject = load_subject(settings)
    subject.need_convolution("receptive field smaller than the picture")
    fields = spread(receptive_fields(subject.network, subject.side), MOST_FIELDS)
    picture = choose_pictures(settings, subject, 1).images[:1]
    test_set = load_test_set(subject.config, subject.classes)
    effective = effective_fields(
        subject.network,
        subject.normalise(test_set.images[:PICTURES_FOR_FIELDS]),
        [field.layer for field in fields],
    )
    title = say("{run}: what the middle unit of each layer sees", run=subject.name)
    figure = plot_receptive_fields(subject.normalise(picture)[0, 0], fields, effective, title)
    return {"receptive-field": figure}


def draw_saliency(settings: Settings) -> dict[str, Figure]:
    """Gradient, integrated gradients, Grad-CAM and occlusion for the predicted class."""
    from lenet_paddle.evaluation.evaluate import compute_logits
    from lenet_paddle.evaluation.metrics import compute_probs
    from lenet_paddle.explain import attribution
    from lenet_paddle.explain.words import say

    subject = load_subject(settings)
    pictures = choose_pictures(settings, subject, 5)
    network, batch = subject.network, subject.normalise(pictures.images)
    logits = compute_logits(network, batch)
    answers, probs = logits.argmax(axis=1), compute_probs(logits)
    captions = [
        say("{name}: {answer}, p = {p:.3f}", name=name, answer=subject.classes[k], p=own[k])
        for name, k, own in zip(pictures.names, answers, probs, strict=True)
    ]
    layer = settings.layer or attribution.cam_layer(network, subject.side)
    if layer is None:
        _log.info("%s has no convolution: Grad-CAM cannot be drawn", subject.config.model)
    methods = attribution.explain(network, batch, answers, layer)
    title = say(
        "{run}: pixels that speak for the answer (red), against it (blue)", run=subject.name
    )
    return {"saliency": attribution.plot_saliency(batch[:, 0], captions, methods, title)}


def draw_embedding(settings: Settings) -> dict[str, Figure]:
    """The last hidden layer's features by PCA and t-SNE, and an SVM on them."""
    from lenet_paddle.data import load_data, load_test_set
    from lenet_paddle.evaluation.evaluate import predict_logits
    from lenet_paddle.explain import embedding
    from lenet_paddle.explain.words import say

    subject = load_subject(settings)
    test_set = load_test_set(subject.config, subject.classes)
    [train_set] = load_data(subject.config, "train")
    trained_on, train_set = len(train_set), train_set.take(slice(0, SVM_IMAGES))
    train, test = _last_features(subject, train_set), _last_features(subject, test_set)
    shown = slice(0, POINTS_SHOWN)
    plane, shares = embedding.project_pca(test[shown])
    places = {
        say("PCA: {share:.0%} of the variance", share=shares.sum()): plane,
        say("t-SNE"): embedding.project_tsne(test[shown]),
    }
    answers = predict_logits(subject.network, test_set, subject.side).argmax(axis=1)
    by_svm = embedding.svm_accuracy((train, train_set.labels), (test, test_set.labels))
    accuracies = {
        say("own last layer, {n:,} training images", n=trained_on): float(
            np.mean(answers == test_set.labels)
        ),
        say("SVM, {n:,} training images", n=len(train_set)): by_svm,
    }
    title = say(
        "{run}: the {n} features before the last layer, {count:,} test images",
        run=subject.name,
        n=test.shape[1],
        count=len(plane),
    )
    labels = test_set.labels[shown]
    figure = embedding.plot_embedding(places, labels, subject.classes, accuracies, title)
    return {"embedding": figure}


def _last_features(subject: Subject, image_set: ImageSet) -> np.ndarray:
    from lenet_paddle.data.loader import BatchLoader
    from lenet_paddle.explain.embedding import last_features

    loader = BatchLoader(image_set, 256, input_size=subject.side)
    return last_features(subject.network, [images for images, _ in loader])


def draw_architecture(settings: Settings) -> dict[str, Figure]:
    """The run's network; without a run every network of `MODELS`, freshly initialised."""
    from lenet_paddle.data import load_dataset
    from lenet_paddle.data.preprocess import normalise
    from lenet_paddle.explain.architecture import plot_architecture
    from lenet_paddle.models import MODELS, build_model

    if settings.run:
        subject = load_subject(settings)
        picture = subject.normalise(choose_pictures(settings, subject, 1).images[:1])
        figure = plot_architecture(subject.network, picture, subject.config.model, subject.classes)
        return {"architecture": figure}
    images = load_dataset("mnist", "test").images[:1]
    return {
        f"architecture-{name}": plot_architecture(build_model(name), normalise(images, side), name)
        for name, (_, side) in MODELS.items()
    }


MODEL_DRAWINGS: dict[str, Callable[[Settings], dict[str, Figure]]] = {
    "operators": draw_operators,
    "filters": draw_filters,
    "features": draw_features,
    "edges": draw_edges,
    "receptive-field": draw_receptive_field,
    "saliency": draw_saliency,
    "embedding": draw_embedding,
    "architecture": draw_architecture,
}
