"""Room 2: batch -> logits. `MODELS` maps a name to its builder and the input's side in pixels;
`vision:<name>` is a network of `paddle.vision.models` beside them."""

from __future__ import annotations

from collections.abc import Callable

from paddle import nn

from lenet_paddle.config import VISION_PREFIX, check_model
from lenet_paddle.data.preprocess import SIZE
from lenet_paddle.errors import InputError
from lenet_paddle.models.cnn import cnn_regularized, lenet_d2l, lenet_modern, lenet_relu
from lenet_paddle.models.lenet import LeNet, lenet5, lenet_builtin, lenet_sequential, mlp
from lenet_paddle.models.zoo import VisionModel

MODELS: dict[str, tuple[Callable[[int], nn.Layer], int]] = {
    "lenet5": (lenet5, 32),
    "lenet_sequential": (lenet_sequential, 28),
    "lenet_subclass": (LeNet, 28),
    "lenet_builtin": (lenet_builtin, 28),
    "mlp": (mlp, 28),
    "lenet_relu": (lenet_relu, 28),
    "lenet_d2l": (lenet_d2l, 28),
    "cnn_regularized": (cnn_regularized, 28),
    "lenet_modern": (lenet_modern, 28),
}


def build_model(name: str, num_classes: int = 10) -> nn.Layer:
    """Build the network `name`, freshly initialised. Raises `InputError` for an unknown name
    and for fewer than one class."""
    check_model(name)
    if num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; expected a whole number of 1 or more")
    if name.startswith(VISION_PREFIX):
        return VisionModel(name.removeprefix(VISION_PREFIX), num_classes)
    return MODELS[name][0](num_classes)


def input_size(name: str) -> int:
    """The side in pixels of the square pictures that the network `name` takes; those of
    `vision:` enlarge a picture themselves where they must."""
    return SIZE if name.startswith(VISION_PREFIX) else MODELS[name][1]
