"""LeNet variants, and the multilayer perceptron that courses train before them.

Only `lenet5` follows the 1998 paper. The others are the network that Paddle calls LeNet: a 3x3
first convolution, ReLU, max pooling, and no activation between the linear layers.

The shapes in the comments are those of grey 28x28 (`lenet5`: 32x32). The first linear layer follows
from the picture's side; above 64 the maps are averaged to the grid that 64 gives (`pool_to_grid`).
"""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import nn

LARGEST_WHOLE = 64  # side in pixels of the largest picture whose last maps are used whole


def pool_to_grid(side: int, grid: Callable[[int], int]) -> tuple[int, list[nn.Layer]]:
    """Return the side of a network's last maps, and the pooling that brings them to it.

    `grid` maps a picture's side to the side of those maps. For pictures above 64 the pooling
    averages them to the grid that 64 gives, so that the network has no more parameters; it is
    empty for smaller ones.
    """
    own, largest = grid(side), grid(LARGEST_WHOLE)
    if side <= LARGEST_WHOLE:
        return own, []
    step = own // largest
    return largest, [nn.AvgPool2D(own - (largest - 1) * step, step)]


def lenet5(num_classes: int = 10, channels: int = 1, side: int = 32) -> nn.Sequential:
    """LeNet-5 after LeCun, Bottou, Bengio, Haffner 1998; input (B, 1, 32, 32), 61,706 parameters.

    By layer 156 + 2,416 + 48,120 + 10,164 + 850; with three channels 62,006. As in most courses it
    differs from the paper: S2 and S4 average without trainable coefficients and apply a sigmoid, C3
    is connected to all maps, and the output is linear instead of radial basis functions. C5's
    kernel covers its maps.
    """
    grid, pooling = pool_to_grid(side, lambda side: ((side - 4) // 2 - 4) // 2)
    return nn.Sequential(
        nn.Conv2D(channels, 6, 5),  # C1 (B, 6, 28, 28)
        nn.Tanh(),
        nn.AvgPool2D(2),  # S2 (B, 6, 14, 14)
        nn.Sigmoid(),
        nn.Conv2D(6, 16, 5),  # C3 (B, 16, 10, 10)
        nn.Tanh(),
        nn.AvgPool2D(2),  # S4 (B, 16, 5, 5)
        nn.Sigmoid(),
        *pooling,
        nn.Conv2D(16, 120, grid),  # C5 (B, 120, 1, 1)
        nn.Tanh(),
        nn.Flatten(),  # (B, 120)
        nn.Linear(120, 84),  # F6 (B, 84)
        nn.Tanh(),
        nn.Linear(84, num_classes),  # logits (B, num_classes)
    )


def lenet_grid(side: int) -> int:
    """Return the side of Paddle's LeNet's last maps, (B, 16, 5, 5) for a picture of 28x28."""
    return (side // 2 - 4) // 2


def lenet_sequential(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """Paddle's LeNet as one `nn.Sequential`; input (B, 1, 28, 28), 61,610 parameters."""
    grid, pooling = pool_to_grid(side, lenet_grid)
    return nn.Sequential(
        nn.Conv2D(channels, 6, 3, padding=1),  # (B, 6, 28, 28)
        nn.ReLU(),
        nn.MaxPool2D(2),  # (B, 6, 14, 14)
        nn.Conv2D(6, 16, 5),  # (B, 16, 10, 10)
        nn.ReLU(),
        nn.MaxPool2D(2),  # (B, 16, 5, 5)
        *pooling,
        nn.Flatten(),  # (B, 400)
        nn.Linear(16 * grid * grid, 120),
        nn.Linear(120, 84),
        nn.Linear(84, num_classes),  # logits (B, num_classes)
    )


class LeNet(nn.Layer):
    """Paddle's LeNet as a subclass of `nn.Layer`; input (B, 1, 28, 28), 61,610 parameters.

    Its parameters have the names of `paddle.vision.models.LeNet`, so that a checkpoint of either
    loads into the other.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, side: int = 28) -> None:
        super().__init__()
        self.num_classes = num_classes
        grid, pooling = pool_to_grid(side, lenet_grid)
        self.features = nn.Sequential(
            nn.Conv2D(channels, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2D(2),
            nn.Conv2D(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2D(2),
            *pooling,
        )
        self.fc = nn.Sequential(
            nn.Linear(16 * grid * grid, 120), nn.Linear(120, 84), nn.Linear(84, num_classes)
        )

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, C, S, S) in [-1, 1] -> logits float32 (B, num_classes)."""
        maps = self.features(images)  # (B, 16, 5, 5)
        return self.fc(paddle.flatten(maps, 1))  # (B, 400) -> (B, num_classes)


lenet_subclass = LeNet


def lenet_builtin(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Layer:
    """`paddle.vision.models.LeNet`, unchanged; input (B, 1, 28, 28), 61,610 parameters.

    It takes grey 28x28 only; for other pictures `lenet_subclass`, its equal, takes its place.
    """
    if (channels, side) != (1, 28):
        return LeNet(num_classes, channels, side)
    return paddle.vision.models.LeNet(num_classes)


def mlp(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """The fully connected baseline 784-512-256-10 with ReLU; 535,818 parameters."""
    grid, pooling = pool_to_grid(side, lambda side: side)
    return nn.Sequential(
        *pooling,
        nn.Flatten(),  # (B, 784)
        nn.Linear(channels * grid * grid, 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, num_classes),  # logits (B, num_classes)
    )
