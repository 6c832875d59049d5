"""The figures that need a trained network: runs and pictures loaded, given to `explain/`.

Each function takes the settings of `tools/visualize.py` and returns file stem -> Figure;
`MODEL_DRAWINGS` names them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lenet_paddle.config import DatasetName, InputError, TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from paddle import nn

    from lenet_paddle.data.imageset import ImageSet

PICTURES_FOR_FIELDS = 128  # over which the effective receptive field is averaged
POINTS_SHOWN, SVM_IMAGES = 2000, 10_000  # t-SNE and SVM grow with the square of these
MOST_FIELDS = 7  # layers in the figure of receptive fields
_log = logging.getLogger(__name__)


class Settings(Protocol):
    """What is read of `visualize.VisualizeConfig`."""

    @property
    def run(self) -> list[str]:
        """Folders of runs."""

    @property
    def checkpoint(self) -> str:
        """best, latest, or one such as epoch_0005."""

    @property
    def images(self) -> list[str]:
        """Positions of test images, or picture files."""

    @property
    def dataset(self) -> DatasetName | None:
        """Another data set than the run's own."""

    @property
    def data_dir(self) -> str | None:
        """Where that data set lies."""

    @property
    def layer(self) -> str | None:
        """A layer by name."""


@dataclass(frozen=True)
class Subject:
    """The trained network that is drawn."""

    name: str
    """The run's, for titles."""
    config: TrainConfig
    """The run's settings, with the data set that the figure is drawn on."""
    network: nn.Layer
    classes: tuple[str, ...]
    side: int
    """Pixels a side of what the network takes."""

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) -> float32 (N, 1, S, S) for this network."""
        from lenet_paddle.data.preprocess import normalise

        return normalise(images, self.side)

    @property
    def first_convolution(self) -> str | None:
        """Its name; None without one."""
        from paddle import nn

        from lenet_paddle.explain.hooks import leaf_layers

        layers = leaf_layers(self.network).items()
        return next((name for name, layer in layers if isinstance(layer, nn.Conv2D)), None)

    def need_convolution(self, what: str) -> str:
        """The first convolution's name; `InputError` for a network without one."""
        if self.first_convolution is None:
            raise InputError(
                f"{self.name}: {self.config.model} has no convolution, so there is no {what} to "
                "draw; give --run of another model"
            )
        return self.first_convolution


@dataclass(frozen=True)
class Pictures:
    """Chosen pictures: names for captions and file stems, uint8 (N, 28, 28), the originals."""

    names: list[str]
    images: np.ndarray
    originals: list[np.ndarray]
    """uint8 (H, W) of any size; a test image is its own original."""


def load_subject(settings: Settings) -> Subject:
    """The one run that is drawn. Raises `InputError` when none or several are named."""
    from lenet_paddle.deploy.predictor import load_run
    from lenet_paddle.models import input_size

    if len(settings.run) != 1:
        raise InputError(
            f"{len(settings.run) or 'no'} run{'s' * (len(settings.run) > 1)} came; expected one "
            "trained model: --run output/<run>"
        )
    run_dir = Path(settings.run[0])
    config, network, classes = load_run(run_dir, settings.checkpoint)
    if settings.dataset is not None or settings.data_dir is not None:
        config = dataclasses.replace(
            config,
            dataset=settings.dataset or config.dataset,
            data_dir=settings.data_dir,
            preprocess=config.picture_mode,
        )
    return Subject(run_dir.resolve().name, config, network, classes, input_size(config.model))


def choose_pictures(settings: Settings, subject: Subject, count: int) -> Pictures:
    """The pictures of `settings.images`, else the first test image of each of `count` classes."""
    from lenet_paddle.data import load_test_set
    from lenet_paddle.data.preprocess import load_picture, prepare_picture

    if settings.images and not any(text.isdecimal() for text in settings.images):
        test_set = None
    else:
        test_set = load_test_set(subject.config, subject.classes)
    names, originals = [], []
    for text in settings.images or _first_of_each(test_set, count):
        if text.isdecimal():
            originals.append(_test_image(test_set, int(text)))
            names.append(f"#{text}")
        else:
            originals.append(load_picture(Path(text)))
            names.append(Path(text).stem)
    mode = subject.config.picture_mode
    images = np.stack([prepare_picture(original, mode) for original in originals])
    return Pictures(names, images, originals)


def _first_of_each(test_set: ImageSet | None, count: int) -> list[str]:
    assert test_set is not None
    present, first = np.unique(test_set.labels, return_index=True)
    return [str(position) for position in first[: min(count, len(present))]]


def _test_image(test_set: ImageSet | None, position: int) -> np.ndarray:
    assert test_set is not None
    if position >= len(test_set):
        raise InputError(
            f"test image {position} came; expected a position from 0 to {len(test_set) - 1}"
        )
    return test_set.images[position]


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
    for row, name in enumerate(pictures.names):
        own = {caption(layer, layers[layer]): values[row] for layer, values in outputs.items()}
        title = say("{run}: what every layer makes of {name}", run=subject.name, name=name)
        stem = "features" if len(batch) == 1 else f"features-{name.removeprefix('#')}"
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
    for row, picture in enumerate(pictures.names):
        maps = None if name is None else outputs[name][row]
        found = detect(shrink(pictures.originals[row], 400))
        stem = "edges" if len(pictures.names) == 1 else f"edges-{picture.removeprefix('#')}"
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
