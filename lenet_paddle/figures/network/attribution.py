"""Which pixels an answer rests on: gradients, Grad-CAM, occlusion.

batch: a normalised batch, float32 (B, 1, S, S); labels: int (B,), the class whose logit is
explained. The network answers in evaluation mode. Maps are float64 (B, S, S): positive where a
pixel speaks for the class, negative where it speaks against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from paddle import nn

from lenet_paddle.analysis.hooks import check_maps, layer_outputs, leaf_layers, watch_layers
from lenet_paddle.errors import InputError
from lenet_paddle.figures.style import styled
from lenet_paddle.figures.words import say

BACKGROUND = -1.0  # a black pixel after normalisation: what a picture without a digit is made of
AT_ONCE = 512  # pictures in one forward pass


def compute_slopes(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of each picture's logit of `labels` with respect to its pixels.

    Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2013 (there without
    the sign).
    """
    network.eval()
    images = paddle.to_tensor(batch, stop_gradient=False)
    [slope] = paddle.grad(_own_logits(network(images), labels).sum(), images)
    return slope.numpy().astype(np.float64).sum(axis=1)


def _own_logits(logits: paddle.Tensor, labels: np.ndarray) -> paddle.Tensor:
    column = paddle.to_tensor(np.asarray(labels, np.int64)[:, None])
    return paddle.take_along_axis(logits, column, 1)[:, 0]


def integrated_gradients(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray, steps: int = 128
) -> np.ndarray:
    """(x - x') times the mean gradient on the straight way from a black picture x' to x.

    Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, by the
    midpoint rule. Complete: a map sums to the logit of x less that of x', but for the rule's
    error, which shrinks with `steps`.
    """
    baseline = np.full_like(batch, BACKGROUND)
    total = np.zeros(batch.shape[:1] + batch.shape[2:])
    for step in range(steps):
        share = np.float32((step + 0.5) / steps)
        total += compute_slopes(network, baseline + share * (batch - baseline), labels)
    return (batch - baseline).sum(axis=1) * total / steps


def grad_cam(network: nn.Layer, batch: np.ndarray, labels: np.ndarray, layer: str) -> np.ndarray:
    """Grad-CAM at `layer`, a convolution's name: float64 (B, h, w), h x w that layer's maps.

    ReLU of the sum of the maps, each weighted by the mean of its gradient (Selvaraju et al.,
    "Grad-CAM", ICCV 2017).
    """
    network.eval()
    with watch_layers(leaf_layers(network)) as outputs:
        logits = network(paddle.to_tensor(batch))
    check_maps(layer, outputs)
    [slope] = paddle.grad(_own_logits(logits, labels).sum(), outputs[layer])
    weights = slope.numpy().astype(np.float64).mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * outputs[layer].numpy()).sum(axis=1), 0)


def cam_layer(network: nn.Layer, side: int) -> str | None:
    """Where Grad-CAM looks: the deepest convolution whose maps are larger than one pixel, behind
    its activation. None without a convolution."""
    layers = leaf_layers(network)
    outputs = layer_outputs(network, np.zeros((1, 1, side, side), np.float32))
    convolutions = [
        name
        for name, output in outputs.items()
        if isinstance(layers[name], nn.Conv2D) and min(output.shape[2:]) > 1
    ]
    if not convolutions:
        return None
    shape = outputs[convolutions[-1]].shape
    return [name for name, output in outputs.items() if output.shape == shape][-1]


@paddle.no_grad()
def occlude(network: nn.Layer, batch: np.ndarray, labels: np.ndarray, patch: int = 5) -> np.ndarray:
    """How far the logit falls when a black square of `patch` pixels, odd, covers each place.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (there
    the probability). The value stands where the square's middle was; at the border it reaches
    out of the picture.
    """
    if patch < 1 or patch % 2 == 0:
        raise InputError(f"patch is {patch}; expected an odd number of pixels, so it has a middle")
    network.eval()
    side = batch.shape[-1]
    maps = []
    for image, label in zip(batch, labels, strict=True):
        covered = np.concatenate([image[None], *_covered(image, patch)])
        parts = [covered[i : i + AT_ONCE] for i in range(0, len(covered), AT_ONCE)]
        scores = np.concatenate(
            [network(paddle.to_tensor(part)).numpy()[:, label] for part in parts]
        ).astype(np.float64)
        maps.append((scores[0] - scores[1:]).reshape(side, side))
    return np.stack(maps)


def _covered(image: np.ndarray, patch: int) -> list[np.ndarray]:
    """The picture (1, S, S) once for every place of the square's middle, row by row."""
    half, side = patch // 2, image.shape[-1]
    pictures = []
    for row in range(side):
        for col in range(side):
            picture = image.copy()
            rows = slice(max(0, row - half), row + half + 1)
            picture[:, rows, max(0, col - half) : col + half + 1] = BACKGROUND
            pictures.append(picture[None])
    return pictures


