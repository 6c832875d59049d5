"""A single layer's window, parameters, multiply-adds and operations.

Shapes have the batch first: (B, C), or (B, C, H, W) with any number of axes after C. Only
Paddle's own layers are known, in the format with the channels first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from paddle import nn

from lenet_paddle.errors import InputError
from lenet_paddle.models.parameters import learned_parameters

_CONVS = (nn.Conv1D, nn.Conv2D, nn.Conv3D)
_TRANSPOSED = (nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose)
_MAX_POOLS = (nn.MaxPool1D, nn.MaxPool2D, nn.MaxPool3D)
_POOLS = (*_MAX_POOLS, nn.AvgPool1D, nn.AvgPool2D, nn.AvgPool3D)
_ADAPTIVE = tuple(
    getattr(nn, f"Adaptive{kind}Pool{dims}D") for kind in ("Avg", "Max") for dims in (1, 2, 3)
)
_BATCH_NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)
_FREE = (nn.Flatten, nn.Dropout, nn.Dropout2D)  # no arithmetic in evaluation mode


def has_weights(layer: nn.Layer) -> bool:
    """Return whether `layer` is a convolution or linear, which a network's depth counts."""
    return isinstance(layer, (*_CONVS, *_TRANSPOSED, nn.Linear))


def find_windows(
    layer: nn.Layer, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the input units that an output unit sees and the growth of the step, for each axis.

    Both are empty for a layer that works on each unit alone.
    """
    dims = len(before)
    if isinstance(layer, (*_CONVS, *_POOLS)):
        return _spans(layer, dims), _strides(layer, dims)
    if isinstance(layer, _TRANSPOSED):
        strides = _strides(layer, dims)
        spans = zip(_spans(layer, dims), strides, strict=True)
        return tuple(math.ceil(k / s) for k, s in spans), tuple(1 / s for s in strides)
    if isinstance(layer, _ADAPTIVE):
        pairs = list(zip(before, after, strict=True))
        widest = tuple(float(max(adaptive_windows(n, m))) for n, m in pairs)
        # A single unit has no neighbour; it keeps the step, for a gate that is spread over the map.
        return widest, tuple(n / m if m > 1 else 1.0 for n, m in pairs)
    if isinstance(layer, nn.Upsample):
        seen = {"nearest": 1.0, "bilinear": 2.0, "linear": 2.0, "trilinear": 2.0}
        window = seen.get(layer.mode, math.nan)
        return (window,) * dims, tuple(n / m for n, m in zip(before, after, strict=True))
    return (), ()


def check_fit(name: str, layer: nn.Layer, inputs: Any) -> None:
    """Raise `InputError` for a window larger than the padded map, or a wrong number of values.

    Paddle itself returns a wrong map for such a window, or writes outside of it.
    """
    shape = inputs[0].shape
    if isinstance(layer, nn.Linear) and shape[-1] != layer.weight.shape[0]:
        raise InputError(
            f"layer {name} takes {layer.weight.shape[0]:,} values and would get {shape[-1]:,}"
        )
    if isinstance(layer, (*_CONVS, *_POOLS)):
        spans, room = _spans(layer, len(shape) - 2), _paddings(layer, len(shape) - 2)
        for units, span, padding in zip(shape[2:], spans, room, strict=True):
            if span > units + padding:
                raise InputError(
                    f"layer {name} needs {span:g} units a side and would get {units + padding:g}"
                )


def adaptive_windows(units: int, outputs: int) -> list[int]:
    """Return how many of `units` each of `outputs` units of an adaptive pooling sees, in Paddle."""
    return [
        math.ceil((i + 1) * units / outputs) - math.floor(i * units / outputs)
        for i in range(outputs)
    ]


def count_macs(layer: nn.Layer, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Count the multiply-adds of a weight with a value, for tensors of these shapes.

    In a convolution every output sums c_in / groups * k * k products; in a transposed one every
    input is multiplied by c_out / groups * k * k weights (including those that fall on padding).
    """
    if isinstance(layer, _CONVS):
        return math.prod(after) * math.prod(layer.weight.shape[1:])
    if isinstance(layer, _TRANSPOSED):
        return math.prod(before) * math.prod(layer.weight.shape[1:])
    if isinstance(layer, nn.Linear):
        return math.prod(after) * layer.weight.shape[0]
    return 0


def count_flops(layer: nn.Layer, before: tuple[int, ...], after: tuple[int, ...]) -> int | None:
    """Count arithmetic operations as in `DEFINITIONS`; None for an unknown kind of layer."""
    if isinstance(layer, (*_CONVS, *_TRANSPOSED, nn.Linear)):
        return 2 * count_macs(layer, before, after) + math.prod(after) * (layer.bias is not None)
    if isinstance(layer, _BATCH_NORMS):
        return 2 * math.prod(after)
    if isinstance(layer, _POOLS):
        return math.prod(after) * math.prod(_kernel(layer, len(after) - 2))
    if isinstance(layer, _ADAPTIVE):
        pairs = zip(before[2:], after[2:], strict=True)
        return math.prod(after[:2]) * math.prod(sum(adaptive_windows(n, m)) for n, m in pairs)
    if type(layer).__module__.endswith("layer.activation"):
        return math.prod(after)
    return 0 if isinstance(layer, _FREE) else None


def write_formula(layer: nn.Layer) -> str:
    """Return a layer's parameters as a formula: `(5*5*1 + 1)*6`, `(400 + 1)*120`, `2*64`.

    A convolution has k*k*c_in/groups weights and a bias for each output channel.
    """
    if isinstance(layer, (*_CONVS, *_TRANSPOSED)):
        kernel = "*".join(map(str, layer._kernel_size))
        groups = f"/{layer._groups}" if layer._groups > 1 else ""
        weights = f"{kernel}*{layer._in_channels}{groups}"
        outputs = layer._out_channels
        return f"({weights} + 1)*{outputs}" if layer.bias is not None else f"{weights}*{outputs}"
    if isinstance(layer, nn.Linear):
        inputs, outputs = layer.weight.shape
        return f"({inputs} + 1)*{outputs}" if layer.bias is not None else f"{inputs}*{outputs}"
    learned = list(learned_parameters(layer).values())
    if isinstance(layer, _BATCH_NORMS) and len(learned) == 2:
        return f"2*{learned[0].size}"
    return " + ".join("*".join(map(str, p.shape)) for p in learned)


def _spans(layer: nn.Layer, dims: int) -> tuple[float, ...]:
    """Return the units from the first to the last of a window: (k - 1) * dilation + 1."""
    dilation = _tuple(getattr(layer, "_dilation", 1), dims)
    return tuple((k - 1) * d + 1 for k, d in zip(_kernel(layer, dims), dilation, strict=True))


def _kernel(layer: nn.Layer, dims: int) -> tuple[int, ...]:
    for name in ("_kernel_size", "ksize", "kernel_size"):  # convolutions, pools, 1-D pools
        if hasattr(layer, name):
            return _tuple(getattr(layer, name), dims)
    raise AttributeError(f"{type(layer).__name__} has no kernel")


def _strides(layer: nn.Layer, dims: int) -> tuple[int, ...]:
    stride = layer._stride if hasattr(layer, "_stride") else layer.stride
    return (
        _kernel(layer, dims) if stride is None else _tuple(stride, dims)
    )  # a pool's default: its window


def _paddings(layer: nn.Layer, dims: int) -> tuple[float, ...]:
    """Return the padding along each axis, both ends together; SAME pads without a limit."""
    padding = layer._padding if hasattr(layer, "_padding") else layer.padding
    if isinstance(padding, str):
        return (math.inf if padding.upper() == "SAME" else 0,) * dims
    flat = list(_flatten(padding))
    if len(flat) == 1:
        return (2 * flat[0],) * dims
    if len(flat) == dims:
        return tuple(2 * p for p in flat)
    pairs = flat[-2 * dims :]  # (before, after) of each axis, after those of batch and channels
    return tuple(map(sum, zip(pairs[::2], pairs[1::2], strict=True)))


def _flatten(value: Any) -> Iterable[int]:
    if not isinstance(value, (list, tuple)):
        return [value]
    return [number for part in value for number in _flatten(part)]


def _tuple(value: Any, dims: int) -> tuple[int, ...]:
    values = tuple(_flatten(value))
    return values * dims if len(values) == 1 else values
