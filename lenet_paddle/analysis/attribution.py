"""Attribution maps: how much each pixel counts for an answer (gradients, Grad-CAM, occlusion).

batch: a normalised batch, float32 (B, C, S, S); labels: int (B,), the class whose logit is
explained. The network runs in evaluation mode. Maps are float64 (B, S, S): positive where a
pixel speaks for the class, negative where it speaks against it.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.analysis.hooks import check_maps, layer_outputs, leaf_layers, watch_layers
from lenet_paddle.errors import InputError

BACKGROUND = -1.0  # a black pixel after normalisation
AT_ONCE = 512  # pictures of 32x32 in one forward pass
MOST_PLACES = 32  # along a side, at which `occlude` covers a picture


def compute_slopes(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the gradient of each picture's logit of `labels` with respect to its pixels.

    Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2013. As there, a pixel
    of a colour picture has the largest absolute value of its channels; one of a grey picture keeps
    its sign.
    """
    slopes = _compute_gradients(network, batch, labels)
    return slopes[:, 0] if slopes.shape[1] == 1 else np.abs(slopes).max(axis=1)


def _compute_gradients(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the gradient of the logits of `labels`, float64 (B, C, S, S)."""
    network.eval()
    images = paddle.to_tensor(batch, stop_gradient=False)
    [slope] = paddle.grad(_own_logits(network(images), labels).sum(), images)
    return slope.numpy().astype(np.float64)


def _own_logits(logits: paddle.Tensor, labels: np.ndarray) -> paddle.Tensor:
    column = paddle.to_tensor(np.asarray(labels, np.int64)[:, None])
    return paddle.take_along_axis(logits, column, 1)[:, 0]


def integrated_gradients(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray, steps: int = 128
) -> np.ndarray:
    """Compute integrated gradients from a black picture x' to x, by the midpoint rule.

    (x - x') times the mean gradient on the straight line from x' to x (Sundararajan, Taly and
    Yan, "Axiomatic Attribution for Deep Networks", ICML 2017). Complete: a map sums to
    `logit_gains`, up to the rule's error, which shrinks with `steps`.
    """
    baseline = np.full_like(batch, BACKGROUND)
    total = np.zeros(batch.shape)
    for step in range(steps):
        share = np.float32((step + 0.5) / steps)
        total += _compute_gradients(network, baseline + share * (batch - baseline), labels)
    return ((batch - baseline) * total / steps).sum(axis=1)


def grad_cam(network: nn.Layer, batch: np.ndarray, labels: np.ndarray, layer: str) -> np.ndarray:
    """Compute Grad-CAM at `layer`, float64 (B, h, w), where h x w is the size of its maps.

    ReLU of the sum of the maps, each weighted by the mean of its gradient (Selvaraju et al.,
    "Grad-CAM", ICCV 2017). Raises `InputError` for a layer without maps.
    """
    network.eval()
    with watch_layers(leaf_layers(network)) as outputs:
        logits = network(paddle.to_tensor(batch))
    check_maps(layer, outputs)
    [slope] = paddle.grad(_own_logits(logits, labels).sum(), outputs[layer])
    weights = slope.numpy().astype(np.float64).mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * outputs[layer].numpy()).sum(axis=1), 0)


def cam_layer(network: nn.Layer, side: int, channels: int = 1) -> str | None:
    """Return the layer for Grad-CAM: the activation of the deepest convolution whose maps are
    larger than one pixel. None without a convolution."""
    layers = leaf_layers(network)
    outputs = layer_outputs(network, np.zeros((1, channels, side, side), np.float32))
    convolutions = [
        name
        for name, output in outputs.items()
        if isinstance(layers[name], nn.Conv2D) and min(output.shape[2:]) > 1
    ]
    if not convolutions:
        return None
    shape = outputs[convolutions[-1]].shape
    return [name for name, output in outputs.items() if output.shape == shape][-1]


def patch_size(side: int) -> int:
    """Return the side of the square with which `occlude` covers a picture of `side` x `side`: odd,
    5 pixels up to a side of 32 and in proportion above."""
    return 5 * _step(side) // 2 * 2 + 1


def _step(side: int) -> int:
    return -(-side // MOST_PLACES)


@paddle.no_grad()
def occlude(
    network: nn.Layer, batch: np.ndarray, labels: np.ndarray, patch: int | None = None
) -> np.ndarray:
    """Compute how far the logit falls when a black square covers each place, float64 (B, P, P).

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (there
    the probability). `patch`, the square's side in pixels, is odd (default: `patch_size`); a value
    is that of the square centred there. At the border the square reaches out of the picture. The
    P x P places are all pixels up to a side of 32, and at most 32 x 32 evenly spaced ones above.
    """
    side = batch.shape[-1]
    patch = patch_size(side) if patch is None else patch
    if patch < 1 or patch % 2 == 0:
        raise InputError(
            f"patch is {patch}; expected an odd number of pixels, so that the square has a middle"
        )
    network.eval()
    step = _step(side)
    middles = range(step // 2, side, step)
    places = [None, *((row, col) for row in middles for col in middles)]  # first the whole picture
    at_once = AT_ONCE // step**2 or 1
    maps = []
    for image, label in zip(batch, labels, strict=True):
        scores = []
        for start in range(0, len(places), at_once):
            part = [_cover(image, place, patch) for place in places[start : start + at_once]]
            scores.append(network(paddle.to_tensor(np.stack(part))).numpy()[:, label])
        whole, *others = np.concatenate(scores).astype(np.float64)
        maps.append((whole - np.array(others)).reshape(len(middles), -1))
    return np.stack(maps)


def _cover(image: np.ndarray, place: tuple[int, int] | None, patch: int) -> np.ndarray:
    """Return the picture (C, S, S), black around the place (row, column)."""
    if place is None:
        return image
    top, left = (middle - patch // 2 for middle in place)
    picture = image.copy()
    picture[:, max(0, top) : top + patch, max(0, left) : left + patch] = BACKGROUND
    return picture


@paddle.no_grad()
def logit_gains(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each picture's logit minus that of a black picture, float (B,)."""
    black = np.full_like(batch[:1], BACKGROUND)
    logits = network(paddle.to_tensor(np.concatenate([batch, black]))).numpy()
    return logits[np.arange(len(batch)), labels] - logits[-1, labels]
