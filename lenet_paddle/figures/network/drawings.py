"""The figures that look into a trained network.

Each function takes the settings and returns file stem -> figure; `DRAWINGS` names them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from paddle import nn

from lenet_paddle.analysis.hooks import caption, check_maps, layer_outputs, leaf_layers
from lenet_paddle.analysis.receptive import effective_fields, layers_with_fields, receptive_fields
from lenet_paddle.data.preprocess import normalise, shrink
from lenet_paddle.evaluation.evaluate import compute_logits
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.figures.network import attribution
from lenet_paddle.figures.network.architecture import plot_architecture
from lenet_paddle.figures.network.detectors import detect, plot_edges
from lenet_paddle.figures.network.receptive import plot_receptive_fields
from lenet_paddle.figures.network.views import (
    count_shown,
    plot_feature_grid,
    plot_features,
    plot_filters,
    spread,
)
from lenet_paddle.figures.subject import (
    Picture,
    Subject,
    choose_picture,
    choose_pictures,
    load_images,
    load_subject,
)
from lenet_paddle.figures.visualize import VisualizeConfig
from lenet_paddle.figures.words import say
from lenet_paddle.models import MODELS, build_model, input_size

if TYPE_CHECKING:
    from lenet_paddle.figures.visualize import Drawn

PICTURES_FOR_FIELDS = 128  # over which the effective receptive field is averaged
MOST_FIELDS = 7  # layers in the figure of receptive fields
_log = logging.getLogger(__name__)


def _stems(what: str, pictures: list[Picture]) -> list[str]:
    """A file stem for each picture: `what` for one, else with its name, told apart by a number."""
    if len(pictures) == 1:
        return [what]
    plain = [f"{what}-{picture.label.removeprefix('#')}" for picture in pictures]
    return [
        stem if plain.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(plain)
    ]


def _batch(subject: Subject, pictures: list[Picture]) -> np.ndarray:
    return subject.normalise(np.stack([picture.image for picture in pictures]))


def draw_filters(config: VisualizeConfig) -> Drawn:
    """Each convolution's kernels."""
    subject = load_subject(config)
    subject.need_convolution("kernel")
    kernels = {
        caption(name, layer): layer.weight.numpy()
        for name, layer in leaf_layers(subject.network).items()
        if isinstance(layer, nn.Conv2D)
    }
    return {
        "filters": plot_filters(
            kernels, say("kernels of {run}", "{run} 的卷积核", run=subject.name)
        )
    }


def draw_features(config: VisualizeConfig) -> Drawn:
    """Every layer's output for each picture, and ten pictures by all kernels of one layer."""
    subject = load_subject(config)
    pictures = choose_pictures(config, 1)
    layers, batch = leaf_layers(subject.network), _batch(subject, pictures)
    outputs = layer_outputs(subject.network, batch)
    figures = {}
    for row, stem in enumerate(_stems("features", pictures)):
        own = {caption(layer, layers[layer]): values[row] for layer, values in outputs.items()}
        title = say(
            "{run}: what every layer makes of {name}",
            "{run}：每一层对 {name} 的输出",
            run=subject.name,
            name=pictures[row].label,
        )
        figures[stem] = plot_features(batch[row, 0], own, title)
    return {**figures, **_draw_feature_grid(config, subject)}


def _draw_feature_grid(config: VisualizeConfig, subject: Subject) -> Drawn:
    name = config.layer or subject.first_convolution
    if name is None:
        _log.info("%s has no feature maps: no grid of them is drawn", subject.config.model)
        return {}
    batch = _batch(subject, choose_pictures(config, 10))
    outputs = layer_outputs(subject.network, batch)
    check_maps(name, outputs)
    layer = leaf_layers(subject.network)[name]
    is_first = isinstance(layer, nn.Conv2D) and layer.weight.shape[1] == 1
    kernels = layer.weight.numpy()[:, 0] if is_first else None
    title = say(
        "{layer}: {n} pictures by its kernels",
        "{layer}：{n} 张图片 × 各卷积核的特征图",
        layer=caption(name, layer),
        n=len(batch),
    )
    return {"features-grid": plot_feature_grid(batch[:, 0], outputs[name], kernels, title)}


