"""Faster layers for the CPU, which replace a network's own during training and evaluation."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator

import paddle
from paddle import nn
from paddle.nn import functional as F


class Conv2D(nn.Conv2D):
    """`nn.Conv2D` with the bias added as (B, C, H*W) + (C, 1): same parameters, same names.

    Paddle adds it as (B, C, H, W) + (1, C, 1, 1), and on a CPU this broadcast costs several times
    the convolution, forward and backward. Outputs agree bit for bit, gradients up to rounding.
    """

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

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """float32, any shape -> the same."""
        return super().forward(maps) if self._forward_post_hooks else maps


class PoolReLU(nn.MaxPool2D):
    """Max pooling, then ReLU, with the values and gradients of the reverse order, bit for bit.

    A positive maximum is the same one at the same place in both orders; otherwise both give 0 and
    pass no gradient.
    """

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, C, H, W) -> (B, C, H_out, W_out)."""
        return F.relu(super().forward(maps))


@contextlib.contextmanager
def fast_layers(network: nn.Layer) -> Iterator[None]:
    """Use the faster layers in `network` within a `with` block; on a CPU only.

    Plain convolutions become `Conv2D`; a ReLU and a max pooling that follows it in an
    `nn.Sequential` change places. Only the layers' classes change, and they are restored
    afterwards; parameters, names and state are untouched.
    """
    plain: list[tuple[nn.Layer, type]] = []
    if paddle.get_device() == "cpu":
        layers = network.sublayers(include_self=True)
        plain = [(layer, Conv2D) for layer in layers if Conv2D.can_replace(layer)]
        for relu, pool in _find_relu_pool(layers):
            plain += [(relu, LateReLU), (pool, PoolReLU)]
    own = [type(layer) for layer, _ in plain]
    for layer, cheap in plain:
        layer.__class__ = cheap
    try:
        yield
    finally:
        for (layer, _), kind in zip(plain, own, strict=True):
            layer.__class__ = kind


def _find_relu_pool(layers: list[nn.Layer]) -> Iterator[tuple[nn.Layer, nn.Layer]]:
    """Find pairs of ReLU and max pooling next to each other in an `nn.Sequential` only."""
    uses = Counter(id(child) for layer in layers for child in layer._sub_layers.values())
    for block in (layer for layer in layers if type(layer) is nn.Sequential):
        for relu, pool in itertools.pairwise(block):
            is_pair = type(relu) is nn.ReLU and type(pool) is nn.MaxPool2D and not pool.return_mask
            if is_pair and uses[id(relu)] == uses[id(pool)] == 1:
                yield relu, pool
