"""What a card of an operator shows: arrays, marked cells and counts.

The other modules build their operators of these on small numbers, computed by Paddle and without
a bias, so that every number can be checked by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    import paddle

Compute: TypeAlias = "Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]"
"""An image (1, C, ...) and a kernel -> the operator's output."""


@dataclass(frozen=True)
class Cost:
    """A count as a sum of products, which also shows its formula: ((3, 3), (2, 4)) is 17."""

    terms: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """The count."""
        return sum(math.prod(term) for term in self.terms)

    def __str__(self) -> str:
        formula = " + ".join("·".join(map(str, term)) for term in self.terms)
        return f"{formula} = {self.total}"


@dataclass(frozen=True)
class Part:
    """One array of a card, as a table of matrices (rows, cols, H, W), with its name and shape."""

    sign: str
    """The sign before it: empty, ∗, = or an arrow."""
    name: str
    shape: tuple[int, ...]
    """The shape in Paddle, without the batch axis."""
    blocks: np.ndarray
    marked: np.ndarray | None = None
    """bool, as `blocks`: the cells behind the first output number."""
    groups: np.ndarray | None = None
    """int (rows, cols): the group of each matrix."""


@dataclass(frozen=True)
class Operator:
    """One operator on small numbers."""

    stem: str
    """The end of its file's name."""
    name: str
    parts: tuple[Part, ...]
    output: np.ndarray
    parameters: Cost
    multiplications: Cost
    plain: tuple[Cost, Cost] | None = None
    """Parameters and multiplications of the ordinary convolution that it replaces."""
    note: str = ""


def numbers(*shape: int, low: int = 0, high: int = 4, seed: int = 0) -> np.ndarray:
    """Return small whole numbers, float32, the same at every call."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def array(values: list[Any]) -> np.ndarray:
    """Return a float32 array."""
    return np.array(values, np.float32)


def run(compute: Compute, image: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the output without its batch axis, and a mask of the cells behind its first number.

    Those are the cells with a gradient when all weights are 1, so that weights of 0 count too.
    """
    import paddle

    output = compute(paddle.to_tensor(image[None]), paddle.to_tensor(kernel))[0].numpy()
    ones = paddle.to_tensor(image[None], stop_gradient=False)
    first = compute(ones, paddle.ones(kernel.shape)).flatten()[0]
    [slope] = paddle.grad(first, ones)
    return output, slope.numpy()[0] != 0


def mark_first(values: np.ndarray) -> np.ndarray:
    """Return a mask, bool, of the first cell of `values`."""
    mask = np.zeros(values.shape, bool)
    mask.flat[0] = True
    return mask


def as_column(channels: np.ndarray) -> np.ndarray:
    """Arrange channels one below the other: (C, H, W) -> (C, 1, H, W)."""
    return channels[:, None]


def as_square(channels: np.ndarray) -> np.ndarray:
    """Arrange four channels row by row: (4, H, W) -> (2, 2, H, W)."""
    return channels.reshape(2, 2, *channels.shape[1:])


def mark_kernel(kernel: np.ndarray) -> np.ndarray:
    """Return a mask, bool, of the first output channel of `kernel` (C_out, ...)."""
    mask = np.zeros(kernel.shape, bool)
    mask[0] = True
    return mask


def three_parts(
    image: np.ndarray, kernel: np.ndarray, output: np.ndarray, seen: np.ndarray
) -> tuple[Part, ...]:
    """Return the parts input, kernel and output of a single convolution."""
    return (
        Part("", say("input", "输入"), image.shape, image[None], seen[None]),
        Part("∗", say("kernel", "卷积核"), kernel.shape, kernel, mark_kernel(kernel)),
        Part("=", say("output", "输出"), output.shape, output[None], mark_first(output)[None]),
    )
