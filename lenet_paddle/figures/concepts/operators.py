"""The family of the convolution on small numbers: eight operators, each computed by Paddle.

An `Operator` holds what is drawn: input, kernel and output with their numbers, what the first
output number is made of, and how many parameters and multiplications it takes. No operator has
a bias, so that every number can be worked out by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional as F

from lenet_paddle.figures.words import say

Compute = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]


@dataclass(frozen=True)
class Cost:
    """A count as a sum of products, so that its formula can be shown: ((3, 3), (2, 4)) is 17."""

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
    """One array of the drawing: a table of matrices, (rows, cols, H, W), and what is said of it."""

    sign: str
    """What stands before it: empty, *, = or an arrow."""
    name: str
    shape: tuple[int, ...]
    """Its shape in Paddle, without the batch axis."""
    blocks: np.ndarray
    marked: np.ndarray | None = None
    """bool, as `blocks`: the cells that make the first number of the output."""
    groups: np.ndarray | None = None
    """int (rows, cols): which group a matrix belongs to."""


@dataclass(frozen=True)
class Operator:
    """One operator on small numbers."""

    stem: str
    """For the name of its file."""
    name: str
    parts: tuple[Part, ...]
    output: np.ndarray
    parameters: Cost
    multiplications: Cost
    plain: tuple[Cost, Cost] | None = None
    """Parameters and multiplications of the ordinary convolution that it stands in for."""
    note: str = ""


def make_operators() -> list[Operator]:
    """All eight, in the order of a course, with their texts in the chosen language."""
    return [
        pointwise(),
        strided(),
        dilated(),
        transposed(),
        three_dimensional(),
        spatially_separable(),
        depthwise_separable(),
        grouped(),
    ]


def _numbers(*shape: int, low: int = 0, high: int = 4, seed: int = 0) -> np.ndarray:
    """Small whole numbers, float32, the same at every call."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.float32)


def _array(numbers: list[Any]) -> np.ndarray:
    return np.array(numbers, np.float32)


