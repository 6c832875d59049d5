"""The figures of `tools/visualize.py` that explain an idea, a data set or an evaluation.

Each function takes the settings and returns {file stem: figure}; `visualize.find_drawing` looks
it up in `CONCEPT_DRAWINGS`.
"""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.config import InputError
from lenet_paddle.data.preprocess import normalise, shrink
from lenet_paddle.evaluation.metrics import compute_calibration, compute_probs, count_confusion
from lenet_paddle.explain import figures
from lenet_paddle.explain.charts import plot_calibration, plot_samples
from lenet_paddle.explain.concepts import measure_saturation, plot_activations, plot_dropout
from lenet_paddle.explain.kernels import KERNELS, plot_kernels
from lenet_paddle.explain.pooling import plot_padding, plot_pooling
from lenet_paddle.explain.sliding import (
    Sliding,
    animate_convolution,
    colour_digit,
    plot_channels,
    plot_convolution,
)
from lenet_paddle.explain.words import say
from lenet_paddle.explain.xo import plot_votes, plot_xo
from lenet_paddle.visualize import (
    VisualizeConfig,
    choose_picture,
    choose_positions,
    load_images,
    load_model,
    need_run,
    predict_test_set,
)

if TYPE_CHECKING:
    from lenet_paddle.visualize import Drawn

NUM_SAMPLES = 64  # images that `samples` shows
NUM_MEASURED = 500  # test images on which saturation is measured

_log = logging.getLogger(__name__)


def draw_samples(config: VisualizeConfig) -> Drawn:
    """Training images, or with --images these test images, and what their set is like."""
    split = "test" if config.images else "train"
    image_set, dataset = load_images(config, split)
    chosen = np.array(choose_positions(config, image_set), np.int64)
    if not len(chosen):
        count = min(NUM_SAMPLES, len(image_set))
        chosen = np.random.default_rng(0).choice(len(image_set), count, replace=False)
    which = say("training") if split == "train" else say("test")
    title = say("{dataset}: {n:,} {split} images", dataset=dataset, n=len(image_set), split=which)
    figure = plot_samples(image_set.images, image_set.labels, image_set.classes, chosen, title)
    return {"samples": figure}


def draw_kernels(config: VisualizeConfig) -> Drawn:
    """The classic kernels on a picture of the user's, else on scikit-image's photo."""
    if config.images:
        picture, name = choose_picture(config, prepared=False)
    else:
        picture, name = _find_photo(config)
    if max(picture.shape) < 100:
        picture = _enlarge(picture)
    title = say("the classic kernels on {name}", name=name)
    return {"kernels": plot_kernels(shrink(picture, 256), title)}


def _find_photo(config: VisualizeConfig) -> tuple[np.ndarray, str]:
    try:
        from skimage import data
    except ImportError:
        _log.warning(
            "no photo to draw on: scikit-image is not installed (pip install scikit-image); "
            "a digit is taken, or give a picture with --images"
        )
        return choose_picture(config, prepared=False)
    return data.camera(), "skimage.data.camera"


