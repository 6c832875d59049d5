"""The figures that explain an idea, by themselves or on a run's network.

Each function takes the settings and returns file stem -> figure; `DRAWINGS` names them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.analysis.hooks import leaf_layers
from lenet_paddle.data.preprocess import enlarge, shrink
from lenet_paddle.errors import InputError
from lenet_paddle.figures.concepts.activations import (
    measure_saturation,
    plot_activations,
    plot_dropout,
)
from lenet_paddle.figures.concepts.kernels import KERNELS, plot_kernels
from lenet_paddle.figures.concepts.operator_cards import plot_operator, plot_operators
from lenet_paddle.figures.concepts.operators import make_operators
from lenet_paddle.figures.concepts.pooling import plot_padding, plot_pooling
from lenet_paddle.figures.concepts.sliding import (
    Sliding,
    animate_convolution,
    colour_digit,
    plot_channels,
    plot_convolution,
)
from lenet_paddle.figures.concepts.xo import plot_votes, plot_xo
from lenet_paddle.figures.results.embedding import last_features
from lenet_paddle.figures.subject import (
    Subject,
    choose_picture,
    choose_pictures,
    load_images,
    load_subject,
)
from lenet_paddle.figures.visualize import VisualizeConfig
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from lenet_paddle.figures.visualize import Drawn

NUM_MEASURED = 500  # test images on which saturation is measured

_log = logging.getLogger(__name__)


def draw_kernels(config: VisualizeConfig) -> Drawn:
    """The classic kernels on a picture of the user's, else on scikit-image's photo."""
    picture, name = _find_photo(config)
    if (longer := max(picture.shape)) < 100:
        picture = enlarge(picture, max(1, 84 // longer))  # larger is too smooth for 3x3 kernels
    title = say("the classic kernels on {name}", "经典卷积核：{name}", name=name)
    return {"kernels": plot_kernels(shrink(picture, 256), title)}


def _find_photo(config: VisualizeConfig) -> tuple[np.ndarray, str]:
    """The picture chosen, else scikit-image's photo, else a digit; grey uint8 (H, W), its name."""
    if not config.images:
        try:
            from skimage import data

            return data.camera(), "skimage.data.camera"
        except ImportError:
            _log.warning(
                "no photo to draw on: scikit-image is not installed (pip install '.[vision]'); "
                "a digit is taken, or give a picture with --images"
            )
    picture = choose_picture(config)
    return picture.original, picture.name


def draw_xo(config: VisualizeConfig) -> Drawn:
    """The course's X or O."""
    return {"xo": plot_xo(), "xo-votes": plot_votes()}


def draw_convolution(config: VisualizeConfig) -> Drawn:
    """One kernel (Sobel's, or one of the run's) sliding over a digit; and several channels."""
    sliding, digit = _find_sliding(config)
    kernels = np.random.default_rng(3).integers(-1, 2, (2, 3, 3, 3)).astype(np.float64)
    return {
        "convolution": plot_convolution(sliding),
        "convolution-channels": plot_channels(colour_digit(digit), kernels, np.array([2.0, -3.0])),
        "convolution-sliding": animate_convolution(sliding),
    }


def _find_sliding(config: VisualizeConfig) -> tuple[Sliding, np.ndarray]:
    """A kernel over a digit: Sobel's for vertical edges, or the strongest of the run's layer."""
    picture = choose_picture(config)
    digit = picture.image
    if not config.run:
        if config.layer is not None:
            raise InputError(f"layer {config.layer!r} is of no run; give --run output/<run> too")
        title = say(
            "vertical edges (Sobel) of {name}", "竖直边缘（Sobel）：{name}", name=picture.name
        )
        return Sliding(digit.astype(np.float64), KERNELS["vertical edges"], title=title), digit
    subject = load_subject(config)
    layer_name, layer = _find_convolution(subject, config.layer)
    weights = layer.weight.numpy()[:, 0].astype(np.float64)
    strongest = int(np.abs(weights).sum(axis=(1, 2)).argmax())
    padding, stride = _one_number(layer._padding), _one_number(layer._stride)
    title = say(
        "{layer}, kernel {n} of {total}, on {name}",
        "{layer} 的第 {n} 个卷积核（共 {total} 个），{name}",
        layer=layer_name,
        n=strongest + 1,
        total=len(weights),
        name=picture.name,
    )
    seen = np.pad(subject.normalise(digit[None])[0, 0].astype(np.float64), padding)
    bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[strongest])
    return Sliding(seen, weights[strongest], bias, stride, padding, title), digit