def draw_edges(config: VisualizeConfig) -> Drawn:
    """Canny, SIFT and Harris beside the first layer's maps."""
    subject = load_subject(config)
    pictures = choose_pictures(config, 1)
    name = subject.first_convolution
    if name is None:
        _log.info("%s has no convolution: no maps beside the edges", subject.config.model)
    outputs = layer_outputs(subject.network, _batch(subject, pictures))
    figures = {}
    for row, stem in enumerate(_stems("edges", pictures)):
        maps = None if name is None else outputs[name][row]
        found = detect(shrink(pictures[row].original, 400))
        title = say(
            "made by hand and learned: {name}, {run}",
            "人工设计的与学到的特征：{name}，{run}",
            name=pictures[row].label,
            run=subject.name,
        )
        figures[stem] = plot_edges(found, maps, title)
    return figures


def draw_receptive_field(config: VisualizeConfig) -> Drawn:
    """What the middle unit of every layer sees."""
    subject = load_subject(config)
    subject.need_convolution("receptive field smaller than the picture")
    picture = subject.normalise(choose_picture(config).image[None])
    every = layers_with_fields(subject.network, subject.side)
    layers = spread(every, MOST_FIELDS)
    fields = receptive_fields(subject.network, subject.side, layers)
    image_set, _ = load_images(config)
    batch = subject.normalise(image_set.images[:PICTURES_FOR_FIELDS])
    effective = effective_fields(subject.network, batch, layers)
    title = say(
        "{run}: what the middle unit of each layer sees",
        "{run}：每一层中间单元的感受野",
        run=subject.name,
    )
    title += count_shown(layers, every)
    figure = plot_receptive_fields(picture[0, 0], fields, effective, title)
    return {"receptive-field": figure}


def draw_saliency(config: VisualizeConfig) -> Drawn:
    """Gradient, integrated gradients, Grad-CAM and occlusion for the predicted class."""
    subject = load_subject(config)
    pictures = choose_pictures(config, 5)
    network, batch = subject.network, _batch(subject, pictures)
    logits = compute_logits(network, batch)
    answers, probs = logits.argmax(axis=1), compute_probs(logits)
    captions = [
        say(
            "{name}: {answer}, p = {p:.3f}",
            "{name}：{answer}，p = {p:.3f}",
            name=picture.label,
            answer=subject.classes[k],
            p=own[k],
        )
        for picture, k, own in zip(pictures, answers, probs, strict=True)
    ]
    layer = config.layer or attribution.cam_layer(network, subject.side)
    if layer is None:
        _log.info("%s has no convolution: Grad-CAM cannot be drawn", subject.config.model)
    methods = attribution.explain(network, batch, answers, layer)
    title = say(
        "{run}: pixels that speak for the answer (red), against it (blue)",
        "{run}：支持（红）与反对（蓝）所给答案的像素",
        run=subject.name,
    )
    return {"saliency": attribution.plot_saliency(batch[:, 0], captions, methods, title)}


def draw_architecture(config: VisualizeConfig) -> Drawn:
    """The run's network, or an untrained one; without a name every one of `MODELS`."""
    image = choose_picture(config).image[None]
    if config.run:
        subject = load_subject(config)
        network, model, classes = subject.network, subject.config.model, subject.classes
        figure = plot_architecture(network, subject.normalise(image), model, classes)
        return {"architecture": figure}
    names = {"architecture": config.model} if config.model else {}
    names = names or {f"architecture-{name}": name for name in MODELS}
    return {
        stem: plot_architecture(build_model(name), normalise(image, input_size(name)), name)
        for stem, name in names.items()
    }


DRAWINGS = {
    "filters": draw_filters,
    "features": draw_features,
    "edges": draw_edges,
    "receptive-field": draw_receptive_field,
    "saliency": draw_saliency,
    "architecture": draw_architecture,
}