def _enlarge(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    scale = max(1, 84 // max(picture.shape))  # larger ones are too smooth for 3x3 kernels
    size = (picture.shape[1] * scale, picture.shape[0] * scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


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
    digit, name = choose_picture(config)
    if not config.run:
        title = say("vertical edges (Sobel) of {name}", name=name)
        return Sliding(digit.astype(np.float64), KERNELS["vertical edges"], title=title), digit
    network, size = load_model(config)
    layer_name, layer = _find_convolution(network, config.layer)
    weights = layer.weight.numpy()[:, 0].astype(np.float64)
    strongest = int(np.abs(weights).sum(axis=(1, 2)).argmax())
    padding, stride = _one_number(layer._padding), _one_number(layer._stride)
    title = say(
        "{layer}, kernel {n} of {total}, on {name}",
        layer=layer_name,
        n=strongest + 1,
        total=len(weights),
        name=name,
    )
    picture = np.pad(normalise(digit[None], size)[0, 0].astype(np.float64), padding)
    bias = 0.0 if layer.bias is None else float(layer.bias.numpy()[strongest])
    return Sliding(picture, weights[strongest], bias, stride, padding, title), digit


def _find_convolution(network: nn.Layer, name: str | None) -> tuple[str, nn.Conv2D]:
    """The layer of that name, default the first; it must take the picture itself."""
    found = {
        n: layer
        for n, layer in network.named_sublayers()
        if isinstance(layer, nn.Conv2D) and layer._in_channels == 1
    }
    if not found:
        raise InputError("this model has no convolution that sees the picture; leave out --run")
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
    title = say("pooling 2 × 2, stride 2; feature map: {title}", title=sliding.title)
    return {"pooling": plot_pooling(sliding.compute_map(), title)}


def draw_activations(config: VisualizeConfig) -> Drawn:
    """Activations and gradients; with --run the saturation measured in its model."""
    if not config.run:
        title = say("activations; --run measures saturation in a model")
        return {"activations": plot_activations([], title)}
    network, size = load_model(config)
    image_set, dataset = load_images(config)
    chosen = choose_positions(config, image_set) or range(min(NUM_MEASURED, len(image_set)))
    images = image_set.images[np.array(chosen)]
    title = say(
        "activations; below: what comes into those of {run}, {n} {dataset} test images",
        run=need_run(config).resolve().name,
        n=len(images),
        dataset=dataset,
    )
    measured = measure_saturation(network, normalise(images, size))
    return {"activations": plot_activations(measured, title)}


def draw_dropout(config: VisualizeConfig) -> Drawn:
    """Dropout of 120 units, or with --run of the model's last hidden layer for one digit."""
    paddle.seed(0)
    if config.run:
        picture, name = choose_picture(config)
        network, size = load_model(config)
        units = _last_hidden(network, normalise(picture[None], size))
        title = say("dropout, p = 0.5, of the last hidden layer on {name}", name=name)
    else:
        units = np.maximum(np.random.default_rng(0).normal(0.3, 1, 120), 0)
        title = say("dropout, p = 0.5, of 120 units")
    return {"dropout": plot_dropout(units, 0.5, title)}


def _last_hidden(network: nn.Layer, batch: np.ndarray) -> np.ndarray:
    """What comes into the network's last linear layer for the first image, float32 (n,)."""
    *_, last = [layer for layer in network.sublayers() if isinstance(layer, nn.Linear)]
    seen = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()[0]))
    with paddle.no_grad():
        network(paddle.to_tensor(batch))
    hook.remove()
    return seen[0]


def draw_curves(config: VisualizeConfig) -> Drawn:
    """Loss and accuracy per epoch of one or several runs."""
    need_run(config)
    runs = [Path(run) for run in config.run]
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    histories = {name: read_history(run) for name, run in zip(names, runs, strict=True)}
    return {"curves": figures.plot_curves(histories)}


def read_history(run_dir: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv. Raises `InputError` when there are none."""
    path = run_dir / "history.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; has this run trained an epoch?") from None
    except (ValueError, TypeError):
        raise InputError(f"{path}: damaged; expected rows of numbers") from None
    if not rows:
        raise InputError(f"{path}: no epoch yet")
    return rows


def draw_confusion(config: VisualizeConfig) -> Drawn:
    """The confusion matrix on the test set."""
    test_set, logits, title, suffix = predict_test_set(config)
    counts = count_confusion(logits.argmax(axis=1), test_set.labels, test_set.num_classes)
    return {f"confusion{suffix}": figures.plot_confusion(counts, test_set.classes, title)}


def draw_mistakes(config: VisualizeConfig) -> Drawn:
    """The worst mistakes on the test set."""
    test_set, logits, title, suffix = predict_test_set(config)
    figure = figures.plot_mistakes(
        test_set.images, test_set.labels, compute_probs(logits), test_set.classes, title=title
    )
    return {f"mistakes{suffix}": figure}


def draw_calibration(config: VisualizeConfig) -> Drawn:
    """Whether a probability of 0.9 is right nine times of ten."""
    test_set, logits, title, suffix = predict_test_set(config)
    error, bins = compute_calibration(compute_probs(logits), test_set.labels)
    return {f"calibration{suffix}": plot_calibration(error, bins, title)}


CONCEPT_DRAWINGS = {
    "samples": draw_samples,
    "kernels": draw_kernels,
    "xo": draw_xo,
    "convolution": draw_convolution,
    "padding": draw_padding,
    "pooling": draw_pooling,
    "activations": draw_activations,
    "dropout": draw_dropout,
    "curves": draw_curves,
    "confusion": draw_confusion,
    "mistakes": draw_mistakes,
    "calibration": draw_calibration,
}
