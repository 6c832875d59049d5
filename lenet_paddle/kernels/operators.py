"""A chain of layers as one operator of Paddle, with its gradients."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer

from lenet_paddle.kernels.library import Conv, load_library
from lenet_paddle.runtime import count_threads

_ACTIVATIONS = ("", "relu", "tanh", "sigmoid")
_ALIGNMENT = 64  # bytes of the widest vector
_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


class _StageStruct(ctypes.Structure):
    """`stage_t` of chain.c."""

    _fields_ = (
        ("conv", _POINTER),
        *((name, _INT) for name in ("inputs", "outputs", "weight_out", "weight_in")),
        *((name, _INT) for name in ("activation", "channels")),
        *((name, _POINTER) for name in ("w", "b", "scale", "shift", "dw", "db")),
        *((name, _LONG) for name in ("y", "aside", "partial", "rows")),
    )


class _ChainStruct(ctypes.Structure):
    """`chain_t` of chain.c."""

    _fields_ = (
        ("stages", ctypes.POINTER(_StageStruct)),
        *((name, _LONG) for name in ("count", "images", "threads")),
        *((name, _POINTER) for name in ("x", "dy", "y", "dx")),
        *((name, _POINTER) for name in ("blocks", "scratch", "partials", "rows")),
        *((name, _LONG) for name in ("keep", "block", "own", "sums", "row_floats")),
    )


class Stage(NamedTuple):
    """A layer with weights, and what follows it up to the next one."""

    layer: nn.Conv2D | nn.Linear
    conv: Conv | None = None
    """The sizes of a convolution; None for a linear layer."""
    activation: str = ""
    """Behind the pooling: "", "relu", "tanh" or "sigmoid"."""
    norm: nn.BatchNorm2D | None = None
    """Between pooling and activation, in evaluation mode, when no gradient is wanted."""


class Chain:
    """Stages as one function of a batch: float32 (B, C, H, W) or (B, N) -> (B, *output_shape).

    Results have the same bits for any number of threads. Raises `library.Missing` if there is no
    library for the stages.
    """

    def __init__(self, stages: Sequence[Stage], output_shape: Sequence[int]) -> None:
        self.stages, self.output_shape = stages, list(output_shape)
        convs = [s.conv for s in stages if s.conv and not s.conv.covers_all]
        self.library, addresses = load_library(convs)
        self.width = self.library.vector_width()
        self.structs = (_StageStruct * len(stages))(
            *(_describe(stage, stage.conv and addresses.get(stage.conv)) for stage in stages)
        )
        self.struct = _ChainStruct(stages=self.structs, count=len(stages), threads=count_threads())
        if self.library.plan(ctypes.byref(self.struct)):
            raise ValueError(f"stages do not fit together: {stages}")
        self.lock = threading.Lock()  # of the structs

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the result; it has a gradient where Paddle's layers would have one."""
        tensors = [t for s in self.stages for t in (s.layer.weight, s.layer.bias) if t is not None]
        if paddle.is_grad_enabled() and not all(t.stop_gradient for t in (images, *tensors)):
            return _Operator.apply(images, self, *tensors)
        return self.forward(images, keep=False)[0]

    def forward(self, images: paddle.Tensor, keep: bool) -> tuple[paddle.Tensor, np.ndarray]:
        """Return the result, and with `keep` what `backward` needs."""
        if not images.is_contiguous():
            images = images.contiguous()
        count = images.shape[0]
        result = paddle.empty([count, *self.output_shape])
        places = self._count_blocks(count) if keep else self.struct.threads
        blocks = _allocate(places * self.struct.block * self.width)
        norms = [_scale_and_shift(stage.norm) for stage in self.stages]
        with self.lock:
            self._point_to_weights()
            for struct, (scale, shift) in zip(self.structs, norms, strict=True):
                struct.scale, struct.shift = _address(scale), _address(shift)
            self.struct.images, self.struct.keep = count, keep
            self.struct.x, self.struct.y = images.data_ptr(), result.data_ptr()
            self.struct.blocks = _address(blocks)
            self.library.forward(ctypes.byref(self.struct))
        return result, blocks

    def backward(
        self, gradient: paddle.Tensor, blocks: np.ndarray, images: paddle.Tensor
    ) -> tuple[paddle.Tensor | None, ...]:
        """Return the gradients of the images and of each weight and bias, None for a frozen one."""
        if not gradient.is_contiguous():
            gradient = gradient.contiguous()
        count, threads = images.shape[0], self.struct.threads
        of_images = None if images.stop_gradient else paddle.empty(images.shape)
        scratch = _allocate(threads * self.struct.own * self.width)
        partials = _allocate(self._count_blocks(count) * self.struct.sums)
        rows = _allocate(count * self.struct.row_floats)
        found: list[paddle.Tensor | None] = [of_images]
        with self.lock:
            self._point_to_weights()
            for struct, stage in zip(self.structs, self.stages, strict=True):
                for name, tensor in (("dw", stage.layer.weight), ("db", stage.layer.bias)):
                    if tensor is not None:
                        found.append(None if tensor.stop_gradient else paddle.empty(tensor.shape))
                        setattr(struct, name, None if found[-1] is None else found[-1].data_ptr())
            self.struct.images, self.struct.blocks = count, _address(blocks)
            self.struct.dy = gradient.data_ptr()
            self.struct.dx = None if of_images is None else of_images.data_ptr()
            self.struct.scratch, self.struct.partials = _address(scratch), _address(partials)
            self.struct.rows = _address(rows)
            self.library.backward(ctypes.byref(self.struct))
        return tuple(found)

    def _count_blocks(self, images: int) -> int:
        return -(-images // self.width)

    def _point_to_weights(self) -> None:
        """Read the weights' places again: an optimizer may have moved them."""
        for struct, stage in zip(self.structs, self.stages, strict=True):
            bias = stage.layer.bias
            struct.w = stage.layer.weight.data_ptr()
            struct.b = None if bias is None else bias.data_ptr()


class _Operator(PyLayer):
    """A `Chain` that Paddle can differentiate."""

    @staticmethod
    def forward(ctx: Any, images: paddle.Tensor, chain: Chain, *weights: Any) -> paddle.Tensor:
        result, blocks = chain.forward(images, keep=True)
        ctx.chain, ctx.blocks, ctx.images = chain, blocks, images
        return result

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor | None, ...]:
        return ctx.chain.backward(gradient, ctx.blocks, ctx.images)


