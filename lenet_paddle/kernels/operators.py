"""A chain of layers as one operator of Paddle, with its gradients."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import _C_ops, nn
from paddle.autograd import PyLayer

from lenet_paddle.kernels.library import Conv, load_library
from lenet_paddle.runtime import count_threads

_ACTIVATIONS = ("", "relu", "tanh", "sigmoid")
_ALIGNMENT = 64  # bytes of the widest vector
_FLOAT32 = paddle.base.core.DataType.FLOAT32
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
        *((name, _LONG) for name in ("keep", "block", "own", "sums", "row_floats", "most")),
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

    Results have the same bits for any number of threads. Parameters may change their values but
    not be exchanged for others. Raises `library.Missing` if there is no library for the stages.
    """

    def __init__(self, stages: Sequence[Stage], output_shape: Sequence[int]) -> None:
        self.stages, self.output_shape = stages, list(output_shape)
        convs = [s.conv for s in stages if s.conv and not s.conv.covers_all]
        self.library, addresses = load_library(convs)
        self.width = self.library.vector_width()
        self.structs = (_StageStruct * len(stages))(
            *(_describe(stage, stage.conv and addresses.get(stage.conv)) for stage in stages)
        )
        pairs = zip(self.structs, stages, strict=True)
        named = [(struct, name, s.layer) for struct, s in pairs for name in ("weight", "bias")]
        self.weights = [  # the struct, its fields for value and gradient, and the tensor
            (struct, name[0], f"d{name[0]}", tensor)
            for struct, name, layer in named
            if (tensor := getattr(layer, name)) is not None
        ]
        self.tensors = [tensor for *_, tensor in self.weights]
        self.struct = _ChainStruct(stages=self.structs, count=len(stages), threads=count_threads())
        if self.library.plan(ctypes.byref(self.struct)):
            raise ValueError(f"stages do not fit together: {stages}")
        self.lock = threading.Lock()  # of the structs and of `working`
        self.working = np.empty(0, np.uint8)

    def __call__(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return the result; it has a gradient where Paddle's layers would have one."""
        wanted = not all(t.stop_gradient for t in (images, *self.tensors))
        if wanted and paddle.is_grad_enabled():
            return _Operator.apply(images, self, *self.tensors)
        return self.forward(images, keep=False)[0]

    def forward(self, images: paddle.Tensor, keep: bool) -> tuple[paddle.Tensor, np.ndarray]:
        """Return the result, and with `keep` what `backward` needs."""
        if not images.is_contiguous():
            images = images.contiguous()
        count = images.shape[0]
        result = paddle.empty([count, *self.output_shape], "float32")  # whatever the default
        places = -(-count // self.width) if keep else self.struct.threads
        blocks = _allocate(places * self.struct.block * self.width)
        with self.lock:
            norms = self._point_to_weights()
            self.struct.images, self.struct.keep = count, keep
            self.struct.x, self.struct.y = images.data_ptr(), result.data_ptr()
            self.struct.blocks = blocks.ctypes.data
            self.library.forward(ctypes.byref(self.struct))
        del norms  # lived until here
        return result, blocks

    def backward(
        self, gradient: paddle.Tensor, blocks: np.ndarray, images: paddle.Tensor
    ) -> tuple[paddle.Tensor | None, ...]:
        """Return the gradients of the images and of each weight and bias, None for a frozen one."""
        shape = [images.shape[0], *self.output_shape]
        if gradient.shape != shape:  # its dtype is made that of the output by Paddle
            raise ValueError(f"a gradient of shape {list(gradient.shape)}, expected {shape}")
        if not gradient.is_contiguous():
            gradient = gradient.contiguous()
        found = [None if t.stop_gradient else _empty_like(t) for t in (images, *self.tensors)]
        with self.lock:
            self._point_to_weights()
            for (struct, _, name, _), made in zip(self.weights, found[1:], strict=True):
                setattr(struct, name, _pointer(made))
            self.struct.images, self.struct.blocks = images.shape[0], blocks.ctypes.data
            self.struct.dy, self.struct.dx = gradient.data_ptr(), _pointer(found[0])
            self._point_to_working_memory(images.shape[0])
            self.library.backward(ctypes.byref(self.struct))
        return tuple(found)

    def _point_to_weights(self) -> list[Any]:
        """Read the weights' places again: an optimizer may have moved them."""
        for struct, name, _, tensor in self.weights:
            setattr(struct, name, tensor.data_ptr())
        pairs = zip(self.structs, self.stages, strict=True)
        norms = [(struct, *_scale_and_shift(s.norm)) for struct, s in pairs if s.norm]
        for struct, scale, shift in norms:
            struct.scale, struct.shift = scale.ctypes.data, shift.ctypes.data
        return norms

    def _point_to_working_memory(self, images: int) -> None:
        """Give `backward` memory that it needs no longer than it runs."""
        struct = self.struct
        scratch = struct.threads * struct.own * self.width
        partials = -(-images // self.width) * struct.sums
        size = scratch + partials + images * struct.row_floats
        if self.working.size < 4 * size:
            self.working = _allocate(size)
        struct.scratch = self.working.ctypes.data
        struct.partials = struct.scratch + 4 * scratch
        struct.rows = struct.partials + 4 * partials


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


def _scale_and_shift(norm: nn.BatchNorm2D) -> tuple[np.ndarray, np.ndarray]:
    """Return batch normalisation by its running statistics as a factor and a summand."""
    scale = norm.weight.numpy() / np.sqrt(norm._variance.numpy() + np.float32(norm._epsilon))
    return scale, norm.bias.numpy() - norm._mean.numpy() * scale


def _allocate(floats: int) -> np.ndarray:
    """Return memory for floats, aligned for vectors; its content is undefined."""
    memory = np.empty(4 * floats + _ALIGNMENT, np.uint8)
    return memory[-memory.ctypes.data % _ALIGNMENT :]


def _empty_like(tensor: paddle.Tensor) -> paddle.Tensor:
    """Do as `paddle.empty_like`, in a third of its time."""
    return _C_ops.empty_like(tensor, _FLOAT32, tensor.place)


def _pointer(tensor: paddle.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
