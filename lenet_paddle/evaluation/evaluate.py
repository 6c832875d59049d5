"""A network over a whole set."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle.static import InputSpec

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import SIZE
from lenet_paddle.evaluation.metrics import summarise
from lenet_paddle.models.layers import fast_layers


def predict_logits(
    network: paddle.nn.Layer,
    image_set: ImageSet,
    input_size: int = SIZE,
    batch_size: int = 128,
) -> np.ndarray:
    """Logits float32 (N, C) of every image, in order."""
    loader = BatchLoader(image_set, batch_size, input_size=input_size)
    with fast_layers(network):
        return np.concatenate([compute_logits(network, images) for images, _ in loader])


@paddle.no_grad()
def compute_logits(network: paddle.nn.Layer, batch: np.ndarray) -> np.ndarray:
    """Logits float32 (B, C) of a normalised batch, float32 (B, 1, S, S), in evaluation mode."""
    network.eval()
    return network(paddle.to_tensor(batch)).numpy()


def image_spec(input_size: int) -> InputSpec:
    """The network's input: `image`, float32 (B, 1, S, S)."""
    return InputSpec([None, 1, input_size, input_size], "float32", "image")


def evaluate(
    network: paddle.nn.Layer, image_set: ImageSet, input_size: int = SIZE, batch_size: int = 128
) -> dict[str, Any]:
    """The figures of `network` on `image_set`, see `metrics.summarise`."""
    logits = predict_logits(network, image_set, input_size, batch_size)
    return summarise(logits, image_set.labels, image_set.classes)
