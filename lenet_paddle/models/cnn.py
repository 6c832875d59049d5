"""Relatives of LeNet: two from courses, one with ReLU, and one with modern details."""

from __future__ import annotations

import itertools

from paddle import ParamAttr, nn
from paddle.nn.initializer import XavierUniform
from paddle.regularizer import L2Decay

from lenet_paddle.models.lenet import lenet_grid, lenet_sequential, pool_to_grid


def lenet_relu(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """Paddle's LeNet with ReLU between its linear layers; input (B, 1, 28, 28), 61,610 parameters.

    Without ReLU, as Paddle ships it, the three linear layers are one linear map.
    """
    *maps, first, second, last = lenet_sequential(num_classes, channels, side).children()
    return nn.Sequential(*maps, first, nn.ReLU(), second, nn.ReLU(), last)


def lenet_d2l(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """LeNet of "Dive into Deep Learning" (chapter 7.6); input (B, 1, 28, 28), 61,706 parameters.

    Sigmoids and average pooling; weights are initialised by Xavier's uniform distribution
    (Glorot and Bengio 2010), biases by 0.
    """
    grid, pooling = pool_to_grid(side, lenet_grid)
    return nn.Sequential(
        nn.Conv2D(channels, 6, 5, padding=2, weight_attr=_xavier()),  # (B, 6, 28, 28)
        nn.Sigmoid(),
        nn.AvgPool2D(2),  # (B, 6, 14, 14)
        nn.Conv2D(6, 16, 5, weight_attr=_xavier()),  # (B, 16, 10, 10)
        nn.Sigmoid(),
        nn.AvgPool2D(2),  # (B, 16, 5, 5)
        *pooling,
        nn.Flatten(),  # (B, 400)
        nn.Linear(16 * grid * grid, 120, weight_attr=_xavier()),
        nn.Sigmoid(),
        nn.Linear(120, 84, weight_attr=_xavier()),
        nn.Sigmoid(),
        nn.Linear(84, num_classes, weight_attr=_xavier()),  # logits (B, num_classes)
    )


def cnn_regularized(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """A Keras course's regularised CNN; input (B, 1, 28, 28), 232,650 parameters.

    The kernels of the convolutions and of the two hidden linear layers have Keras's l2(0.001),
    which adds 0.001 * sum(w^2) to the loss; dropout follows the hidden linear layers. Weights are
    initialised by Xavier's uniform distribution, as in Keras.
    """
    grid, pooling = pool_to_grid(side, lambda side: ((side - 2) // 2 - 2) // 2)
    return nn.Sequential(
        nn.Conv2D(channels, 32, 3, weight_attr=_xavier(0.001)),  # (B, 32, 26, 26)
        nn.ReLU(),
        nn.MaxPool2D(2),  # (B, 32, 13, 13)
        nn.Conv2D(32, 64, 3, weight_attr=_xavier(0.001)),  # (B, 64, 11, 11)
        nn.ReLU(),
        nn.MaxPool2D(2),  # (B, 64, 5, 5)
        *pooling,
        nn.Flatten(),  # (B, 1600)
        nn.Linear(64 * grid * grid, 128, weight_attr=_xavier(0.001)),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 64, weight_attr=_xavier(0.001)),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(64, num_classes, weight_attr=_xavier()),  # logits (B, num_classes)
    )


def lenet_modern(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """LeNet's shape with modern details; input (B, 1, 28, 28), 56,546 parameters.

    LeNet-5's three convolutions, the last again with 120 maps, but wider, with batch
    normalisation (Ioffe and Szegedy 2015) in place of biases, ReLU, and one linear layer. Pooling
    directly follows the convolution, so that later layers work on a quarter of the values.
    """
    grid, pooling = pool_to_grid(side, lambda side: ((side - 4) // 2 - 4) // 2 - 2)
    return nn.Sequential(
        nn.Conv2D(channels, 8, 5, bias_attr=False),  # (B, 8, 24, 24)
        nn.MaxPool2D(2),  # (B, 8, 12, 12)
        nn.BatchNorm2D(8),
        nn.ReLU(),
        nn.Conv2D(8, 40, 5, bias_attr=False),  # (B, 40, 8, 8)
        nn.MaxPool2D(2),  # (B, 40, 4, 4)
        nn.BatchNorm2D(40),
        nn.ReLU(),
        nn.Conv2D(40, 120, 3, bias_attr=False),  # (B, 120, 2, 2)
        nn.BatchNorm2D(120),
        nn.ReLU(),
        *pooling,
        nn.Flatten(),  # (B, 480)
        nn.Linear(120 * grid * grid, num_classes),  # logits (B, num_classes)
    )


def lenet_deep(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """`lenet_modern` with a fourth convolution; input (B, 1, 28, 28), 59,946 parameters.

    Of the same size, but three of the convolutions are 3x3, and the last has few maps, so that the
    linear layer needs few of the weights.
    """
    grid, pooling = pool_to_grid(side, lambda side: ((side - 4) // 2) // 2 - 4)
    layers: list[nn.Layer] = []
    maps = channels
    for after, kernel, padding, pools in (
        *((16, 5, 0, True), (40, 3, 1, True)),  # (B, 16, 12, 12), (B, 40, 6, 6)
        *((72, 3, 0, False), (40, 3, 0, False)),  # (B, 72, 4, 4), (B, 40, 2, 2)
    ):
        layers += [
            nn.Conv2D(maps, after, kernel, padding=padding, bias_attr=False),
            *([nn.MaxPool2D(2)] if pools else []),
            nn.BatchNorm2D(after),
            nn.ReLU(),
        ]
        maps = after
    return nn.Sequential(
        *layers,
        *pooling,
        nn.Flatten(),  # (B, 160)
        nn.Linear(maps * grid * grid, num_classes),  # logits (B, num_classes)
    )


def cnn_modern(num_classes: int = 10, channels: int = 1, side: int = 28) -> nn.Sequential:
    """A CNN for pictures in colour of any size; input (B, 1, 28, 28), 241,898 parameters.

    Four 3x3 convolutions, each followed by pooling, batch normalisation and ReLU, and the mean of
    each last map in place of hidden linear layers (Lin et al. 2014), so that the number of
    parameters does not depend on the picture's side.
    """
    layers: list[nn.Layer] = []
    for before, after in itertools.pairwise((channels, 32, 64, 128, 128)):
        layers += [
            nn.Conv2D(before, after, 3, padding=1, bias_attr=False),  # (B, after, S, S)
            nn.MaxPool2D(2),  # (B, after, S // 2, S // 2)
            nn.BatchNorm2D(after),
            nn.ReLU(),
        ]
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2D(1),  # (B, 128, 1, 1)
        nn.Flatten(),  # (B, 128)
        nn.Linear(128, num_classes),  # logits (B, num_classes)
    )


def _xavier(l2: float = 0.0) -> ParamAttr:
    """Draw weights within +-sqrt(6 / (fan_in + fan_out)), with a penalty of l2 * sum(w^2)."""
    return ParamAttr(initializer=XavierUniform(), regularizer=l2_penalty(l2) if l2 else None)


def l2_penalty(strength: float) -> L2Decay:
    """Return a penalty of strength * sum(w^2), as Keras's l2; Paddle's L2Decay(c) is half of it."""
    return L2Decay(2 * strength)
