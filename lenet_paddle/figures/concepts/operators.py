"""Eight kinds of convolution on small numbers, each computed by Paddle."""

from __future__ import annotations

import numpy as np
from paddle.nn import functional as F

from lenet_paddle.figures.concepts.operator_parts import (
    Compute,
    Cost,
    Operator,
    Part,
    array,
    mark_first,
    mark_kernel,
    numbers,
    run,
    three_parts,
)
from lenet_paddle.figures.concepts.separable import (
    depthwise_separable,
    grouped,
    spatially_separable,
)
from lenet_paddle.figures.words import say


def make_operators() -> list[Operator]:
    """Return all eight, with their texts in the chosen language."""
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


def pointwise() -> Operator:
    """1x1: an output channel is a weighted sum of the input channels at the same place."""
    image = numbers(3, 3, 3, seed=1)
    kernel = array([[1, 0, 2], [-1, 1, 1]]).reshape(2, 3, 1, 1)
    output, seen = run(F.conv2d, image, kernel)
    return Operator(
        "1x1",
        say("1x1 convolution", "1x1 卷积"),
        three_parts(image, kernel, output, seen),
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
    output, seen = run(compute, image, kernel)
    return Operator(
        stem,
        name,
        three_parts(image, kernel, output, seen),
        output,
        Cost((kernel.shape,)),
        Cost(((output.size, kernel.size),)),
        note=note,
    )


def strided() -> Operator:
    """Stride 2: the kernel moves two cells at a time."""
    return _single(
        "strided",
        say("strided convolution (stride 2)", "步长大于 1 的卷积（步长 2）"),
        lambda x, w: F.conv2d(x, w, stride=2),
        numbers(1, 5, 5, seed=2),
        array([[[[0, 1, 0], [1, 1, 1], [0, 1, 0]]]]),
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
        numbers(1, 7, 7, seed=5),
        array([[[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]]),
        say(
            "nine weights span a field of 2·(3 - 1) + 1 = 5 cells a side",
            "九个权重覆盖边长 2·(3 - 1) + 1 = 5 的感受野",
        ),
    )


def transposed() -> Operator:
    """Transposed: every input number adds a copy of the kernel to the output."""
    image = kernel = array([[[[0, 1], [2, 3]]]])
    output, _ = run(F.conv2d_transpose, image[0], kernel)
    parts = [
        Part("", say("input", "输入"), image[0].shape, image),
        Part("∗", say("kernel", "卷积核"), kernel.shape, kernel),
    ]
    for number, sign in enumerate("=+++"):
        alone = np.zeros_like(image)
        alone.flat[number] = image.flat[number]
        spread, _ = run(F.conv2d_transpose, alone[0], kernel)
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
    """3-D: the kernel slides along depth, height and width."""
    image = np.arange(1, 28, dtype=np.float32).reshape(1, 3, 3, 3)
    kernel = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    output, seen = run(F.conv3d, image, kernel)
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
                mark_kernel(kernel)[0],
            ),
            Part(
                "=",
                say("output, two slices", "输出，两个切片"),
                output.shape,
                output,
                mark_first(output),
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
