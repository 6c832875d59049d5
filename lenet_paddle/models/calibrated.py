"""A network whose logits are divided by a temperature, for export."""

from __future__ import annotations

import paddle


class Calibrated(paddle.nn.Layer):
    """`network` with calibrated logits (Guo et al. 2017): the same answers, other probabilities."""

    def __init__(self, network: paddle.nn.Layer, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return logits / temperature, float32 (B, C), of a batch, float32 (B, C, S, S)."""
        return self.network(images) / self.temperature
