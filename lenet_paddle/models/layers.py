"""Faster layers for the CPU, which replace a network's own during training and evaluation.

Chains of layers in an `nn.Sequential` are computed by the operators of `kernels`, see
`models.chains`. What those do not cover, and all where they are missing, stays Paddle's, with two
changes that save time: `Conv2D` and `PoolReLU`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F

from lenet_paddle.kernels.library import SWITCH, Missing
from lenet_paddle.kernels.operators import Chain
from lenet_paddle.models.chains import find_stages, is_readable

_log = logging.getLogger(__name__)


class Conv2D(nn.Conv2D):
    """`nn.Conv2D` with the bias added as (B, C, H*W) + (C, 1): same parameters, same names.

    Paddle adds it as (B, C, H, W) + (1, C, 1, 1), and on a CPU this broadcast costs several times
    the convolution, forward and backward. Outputs agree bit for bit, gradients up to rounding.
    """

    stands_for = nn.Conv2D

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, C_in, H, W) -> (B, C_out, H_out, W_out)."""
        maps = F.conv2d(
            images, self.weight, None, self._stride, self._padding, self._dilation, self._groups
        )
        flat = maps.flatten(2) + self.bias.unsqueeze(1)
        return flat.reshape(maps.shape)

    @staticmethod
    def can_replace(layer: nn.Layer) -> bool:
        """Return whether this class computes the same as `layer`."""
        return (
            type(layer) is nn.Conv2D
            and layer.bias is not None
            and layer._padding_mode == "zeros"
            and layer._data_format == "NCHW"
        )


class LateReLU(nn.ReLU):
    """An `nn.ReLU` that leaves its work to the `PoolReLU` after it, on a quarter of the values.

    With a forward hook it computes ReLU, so that the hook sees its output.
    """

    stands_for = nn.ReLU

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """float32, any shape -> the same."""
        return super().forward(maps) if self._forward_post_hooks else maps


class PoolReLU(nn.MaxPool2D):
    """Max pooling, then ReLU, with the values and gradients of the reverse order, bit for bit.

    A positive maximum is the same one at the same place in both orders; otherwise both give 0 and
    pass no gradient.
    """

    stands_for = nn.MaxPool2D

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, C, H, W) -> (B, C, H_out, W_out)."""
        return F.relu(super().forward(maps))


class _Chains(dict[tuple[Any, ...], tuple[int, Chain | None]]):
    """Chains of an `nn.Sequential`, which a copy of it does not share."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Chains, ()


class ChainedSequential(nn.Sequential):
    """An `nn.Sequential` that computes each chain among its layers by one operator.

    A chain with a hook on one of its layers is computed layer by layer, so that the hook runs; and
    so is all in evaluation mode with gradients, as when a callback asks what the network looks at:
    Paddle's `PyLayer` has neither `paddle.grad` for some of its inputs nor `retain_graph`.
    """

    def forward(self, values: paddle.Tensor) -> paddle.Tensor:
        """Return the result of all layers, whatever the first one takes."""
        layers, i = list(self._sub_layers.values()), 0
        while i < len(layers):
            length, chain = self._find_chain(layers, i, values)
            values = chain(values) if chain else layers[i](values)
            i += length
        return values

    def _find_chain(
        self, layers: list[nn.Layer], start: int, values: paddle.Tensor
    ) -> tuple[int, Chain | None]:
        """Return the number of layers to compute next, and their chain if they have one."""
        has_gradients = paddle.is_grad_enabled()
        if not is_readable(values) or (has_gradients and not self.training):
            return 1, None
        modes = tuple(layer.training for layer in layers)
        key = (start, tuple(values.shape[1:]), *layers, modes, has_gradients)
        chains = self.__dict__.setdefault("_chains", _Chains())
        if key not in chains:
            chains[key] = _build_chain(layers[start:], values.shape[1:])
        length, chain = chains[key]
        if chain and any(map(_is_changed, layers[start : start + length])):
            return 1, None
        return length, chain


def _is_changed(layer: nn.Layer) -> bool:
    """Return whether a layer does more than its class says: by a hook or a `forward` of its own."""
    own = layer._forward_pre_hooks or layer._forward_post_hooks
    return bool(own) or "forward" in vars(layer)


def _build_chain(layers: Sequence[nn.Layer], shape: Sequence[int]) -> tuple[int, Chain | None]:
    """Return the chain with which `layers` begin and its length, or 1 and None.

    shape: of one input, without the batch.
    """
    stages, length, shape = find_stages(layers, shape)
    if stages:
        try:
            return length, Chain(stages, shape)
        except Missing as error:
            _say_missing(str(error))
    return 1, None


@functools.cache
def _say_missing(reason: str) -> None:
    level = logging.DEBUG if SWITCH in reason else logging.WARNING
    _log.log(level, "Paddle's own layers are used, at a quarter of the speed: %s", reason)


@contextlib.contextmanager
def fast_layers(network: nn.Layer) -> Iterator[None]:
    """Use the faster layers in `network` within a `with` block; on a CPU only.

    Each `nn.Sequential` becomes a `ChainedSequential`, plain convolutions `Conv2D`; a ReLU and a
    max pooling that follows it in an `nn.Sequential` change places. Only the layers' classes
    change, and they are restored afterwards; parameters, names and state are untouched.
    """
    plain: list[tuple[nn.Layer, type]] = []
    if paddle.get_device() == "cpu":
        layers = network.sublayers(include_self=True)
        plain = [(layer, Conv2D) for layer in layers if Conv2D.can_replace(layer)]
        for relu, pool in _find_relu_pool(layers):
            plain += [(relu, LateReLU), (pool, PoolReLU)]
        plain += [(layer, ChainedSequential) for layer in layers if type(layer) is nn.Sequential]
    own = [type(layer) for layer, _ in plain]
    for layer, cheap in plain:
        layer.__class__ = cheap
    try:
        yield
    finally:
        for (layer, _), kind in zip(plain, own, strict=True):
            layer.__class__ = kind
            layer.__dict__.pop("_chains", None)


def _find_relu_pool(layers: list[nn.Layer]) -> Iterator[tuple[nn.Layer, nn.Layer]]:
    """Find pairs of ReLU and max pooling next to each other in an `nn.Sequential` only."""
    uses = Counter(id(child) for layer in layers for child in layer._sub_layers.values())
    for block in (layer for layer in layers if type(layer) is nn.Sequential):
        for relu, pool in itertools.pairwise(block):
            is_pair = type(relu) is nn.ReLU and type(pool) is nn.MaxPool2D and not pool.return_mask
            if is_pair and uses[id(relu)] == uses[id(pool)] == 1:
                yield relu, pool
