"""Convolutions taken apart: by rows and columns, by channels, by groups of channels."""

from __future__ import annotations

import numpy as np
import paddle
from paddle.nn import functional as F

from lenet_paddle.figures.concepts.operator_parts import (
    Cost,
    Operator,
    Part,
    array,
    as_column,
    as_square,
    mark_first,
    mark_kernel,
    numbers,
    run,
)
from lenet_paddle.figures.words import say


def spatially_separable() -> Operator:
    """A 3x3 kernel that is a column times a row (Sobel's): two passes of 3 instead of one of 9."""
    image = numbers(1, 5, 5, seed=7)
    column = array([1, 2, 1]).reshape(1, 1, 3, 1)
    row = array([-1, 0, 1]).reshape(1, 1, 1, 3)
    between, _ = run(F.conv2d, image, column)
    output, seen_between = run(F.conv2d, between, row)
    _, seen = run(F.conv2d, image, column * row)
    return Operator(
        "spatially-separable",
        say("spatially separable convolution", "空间可分离卷积"),
        (
            Part("", say("input", "输入"), image.shape, image[None], seen[None]),
            Part("∗", say("column", "列"), column.shape, column, mark_kernel(column)),
            Part("=", say("between", "中间结果"), between.shape, between[None], seen_between[None]),
            Part("∗", say("row", "行"), row.shape, row, mark_kernel(row)),
            Part("=", say("output", "输出"), output.shape, output[None], mark_first(output)[None]),
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
    """Depthwise, then 1x1: a kernel for each channel, then a mix of the channels."""
    image = numbers(3, 4, 4, high=3, seed=8)
    depth = numbers(3, 1, 3, 3, low=-1, high=2, seed=9)
    point = numbers(4, 3, 1, 1, low=-1, high=2, seed=10)
    between, _ = run(lambda x, w: F.conv2d(x, w, groups=3), image, depth)
    output, seen_between = run(F.conv2d, between, point)
    _, seen = run(F.conv2d, image, point * depth.swapaxes(0, 1))
    return Operator(
        "depthwise-separable",
        say("depthwise-separable convolution", "深度可分离卷积"),
        (
            Part("", say("input", "输入"), image.shape, as_column(image), as_column(seen)),
            Part(
                "∗",
                say("depthwise", "逐通道卷积核"),
                depth.shape,
                depth,
                np.ones(depth.shape, bool),
            ),
            Part(
                "=",
                say("between", "中间结果"),
                between.shape,
                as_column(between),
                as_column(seen_between),
            ),
            Part("∗", "1x1", point.shape, point, mark_kernel(point)),
            Part(
                "=",
                say("output", "输出"),
                output.shape,
                as_square(output),
                as_square(mark_first(output)),
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
    """Two groups: each output sees half of the channels; a shuffle then mixes the groups."""
    image, kernel = (
        numbers(4, 3, 3, high=3, seed=11),
        numbers(4, 2, 2, 2, low=-1, high=2, seed=12),
    )
    between, seen = run(lambda x, w: F.conv2d(x, w, groups=2), image, kernel)
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
                as_square(image),
                as_square(seen),
                group.reshape(2, 2),
            ),
            Part("∗", say("kernel", "卷积核"), kernel.shape, kernel, mark_kernel(kernel)),
            Part(
                "=",
                say("between", "中间结果"),
                between.shape,
                as_column(between),
                as_column(mark_first(between)),
                group[:, None],
            ),
            Part(
                "→",
                say("shuffled: {order}", "重排：{order}", order=" ".join(map(str, order))),
                output.shape,
                as_column(output),
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
