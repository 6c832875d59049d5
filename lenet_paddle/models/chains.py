"""Which layers of a sequence the operators of `kernels` compute, as chains of stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from lenet_paddle.kernels.library import Conv
from lenet_paddle.kernels.operators import Stage

_ACTIVATIONS = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
_POOLS = {nn.MaxPool2D: "max", nn.AvgPool2D: "average"}
_LARGEST_KERNEL = 7  # larger ones would not fit in the registers


def find_stages(
    layers: Sequence[nn.Layer], shape: Sequence[int]
) -> tuple[list[Stage], int, list[int]]:
    """Return the stages with which `layers` begin, of how many layers, and their output's shape.

    shape: of one input, (C, H, W) or (N,). A layer that the operators do not cover ends them.
    """
    rest, shape = _Rest(layers), list(shape)
    stages: list[Stage] = []
    while layer := rest.peek():
        kind = _kind(layer)
        if kind is nn.Conv2D and _is_covered(layer, shape):
            stage, conv = _take_convolution(layer, rest, shape)
            stages.append(stage)
            shape = list(conv.output)
        elif kind is nn.Linear and shape == layer.weight.shape[:1] and _has_readable_tensors(layer):
            rest.take(nn.Linear)
            stages.append(Stage(layer, activation=rest.take_one_of(_ACTIVATIONS)))
            shape = [layer.weight.shape[1]]
        elif stages and kind is nn.Flatten and (layer.start_axis, layer.stop_axis) == (1, -1):
            rest.take(nn.Flatten)
            shape = [math.prod(shape)]
        elif stages and kind is nn.Dropout and _is_idle(layer):
            rest.take(nn.Dropout)
        else:
            break
    return stages, rest.taken, shape


class _Rest:
    """The layers that are not yet in a chain."""

    def __init__(self, layers: Sequence[nn.Layer]) -> None:
        self.layers, self.taken = layers, 0

    def peek(self) -> nn.Layer | None:
        """Return the next layer."""
        return self.layers[self.taken] if self.taken < len(self.layers) else None

    def take(self, *kinds: type) -> nn.Layer | None:
        """Return the next layer and pass over it if it is of one of `kinds`, else None."""
        layer = self.peek()
        if layer is None or _kind(layer) not in kinds:
            return None
        self.taken += 1
        return layer

    def take_one_of(self, names: dict[type, str]) -> str:
        """Pass over the next layer if its class is among `names`; return its name, else ""."""
        layer = self.take(*names)
        return "" if layer is None else names[_kind(layer)]


def _take_convolution(layer: nn.Conv2D, rest: _Rest, shape: Sequence[int]) -> tuple[Stage, Conv]:
    """Take a convolution and what follows it: an activation, pooling, or both in either order.

    Batch normalisation is taken where it is no more than a factor and a summand.
    """
    rest.take(nn.Conv2D)
    maps, _, kernel, _ = layer.weight.shape
    channels, height, width = shape
    conv = Conv(channels, height, width, layer._updated_padding[0], maps, kernel)
    norm = None
    activation = rest.take_one_of(_ACTIVATIONS)
    if _is_halving(rest.peek(), conv.output[1:]):
        conv = conv._replace(pool=rest.take_one_of(_POOLS))
    if conv.pool == "average" or (conv.pool and activation == "relu"):  # others follow a maximum
        conv, activation = conv._replace(inner=activation), ""
    if not activation:
        if _is_constant(rest.peek()):
            norm = rest.take(nn.BatchNorm2D)
        activation = rest.take_one_of(_ACTIVATIONS)
    return Stage(layer, conv, activation, norm), conv


def _is_idle(layer: nn.Dropout) -> bool:
    """Return whether dropout passes its input on unchanged."""
    return not layer.training and layer.mode == "upscale_in_train"


def _kind(layer: nn.Layer | None) -> type:
    """Return a layer's class, for the faster ones of `models.layers` the one they stand for."""
    return getattr(type(layer), "stands_for", type(layer))


def _is_covered(layer: nn.Conv2D, shape: list[int]) -> bool:
    """Return whether chain.c computes this convolution of maps of shape (C, H, W)."""
    _, channels, kernel, width = layer.weight.shape
    return (
        len(shape) == 3
        and shape[0] == channels
        and _has_readable_tensors(layer)
        and layer._groups == 1
        and [*layer._stride, *layer._dilation] == [1] * 4
        and layer._padding_mode == "zeros"
        and layer._padding_algorithm == "EXPLICIT"
        and len(set(layer._updated_padding)) == 1
        and layer._data_format == "NCHW"
        and kernel == width <= _LARGEST_KERNEL
        and min(shape[1:]) + 2 * layer._updated_padding[0] >= kernel
    )


def is_readable(values: Any) -> bool:
    """Return whether chain.c can read `values`: a tensor in the memory of the CPU, not empty."""
    return (
        isinstance(values, paddle.Tensor)
        and values.dtype == paddle.float32
        and 0 not in values.shape
        and values.place.is_cpu_place()
    )


def _has_readable_tensors(layer: nn.Layer) -> bool:
    tensors = (layer.weight, layer.bias, *layer.buffers())
    return all(is_readable(tensor) for tensor in tensors if tensor is not None)


def _is_halving(layer: nn.Layer | None, sides: Sequence[int]) -> bool:
    """Return whether a layer pools maps of `sides` by windows of 2x2 that do not overlap."""
    if layer is None or _kind(layer) not in _POOLS:
        return False
    return (
        layer.ksize in (2, [2, 2], (2, 2))
        and layer.stride in (None, 2, [2, 2], (2, 2))
        and layer.padding == 0
        and not layer.ceil_mode
        and layer.data_format == "NCHW"
        and not getattr(layer, "return_mask", False)
        and getattr(layer, "divisor", None) is None
        and min(sides) >= 2
    )


def _is_constant(layer: nn.Layer | None) -> bool:
    """Return whether a layer is batch normalisation by running statistics, without a gradient."""
    return (
        layer is not None
        and _kind(layer) is nn.BatchNorm2D
        and (not layer.training or bool(layer._use_global_stats))
        and not paddle.is_grad_enabled()
        and layer._data_format == "NCHW"
        and layer.weight is not None
        and layer.bias is not None
        and _has_readable_tensors(layer)
    )
