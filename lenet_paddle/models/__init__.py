"""Networks: batch -> logits. `MODELS` names them; importing it does not import Paddle.

To add a network, write a function `(num_classes, channels, side)` of its name in a module of this
package, side being that of its square input, and a line in `MODELS`. The first line of its
docstring says what it is, up to a semicolon (docs/reference.md shows that), then its input and `N
parameters`, those of grey 28x28 and ten classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal, NamedTuple

from lenet_paddle.errors import InputError
from lenet_paddle.settings import Bound

if TYPE_CHECKING:
    from paddle import nn


class ModelRecord(NamedTuple):
    """Where a network is built, and what it takes."""

    module: str
    """The module of this package; its function of the network's name builds it."""
    smallest_input: int = 28
    """The side in pixels to which smaller pictures are padded."""


MODELS: dict[str, ModelRecord] = {
    "lenet5": ModelRecord("lenet", smallest_input=32),
    "lenet_sequential": ModelRecord("lenet"),
    "lenet_subclass": ModelRecord("lenet"),
    "lenet_builtin": ModelRecord("lenet"),
    "mlp": ModelRecord("lenet"),
    "lenet_relu": ModelRecord("cnn"),
    "lenet_d2l": ModelRecord("cnn"),
    "cnn_regularized": ModelRecord("cnn"),
    "lenet_modern": ModelRecord("cnn"),
    "lenet_deep": ModelRecord("cnn"),
    "cnn_modern": ModelRecord("cnn"),
}
if TYPE_CHECKING:
    ModelName = str
else:
    ModelName = Literal[tuple(MODELS)]

VISION_PREFIX = "vision:"
VISION_NAMES = (  # the classifiers of paddle.vision.models, in its order
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext50_64x4d", "resnext101_32x4d", "resnext101_64x4d"),
    *("resnext152_32x4d", "resnext152_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *("vgg11", "vgg13", "vgg16", "vgg19"),
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("densenet121", "densenet161", "densenet169", "densenet201", "densenet264"),
    *("alexnet", "inception_v3", "squeezenet1_0", "squeezenet1_1", "googlenet"),
    *("shufflenet_v2_x0_25", "shufflenet_v2_x0_33", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    *("shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "shufflenet_v2_swish"),
)


def is_model(name: str) -> bool:
    """Return whether `name` is in `MODELS`, or `vision:` and one of `VISION_NAMES`."""
    if name.startswith(VISION_PREFIX):
        return name.removeprefix(VISION_PREFIX) in VISION_NAMES
    return name in MODELS


KNOWN_MODEL = Bound(
    is_model,
    f"one of {', '.join(MODELS)}, or {VISION_PREFIX}NAME with NAME one of "
    f"{', '.join(VISION_NAMES)}",
)


def check_model(name: str) -> None:
    """Raise `InputError` with the valid names unless `name` is a network."""
    if not is_model(name):
        raise InputError(f"model {name!r} is unknown; expected {KNOWN_MODEL.words}")


def build_model(
    name: str, num_classes: int = 10, channels: int = 1, image_size: int = 28
) -> nn.Layer:
    """Build the network `name`, freshly initialised, for pictures of `image_size` x `image_size`
    pixels and 1 or 3 `channels`. Raises `InputError` for an unknown name, for fewer than one class,
    and for pictures smaller than 28x28."""
    check_model(name)
    if channels not in (1, 3) or image_size < 28:
        raise InputError(
            f"pictures of {image_size}x{image_size} with {channels} channels; expected 28x28 or "
            "more with 1 or 3"
        )
    if num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; expected a whole number of 1 or more")
    if name.startswith(VISION_PREFIX):
        from lenet_paddle.models.zoo import VisionModel

        return VisionModel(name.removeprefix(VISION_PREFIX), num_classes)
    module = importlib.import_module(f"lenet_paddle.models.{MODELS[name].module}")
    side = input_size(name, image_size)
    network: nn.Layer = getattr(module, name)(num_classes, channels, side)
    return network


def input_size(name: str, image_size: int = 28) -> int:
    """Return the side in pixels of the network's square input, for pictures of side `image_size`.

    Networks of `vision:` enlarge the pictures themselves where they must.
    """
    return max(image_size, MODELS[name].smallest_input if name in MODELS else 28)