def _find_convolution(subject: Subject, name: str | None) -> tuple[str, nn.Conv2D]:
    """The layer of that name, default the first; it must take the picture itself."""
    found = {
        n: layer
        for n, layer in leaf_layers(subject.network).items()
        if isinstance(layer, nn.Conv2D) and layer._in_channels == 1
    }
    if not found:
        raise InputError(
            f"{subject.name}: {subject.config.model} has no convolution of one grey channel; "
            "leave out --run, or give that of a LeNet"
        )
    if name is not None and name not in found:
        raise InputError(
            f"layer is {name!r}; expected a convolution that sees the picture: {', '.join(found)}"
        )
    chosen = name or next(iter(found))
    return chosen, found[chosen]


def _one_number(setting: Any) -> int:
    """Paddle keeps padding and stride as a number or as a list of equal ones."""
    return int(np.ravel(setting)[0])


def draw_padding(config: VisualizeConfig) -> Drawn:
    """(N - F + 2P) / S + 1, and how often each pixel is seen."""
    return {"padding": plot_padding(config.size, config.kernel, config.pad, config.stride)}


def draw_pooling(config: VisualizeConfig) -> Drawn:
    """Max and average pooling, forward and backward."""
    sliding, _ = _find_sliding(config)
    title = say(
        "pooling 2 × 2, stride 2; feature map: {title}",
        "2 × 2 池化，步长 2；特征图：{title}",
        title=sliding.title,
    )
    return {"pooling": plot_pooling(sliding.compute_map(), title)}


def draw_activations(config: VisualizeConfig) -> Drawn:
    """Activations and gradients; with --run the saturation measured in its model."""
    if not config.run:
        title = say(
            "activations; --run measures saturation in a model",
            "激活函数；用 --run 可在模型中测量饱和程度",
        )
        return {"activations": plot_activations([], title)}
    subject = load_subject(config)
    if config.images:
        images = np.stack([picture.image for picture in choose_pictures(config, 1)])
        title = say(
            "activations; below: what comes into those of {run}, {n} chosen pictures",
            "激活函数；下方：{run} 各激活层的输入，所选的 {n} 张图片",
            run=subject.name,
            n=len(images),
        )
    else:
        image_set, dataset = load_images(config)
        images = image_set.images[:NUM_MEASURED]
        title = say(
            "activations; below: what comes into those of {run}, {n} {dataset} test images",
            "激活函数；下方：{run} 中各激活层的输入，{n} 张 {dataset} 测试图片",
            run=subject.name,
            n=len(images),
            dataset=dataset,
        )
    measured = measure_saturation(subject.network, subject.normalise(images))
    return {"activations": plot_activations(measured, title)}


def draw_dropout(config: VisualizeConfig) -> Drawn:
    """Dropout of 120 units, or with --run of the model's last hidden layer for one digit."""
    paddle.seed(0)
    if config.run:
        subject, picture = load_subject(config), choose_picture(config)
        batch = subject.normalise(picture.image[None])
        units = last_features(subject.network, [batch])[0]
        title = say(
            "dropout, p = 0.5, of the last hidden layer on {name}",
            "最后一个隐藏层的丢弃法，p = 0.5，{name}",
            name=picture.name,
        )
    else:
        units = np.maximum(np.random.default_rng(0).normal(0.3, 1, 120), 0)
        title = say("dropout, p = 0.5, of 120 units", "120 个单元的丢弃法，p = 0.5")
    return {"dropout": plot_dropout(units, 0.5, title)}


def draw_operators(config: VisualizeConfig) -> Drawn:
    """The family of the convolution with its numbers, together and each by itself."""
    operators = make_operators()
    each = {f"operators-{operator.stem}": plot_operator(operator) for operator in operators}
    return {"operators": plot_operators(operators), **each}


DRAWINGS = {
    "kernels": draw_kernels,
    "xo": draw_xo,
    "convolution": draw_convolution,
    "padding": draw_padding,
    "pooling": draw_pooling,
    "activations": draw_activations,
    "dropout": draw_dropout,
    "operators": draw_operators,
}
