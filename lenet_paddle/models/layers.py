"""Layers that are cheaper on a CPU, lent to networks while they compute."""

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

    Paddle adds it as (B, C, H, W) + (1, C, 1, 1), and broadcasting over the two axes behind C
    costs several times the convolution on a CPU, forward and backward. The sums are the same
    ones: outputs agree bit for bit, gradients to rounding.
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
        """Whether `layer` is a convolution that this one computes."""
        return (
            type(layer) is nn.Conv2D
            and layer.bias is not None
            and layer._padding_mode == "zeros"
            and layer._data_format == "NCHW"
        )


class LateReLU(nn.ReLU):
    """An `nn.ReLU` before a `PoolReLU`, which does its work on a quarter of the values.

    A hook that looks at its output still sees that of a ReLU.
    """

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """float32, any shape -> the same."""
        return super().forward(maps) if self._forward_post_hooks else maps


class PoolReLU(nn.MaxPool2D):
    """Max pooling, then ReLU: the values and gradients of ReLU, then max pooling, bit for bit.

    Where the maximum is positive it is the same one, at the same place; where it is not, both
    orders give 0 and pass no gradient.
    """

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, C, H, W) -> (B, C, H_out, W_out)."""
        return F.relu(super().forward(maps))


@contextlib.contextmanager
def fast_layers(network: nn.Layer) -> Iterator[None]:
    """While the block runs, layers of `network` are our cheaper ones on a CPU.

    Plain convolutions become `Conv2D`; where a ReLU stands right before a max pooling in an
    `nn.Sequential`, they change places. Only the layers' classes change: parameters, names and
    state stay what they are, and afterwards the network is again what it was. On a GPU nothing
    happens.
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
    """Pairs that stand side by side in an `nn.Sequential`, and nowhere else."""
    uses = Counter(id(child) for layer in layers for child in layer._sub_layers.values())
    for block in (layer for layer in layers if type(layer) is nn.Sequential):
        for relu, pool in itertools.pairwise(block):
            is_pair = type(relu) is nn.ReLU and type(pool) is nn.MaxPool2D and not pool.return_mask
            if is_pair and uses[id(relu)] == uses[id(pool)] == 1:
                yield relu, pool