def _describe(stage: Stage, address: int | None) -> _StageStruct:
    """Return a stage as chain.c takes it; `address` is that of its convolution, if it has one."""
    weight, conv = stage.layer.weight, stage.conv
    struct = _StageStruct(conv=address, activation=_ACTIVATIONS.index(stage.activation))
    if conv is None:
        struct.inputs, struct.outputs = weight.shape
        struct.weight_out, struct.weight_in = 1, struct.outputs
    else:
        struct.inputs, struct.outputs = math.prod(conv.input), math.prod(conv.output)
        struct.weight_out, struct.weight_in = struct.inputs, 1
    struct.channels = weight.shape[1 if conv is None else 0]
    return struct


def _scale_and_shift(norm: nn.BatchNorm2D | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return batch normalisation by its running statistics as a factor and a summand."""
    if norm is None:
        return None, None
    scale = norm.weight.numpy() / np.sqrt(norm._variance.numpy() + np.float32(norm._epsilon))
    return scale, norm.bias.numpy() - norm._mean.numpy() * scale


def _allocate(floats: int) -> np.ndarray:
    """Return memory for floats, aligned for vectors; its content is undefined."""
    memory = np.empty(4 * floats + _ALIGNMENT, np.uint8)
    return memory[-memory.ctypes.data % _ALIGNMENT :]


def _address(memory: np.ndarray | None) -> int | None:
    return None if memory is None else memory.ctypes.data
