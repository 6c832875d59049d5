"""Attribution maps: how much each pixel counts for an answer (gradients, Grad-CAM, occlusion).

batch: a normalised batch, float32 (B, 1, S, S); labels: int (B,), the class whose logit is
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
AT_ONCE = 512  # pictures in one forward pass


def compute_slopes(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the gradient of each picture's logit of `labels` with respect to its pixels.

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
    """Compute integrated gradients from a black picture x' to x, by the midpoint rule.

    (x - x') times the mean gradient on the straight line from x' to x (Sundararajan, Taly and
    Yan, "Axiomatic Attribution for Deep Networks", ICML 2017). Complete: a map sums to
    `logit_gains`, up to the rule's error, which shrinks with `steps`.
    """
    baseline = np.full_like(batch, BACKGROUND)
    total = np.zeros(batch.shape[:1] + batch.shape[2:])
    for step in range(steps):
        share = np.float32((step + 0.5) / steps)
        total += compute_slopes(network, baseline + share * (batch - baseline), labels)
    return (batch - baseline).sum(axis=1) * total / steps


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


def cam_layer(network: nn.Layer, side: int) -> str | None:
    """Return the layer for Grad-CAM: the activation of the deepest convolution whose maps are
    larger than one pixel. None without a convolution."""
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
    """Compute how far the logit falls when a black square covers each place.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (there
    the probability). `patch`, the square's side in pixels, is odd; a value is that of the square
    centred there. At the border the square reaches out of the picture.
    """
    if patch < 1 or patch % 2 == 0:
        raise InputError(
            f"patch is {patch}; expected an odd number of pixels, so that the square has a middle"
        )
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
    """Return the picture (1, S, S) covered at every place, row by row."""
    half, side = patch // 2, image.shape[-1]
    pictures = []
    for row in range(side):
        for col in range(side):
            picture = image.copy()
            rows = slice(max(0, row - half), row + half + 1)
            picture[:, rows, max(0, col - half) : col + half + 1] = BACKGROUND
            pictures.append(picture[None])
    return pictures


@paddle.no_grad()
def logit_gains(network: nn.Layer, batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each picture's logit minus that of a black picture, float (B,)."""
    black = np.full_like(batch[:1], BACKGROUND)
    logits = network(paddle.to_tensor(np.concatenate([batch, black]))).numpy()
    return logits[np.arange(len(batch)), labels] - logits[-1, labels]