def explain(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray, layer: str | None
) -> list[tuple[str, np.ndarray, list[str]]]:
    """All methods: (name, maps, a note for each picture). Without a `layer` no Grad-CAM."""
    slopes = compute_slopes(network, batch, labels)
    integrated = integrated_gradients(network, batch, labels)
    gains = _logit_gains(network, batch, labels)
    hidden = occlude(network, batch, labels)
    methods = [
        (
            say("gradient\nSimonyan et al. 2013", "梯度\nSimonyan 等 2013"),
            slopes,
            [
                say("steepest {value:.2f}", "最陡 {value:.2f}", value=np.abs(each).max())
                for each in slopes
            ],
        ),
        (
            say("integrated gradients\nSundararajan et al. 2017", "积分梯度\nSundararajan 等 2017"),
            integrated,
            [
                say(
                    "sum {sum:.2f}, logit gain {gain:.2f}",
                    "总和 {sum:.2f}，logit 增量 {gain:.2f}",
                    sum=each.sum(),
                    gain=gain,
                )
                for each, gain in zip(integrated, gains, strict=True)
            ],
        ),
        (
            say("occlusion by 5x5\nZeiler and Fergus 2014", "5x5 遮挡\nZeiler 与 Fergus 2014"),
            hidden,
            [
                say(
                    "logit falls by up to {value:.1f}",
                    "logit 最多下降 {value:.1f}",
                    value=each.max(),
                )
                for each in hidden
            ],
        ),
    ]
    if layer is not None:
        maps = grad_cam(network, batch, labels, layer)
        notes = [say("up to {value:.2g}", "最大 {value:.2g}", value=each.max()) for each in maps]
        methods.insert(
            2,
            (
                say(
                    "Grad-CAM at {layer}\nSelvaraju et al. 2017",
                    "Grad-CAM，{layer}\nSelvaraju 等 2017",
                    layer=layer,
                ),
                maps,
                notes,
            ),
        )
    return methods


@paddle.no_grad()
def _logit_gains(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each picture's logit less that of a black picture, which integrated gradients sum to."""
    black = np.full_like(batch[:1], BACKGROUND)
    logits = network(paddle.to_tensor(np.concatenate([batch, black]))).numpy()
    return logits[np.arange(len(batch)), labels] - logits[-1, labels]


@styled
def plot_saliency(
    pictures: np.ndarray,
    captions: Sequence[str],
    methods: Sequence[tuple[str, np.ndarray, Sequence[str]]],
    title: str = "",
) -> Figure:
    """A row for each picture: itself, then each method's map of it.

    pictures: normalised float32 (B, S, S); methods: (name, maps (B, h, w), notes), as `explain`
    gives them. A map with negative values is drawn red for, blue against, white at 0; one
    without goes from dark to bright. Every map has its own scale.
    """
    num_rows, num_cols = len(pictures), len(methods) + 1
    figure = Figure(figsize=(10, num_rows * (9.6 / num_cols + 0.3) + 0.95), layout="constrained")
    grid = figure.subplots(num_rows, num_cols, squeeze=False)
    for row, (axes_row, picture, caption) in enumerate(zip(grid, pictures, captions, strict=True)):
        axes_row[0].imshow(picture, cmap="gray", vmin=-1, vmax=1)
        axes_row[0].set(xticks=[], yticks=[])
        axes_row[0].set_xlabel(caption, fontsize=8.5)
        for axes, (_, maps, notes) in zip(axes_row[1:], methods, strict=True):
            _show_map(axes, picture, maps[row])
            axes.set_xlabel(notes[row], fontsize=8.5)
    for axes, (name, *_) in zip(grid[0, 1:], methods, strict=True):
        axes.set_title(name, fontsize=9)
    grid[0, 0].set_title(say("what the network sees", "网络看到的图片"), fontsize=9)
    figure.suptitle(title, fontsize=12)
    return figure


def _show_map(axes: Axes, picture: np.ndarray, values: np.ndarray) -> None:
    side = picture.shape[0]
    if values.min() < 0 or values.shape == picture.shape:
        limit = np.abs(values).max() or 1.0
        axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.contour(picture, levels=[0], colors="black", linewidths=0.5, alpha=0.6)
    else:
        place = (-0.5, side - 0.5, side - 0.5, -0.5)
        top = float(values.max()) or 1.0
        axes.imshow(values, vmin=0, vmax=top, extent=place, interpolation="bilinear")
        axes.contour(picture, levels=[0], colors="white", linewidths=0.8)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
