"""A convolution whose bias is cheap on a CPU, for networks as they are."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def fast_layers(network: nn.Layer) -> Iterator[None]:
    """While the block runs, the plain convolutions of `network` are our `Conv2D` on a CPU.

    Only their class changes: parameters, names and state stay what they are, and afterwards the
    network is again what it was. On a GPU, or for a convolution that is not plain, nothing
    happens.
    """
    plain = []
    if paddle.get_device() == "cpu":
        layers = network.sublayers(include_self=True)
        plain = [layer for layer in layers if Conv2D.can_replace(layer)]
    for layer in plain:
        layer.__class__ = Conv2D
    try:
        yield
    finally:
        for layer in plain:
            layer.__class__ = nn.Conv2D
