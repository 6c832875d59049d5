"""The classifiers of `paddle.vision.models` for small pictures: `vision:resnet18` ...

They are freshly initialised; nothing is downloaded.
"""

from __future__ import annotations

import paddle
from paddle import nn

# Family -> the smallest side of a picture that it takes, found by trial: with one pixel less a
# pooling window (alexnet: the first linear layer, for 6x6 maps) no longer fits. Paddle raises no
# error for such a window but returns a map of 1x1. Other families take any picture.
SMALLEST_SIDE = {
    "densenet": 29,
    "squeezenet1_1": 29,
    "vgg": 32,
    "squeezenet1_0": 35,
    "googlenet": 61,
    "inception_v3": 75,
    "alexnet": 223,
}
_AUXILIARY = tuple(
    f"_{part}{i}" for i in (1, 2) for part in ("pool_o", "conv_o", "fc_o", "drop_o", "out")
)


def smallest_side(name: str) -> int:
    """Return the side in pixels below which `VisionModel` enlarges a picture for the network."""
    return next((side for family, side in SMALLEST_SIDE.items() if name.startswith(family)), 1)


class VisionModel(nn.Layer):
    """`paddle.vision.models.<name>` for pictures of one channel or three.

    A grey channel is repeated three times, so that the network keeps its published parameters
    and names; this equals a first convolution with kernels summed over the colours. Pictures
    below the network's smallest side are enlarged to it (bilinear).
    """

    def __init__(self, name: str, num_classes: int = 10) -> None:
        super().__init__()
        self.smallest = smallest_side(name)
        self.enlarge = nn.Upsample(size=[self.smallest, self.smallest], mode="bilinear")
        self.network = getattr(paddle.vision.models, name)(num_classes=num_classes)
        if name == "googlenet":  # its auxiliary heads need 224x224
            for part in _AUXILIARY:
                setattr(self.network, part, nn.Identity())

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, 1 or 3, S, S) in [-1, 1] -> logits float32 (B, num_classes)."""
        if images.shape[-1] < self.smallest:
            images = self.enlarge(images)
        if images.shape[1] == 1:
            images = images.expand([-1, 3, -1, -1])
        logits = self.network(images)
        return logits[0] if isinstance(logits, (tuple, list)) else logits
