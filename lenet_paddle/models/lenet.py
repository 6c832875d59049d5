"""LeNet variants, and the multilayer perceptron that courses train before them.

Only `lenet5` follows the 1998 paper. The others are the network that Paddle calls LeNet: a 3x3
first convolution, ReLU, max pooling, and no activation between the linear layers.
"""

from __future__ import annotations

import paddle
from paddle import nn


def lenet5(num_classes: int = 10) -> nn.Sequential:
    """LeNet-5 after LeCun, Bottou, Bengio, Haffner 1998; input (B, 1, 32, 32), 61,706 parameters.

    By layer 156 + 2,416 + 48,120 + 10,164 + 850. As in most courses it differs from the paper:
    S2 and S4 average without trainable coefficients and apply a sigmoid, C3 is connected to all
    maps, and the output is linear instead of radial basis functions.
    """
    return nn.Sequential(
        nn.Conv2D(1, 6, 5),  # C1 (B, 6, 28, 28)
        nn.Tanh(),
        nn.AvgPool2D(2),  # S2 (B, 6, 14, 14)
        nn.Sigmoid(),
        nn.Conv2D(6, 16, 5),  # C3 (B, 16, 10, 10)
        nn.Tanh(),
        nn.AvgPool2D(2),  # S4 (B, 16, 5, 5)
        nn.Sigmoid(),
        nn.Conv2D(16, 120, 5),  # C5 (B, 120, 1, 1)
        nn.Tanh(),
        nn.Flatten(),  # (B, 120)
        nn.Linear(120, 84),  # F6 (B, 84)
        nn.Tanh(),
        nn.Linear(84, num_classes),  # logits (B, num_classes)
    )


def lenet_sequential(num_classes: int = 10) -> nn.Sequential:
    """Paddle's LeNet as one `nn.Sequential`; input (B, 1, 28, 28), 61,610 parameters."""
    return nn.Sequential(
        nn.Conv2D(1, 6, 3, padding=1),  # (B, 6, 28, 28)
        nn.ReLU(),
        nn.MaxPool2D(2),  # (B, 6, 14, 14)
        nn.Conv2D(6, 16, 5),  # (B, 16, 10, 10)
        nn.ReLU(),
        nn.MaxPool2D(2),  # (B, 16, 5, 5)
        nn.Flatten(),  # (B, 400)
        nn.Linear(400, 120),
        nn.Linear(120, 84),
        nn.Linear(84, num_classes),  # logits (B, num_classes)
    )


class LeNet(nn.Layer):
    """Paddle's LeNet as a subclass of `nn.Layer`; input (B, 1, 28, 28), 61,610 parameters.

    Its parameters have the names of `paddle.vision.models.LeNet`, so that a checkpoint of either
    loads into the other.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            nn.Conv2D(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2D(2),
            nn.Conv2D(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2D(2),
        )
        self.fc = nn.Sequential(nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, num_classes))

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """float32 (B, 1, 28, 28) in [-1, 1] -> logits float32 (B, num_classes)."""
        maps = self.features(images)  # (B, 16, 5, 5)
        return self.fc(paddle.flatten(maps, 1))  # (B, 400) -> (B, num_classes)


lenet_subclass = LeNet


def lenet_builtin(num_classes: int = 10) -> nn.Layer:
    """`paddle.vision.models.LeNet`, unchanged; input (B, 1, 28, 28), 61,610 parameters."""
    return paddle.vision.models.LeNet(num_classes)


def mlp(num_classes: int = 10) -> nn.Sequential:
    """The fully connected baseline 784-512-256-10 with ReLU; 535,818 parameters."""
    return nn.Sequential(
        nn.Flatten(),  # (B, 784)
        nn.Linear(784, 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, num_classes),  # logits (B, num_classes)
    )