def _run(compute: Compute, image: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output without its batch axis, and which input cells its first number sees.

    Seen is what has a gradient when all weights are 1, so that a weight of 0 hides no cell.
    """
    output = compute(paddle.to_tensor(image[None]), paddle.to_tensor(kernel))[0].numpy()
    ones = paddle.to_tensor(image[None], stop_gradient=False)
    first = compute(ones, paddle.ones(kernel.shape)).flatten()[0]
    [slope] = paddle.grad(first, ones)
    return output, slope.numpy()[0] != 0


def _first(array: np.ndarray) -> np.ndarray:
    """bool, as `array`: its first cell."""
    mask = np.zeros(array.shape, bool)
    mask.flat[0] = True
    return mask


def _column(array: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (C, 1, H, W): channels below one another."""
    return array[:, None]


def _square(array: np.ndarray) -> np.ndarray:
    """(4, H, W) -> (2, 2, H, W): channels row by row."""
    return array.reshape(2, 2, *array.shape[1:])


def _kernel_mask(kernel: np.ndarray) -> np.ndarray:
    """bool, as `kernel` (C_out, ...): what belongs to the first output channel."""
    mask = np.zeros(kernel.shape, bool)
    mask[0] = True
    return mask


def _three_parts(
    image: np.ndarray, kernel: np.ndarray, output: np.ndarray, seen: np.ndarray
) -> tuple[Part, ...]:
    return (
        Part("", say("input", "输入"), image.shape, image[None], seen[None]),
        Part("∗", say("kernel", "卷积核"), kernel.shape, kernel, _kernel_mask(kernel)),
        Part("=", say("output", "输出"), output.shape, output[None], _first(output)[None]),
    )


def pointwise() -> Operator:
    """1x1: each output channel is a weighted sum of the input channels at the same place."""
    image = _numbers(3, 3, 3, seed=1)
    kernel = _array([[1, 0, 2], [-1, 1, 1]]).reshape(2, 3, 1, 1)
    output, seen = _run(F.conv2d, image, kernel)
    return Operator(
        "1x1",
        say("1x1 convolution", "1x1 卷积"),
        _three_parts(image, kernel, output, seen),
        output,
        Cost((kernel.shape,)),
        Cost(((output.size, 3),)),
        note=say(
            "mixes channels, sees no neighbour: 3 channels become 2",
            "只混合通道，不看邻域：3 个通道变成 2 个",
        ),
    )


def _single(
    stem: str, name: str, compute: Compute, image: np.ndarray, kernel: np.ndarray, note: str
) -> Operator:
    """One input channel, one 3x3 kernel, one output channel."""
    output, seen = _run(compute, image, kernel)
    return Operator(
        stem,
        name,
        _three_parts(image, kernel, output, seen),
        output,
        Cost((kernel.shape,)),
        Cost(((output.size, kernel.size),)),
        note=note,
    )


def strided() -> Operator:
    """Stride 2: the kernel moves two cells at a time."""
    return _single(
        "strided",
        say("strided convolution (stride 2)", "步长卷积（步长 2）"),
        lambda x, w: F.conv2d(x, w, stride=2),
        _numbers(1, 5, 5, seed=2),
        _array([[[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]]),
        say(
            "(5 - 3) / 2 + 1 = 2: every other place only", "(5 - 3) / 2 + 1 = 2：每隔一个位置算一次"
        ),
    )


def dilated() -> Operator:
    """Dilation 2: the 3x3 kernel's cells lie two apart, so it spans 5x5."""
    return _single(
        "dilated",
        say("dilated convolution (dilation 2)", "空洞卷积（膨胀率 2）"),
        lambda x, w: F.conv2d(x, w, dilation=2),
        _numbers(1, 7, 7, seed=5),
        _array([[[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]]),
        say(
            "nine weights span a field of 2·(3 - 1) + 1 = 5 cells a side",
            "九个权重覆盖边长 2·(3 - 1) + 1 = 5 的感受野",
        ),
    )


def transposed() -> Operator:
    """Transposed: every input number spreads a copy of the kernel; where copies meet, they add."""
    image = kernel = _array([[[[0, 1], [2, 3]]]])
    output, _ = _run(F.conv2d_transpose, image[0], kernel)
    parts = [
        Part("", say("input", "输入"), image[0].shape, image),
        Part("∗", say("kernel", "卷积核"), kernel.shape, kernel),
    ]
    for number, sign in enumerate("=+++"):
        alone = np.zeros_like(image)
        alone.flat[number] = image.flat[number]
        spread, _ = _run(F.conv2d_transpose, alone[0], kernel)
        row, col = divmod(number, 2)
        place = np.zeros_like(spread[None], bool)
        place[..., row : row + 2, col : col + 2] = True
        name = say("{number} x kernel", "{number} × 卷积核", number=f"{image.flat[number]:g}")
        parts.append(Part(sign, name, spread.shape, spread[None], place))
    parts.append(Part("=", say("output", "输出"), output.shape, output[None]))
    return Operator(
        "transposed",
        say("transposed convolution", "转置卷积"),
        tuple(parts),
        output,
        Cost((kernel.shape,)),
        Cost(((image.size, kernel.size),)),
        note=say(
            "from small to large: 2 + 2 - 1 = 3; framed: each copy of the kernel",
            "由小变大：2 + 2 - 1 = 3；橙色框：每份卷积核所放的位置",
        ),
    )


def three_dimensional() -> Operator:
    """3-D: the kernel slides along depth, height and width; 1..27 by 1..8."""
    image = np.arange(1, 28, dtype=np.float32).reshape(1, 3, 3, 3)
    kernel = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    output, seen = _run(F.conv3d, image, kernel)
    return Operator(
        "3d",
        say("3-D convolution", "三维卷积"),
        (
            Part("", say("input, three slices", "输入，三个切片"), image.shape, image, seen),
            Part(
                "∗",
                say("kernel, two slices", "卷积核，两个切片"),
                kernel.shape,
                kernel[0],
                _kernel_mask(kernel)[0],
            ),
            Part(
                "=",
                say("output, two slices", "输出，两个切片"),
                output.shape,
                output,
                _first(output),
            ),
        ),
        output,
        Cost((kernel.shape[2:],)),
        Cost(((output.size, kernel.size),)),
        note=say(
            "for video and volumes: the first axis is time or depth",
            "用于视频和体数据：第一个轴是时间或深度",
        ),
    )


def spatially_separable() -> Operator:
    """A 3x3 kernel that is a column times a row (Sobel's): two passes of 3 for one of 9."""
    image = _numbers(1, 5, 5, seed=7)
    column = _array([1, 2, 1]).reshape(1, 1, 3, 1)
    row = _array([-1, 0, 1]).reshape(1, 1, 1, 3)
    between, _ = _run(F.conv2d, image, column)
    output, seen_between = _run(F.conv2d, between, row)
    _, seen = _run(F.conv2d, image, column * row)
    return Operator(
        "spatially-separable",
        say("spatially separable convolution", "空间可分离卷积"),
        (
            Part("", say("input", "输入"), image.shape, image[None], seen[None]),
            Part("∗", say("column", "列"), column.shape, column, _kernel_mask(column)),
            Part("=", say("between", "中间结果"), between.shape, between[None], seen_between[None]),
            Part("∗", say("row", "行"), row.shape, row, _kernel_mask(row)),
            Part("=", say("output", "输出"), output.shape, output[None], _first(output)[None]),
            Part("⇐", say("column x row", "列 × 行"), (3, 3), column * row),
        ),
        output,
        Cost(((3,), (3,))),
        Cost(((between.size, 3), (output.size, 3))),
        plain=(Cost(((3, 3),)), Cost(((output.size, 9),))),
        note=say(
            "each output number of a large picture: 3 + 3 multiplications for 9",
            "对大图片，每个输出值只需 3 + 3 次乘法，而不是 9 次",
        ),
    )


def depthwise_separable() -> Operator:
    """Depthwise, then 1x1: every channel by its own kernel, then the channels are mixed."""
    image = _numbers(3, 4, 4, high=3, seed=8)
    depth = _numbers(3, 1, 3, 3, low=-1, high=2, seed=9)
    point = _numbers(4, 3, 1, 1, low=-1, high=2, seed=10)
    between, _ = _run(lambda x, w: F.conv2d(x, w, groups=3), image, depth)
    output, seen_between = _run(F.conv2d, between, point)
    _, seen = _run(F.conv2d, image, point * depth.swapaxes(0, 1))
    return Operator(
        "depthwise-separable",
        say("depthwise-separable convolution", "深度可分离卷积"),
        (
            Part("", say("input", "输入"), image.shape, _column(image), _column(seen)),
            Part("∗", say("depthwise", "逐深度卷积核"), depth.shape, depth),
            Part(
                "=",
                say("between", "中间结果"),
                between.shape,
                _column(between),
                _column(seen_between),
            ),
            Part("∗", "1x1", point.shape, point, _kernel_mask(point)),
            Part(
                "=", say("output", "输出"), output.shape, _square(output), _square(_first(output))
            ),
        ),
        output,
        Cost(((3, 3, 3), (4, 3))),
        Cost(((between.size, 9), (output.size, 3))),
        plain=(Cost(((4, 3, 3, 3),)), Cost(((output.size, 27),))),
        note=say(
            "MobileNet's layer: neighbours first, channels after",
            "MobileNet 的层：先看邻域，再混合通道",
        ),
    )


def grouped() -> Operator:
    """Two groups, each output sees half of the channels; a shuffle then mixes the groups."""
    image, kernel = (
        _numbers(4, 3, 3, high=3, seed=11),
        _numbers(4, 2, 2, 2, low=-1, high=2, seed=12),
    )
    between, seen = _run(lambda x, w: F.conv2d(x, w, groups=2), image, kernel)
    output = F.channel_shuffle(paddle.to_tensor(between[None]), 2)[0].numpy()
    origin = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    order = F.channel_shuffle(paddle.to_tensor(origin), 2).numpy().astype(int).ravel()
    group = np.array([0, 0, 1, 1])
    return Operator(
        "grouped",
        say("grouped convolution (2 groups) with channel shuffle", "分组卷积（2 组）与通道重排"),
        (
            Part(
                "",
                say("input", "输入"),
                image.shape,
                _square(image),
                _square(seen),
                group.reshape(2, 2),
            ),
            Part("∗", say("kernel", "卷积核"), kernel.shape, kernel, _kernel_mask(kernel)),
            Part(
                "=",
                say("between", "中间结果"),
                between.shape,
                _column(between),
                _column(_first(between)),
                group[:, None],
            ),
            Part(
                "→",
                say("shuffled: {order}", "重排：{order}", order=" ".join(map(str, order))),
                output.shape,
                _column(output),
                None,
                group[order][:, None],
            ),
        ),
        output,
        Cost((kernel.shape,)),
        Cost(((between.size, kernel[0].size),)),
        plain=(Cost(((4, 4, 2, 2),)), Cost(((between.size, 16),))),
        note=say(
            "ShuffleNet's layer: the shuffle lets the next groups see both",
            "ShuffleNet 的层：重排之后，下一层的每组都能看到两组的通道",
        ),
    )
