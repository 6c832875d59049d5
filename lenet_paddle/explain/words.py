"""The words in figures, in English or Chinese.

Plots write `say("receptive field of {layer}", layer=name)`: the English template is the key of
`ZH`. `language("zh")` chooses Chinese for a while.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

_language = contextvars.ContextVar("language", default="en")

ZH: dict[str, str] = {
    "epoch": "轮次",
    "loss": "损失",
    "accuracy": "准确率",
    # a trained model: operators, filters ... architecture
    "input": "输入",
    "output": "输出",
    "kernel": "卷积核",
    "kernels": "卷积核",
    "picture": "图片",
    "column": "列",
    "row": "行",
    "between": "中间结果",
    "column x row": "列 × 行",
    "depthwise": "逐深度卷积核",
    "input, three slices": "输入，三个切片",
    "kernel, two slices": "卷积核，两个切片",
    "output, two slices": "输出，两个切片",
    "{number} x kernel": "{number} × 卷积核",
    "shuffled: {order}": "重排：{order}",
    "framed in orange: what makes the first number of the output": (
        "橙色框：输出的第一个数由它们算出"
    ),
    "parameters {parameters};  multiplications {multiplications}": (
        "参数 {parameters}；  乘法次数 {multiplications}"
    ),
    "  (ordinary convolution: {parameters};  {multiplications})": (
        "  （普通卷积：{parameters}；  {multiplications}）"
    ),
    "1x1 convolution": "1x1 卷积",
    "strided convolution (stride 2)": "步幅卷积（步幅 2）",
    "dilated convolution (dilation 2)": "空洞卷积（膨胀率 2）",
    "transposed convolution": "转置卷积",
    "3-D convolution": "三维卷积",
    "spatially separable convolution": "空间可分离卷积",
    "depthwise-separable convolution": "深度可分离卷积",
    "grouped convolution (2 groups) with channel shuffle": "分组卷积（2 组）与通道重排",
    "mixes channels, sees no neighbour: 3 channels become 2": (
        "只混合通道，不看邻域：3 个通道变成 2 个"
    ),
    "(5 - 3) / 2 + 1 = 2: every other place only": "(5 - 3) / 2 + 1 = 2：每隔一个位置算一次",
    "nine weights span a field of 2·(3 - 1) + 1 = 5 cells a side": (
        "九个权重覆盖边长 2·(3 - 1) + 1 = 5 的感受野"
    ),
    "the way back from small to large: 2 + 2 - 1 = 3; framed: where a copy lies": (
        "由小变大：2 + 2 - 1 = 3；橙色框：每份卷积核所放的位置"
    ),
    "for films and volumes: the first axis is time or depth": (
        "用于视频和体数据：第一个轴是时间或深度"
    ),
    "each output number of a large picture: 3 + 3 multiplications for 9": (
        "对大图片，每个输出值只需 3 + 3 次乘法，而不是 9 次"
    ),
    "MobileNet's layer: neighbours first, channels after": "MobileNet 的层：先看邻域，再混合通道",
    "ShuffleNet's layer: the shuffle lets the next groups see both": (
        "ShuffleNet 的层：重排之后，下一层的每组都能看到两组的通道"
    ),
    "{name}: {shape}, one scale centred at 0": "{name}：{shape}，同一色标，以 0 为中心",
    " (the first {a}x{b})": "（前 {a}x{b} 个）",
    "output channel": "输出通道",
    "input channel": "输入通道",
    "kernels of {run}": "{run} 的卷积核",
    "{run}: what every layer makes of {name}": "{run}：每一层对 {name} 的输出",
    ", the first {count}": "，前 {count} 个",
    "{layer}: {n} pictures by its kernels": "{layer}：{n} 张图片 × 各卷积核的特征图",
    "picture, enlarged {scale} times": "图片，放大 {scale} 倍",
    "Canny edges": "Canny 边缘",
    "SIFT: {n} key points": "SIFT：{n} 个关键点",
    ", the {n} largest": "，画出最大的 {n} 个",
    "Harris: {n} corners": "Harris：{n} 个角点",
    "the first layer's maps: {n} learned kernels": "第一层的特征图：{n} 个学到的卷积核",
    "made by hand and learned: {name}, {run}": "人工设计的与学到的特征：{name}，{run}",
    (
        "theoretical: r' = r + d(k - 1)j, step j' = js (Araujo et al. 2019); "
        "effective: gradient, side of the area above 4.55% of its peak (Luo et al. 2016)"
    ): (
        "理论：r' = r + d(k - 1)j，步长 j' = js（Araujo 等 2019）；"
        "有效：梯度，高于峰值 4.55% 的区域的边长（Luo 等 2016）"
    ),
    "theoretical field": "理论感受野",
    "effective field": "有效感受野",
    "effective side {side:.1f}": "有效边长 {side:.1f}",
    "field {size}x{size}\nstep {jump}": "感受野 {size}x{size}\n步长 {jump}",
    "field: the whole\n{size}x{size} picture": "感受野：整张\n{size}x{size} 图片",
    "{run}: what the middle unit of each layer sees": "{run}：每一层中间单元的感受野",
    "what the network sees": "网络看到的图片",
    "gradient\nSimonyan et al. 2013": "梯度\nSimonyan 等 2013",
    "integrated gradients\nSundararajan et al. 2017": "积分梯度\nSundararajan 等 2017",
    "occlusion by 5x5\nZeiler and Fergus 2014": "5x5 遮挡\nZeiler 与 Fergus 2014",
    "Grad-CAM at {layer}\nSelvaraju et al. 2017": "Grad-CAM，{layer}\nSelvaraju 等 2017",
    "up to {value:.2g}": "最大 {value:.2g}",
    "steepest {value:.2f}": "最陡 {value:.2f}",
    "sum {sum:.2f}, logit gain {gain:.2f}": "总和 {sum:.2f}，logit 增量 {gain:.2f}",
    "logit falls by up to {value:.1f}": "logit 最多下降 {value:.1f}",
    "{name}: {answer}, p = {p:.3f}": "{name}：{answer}，p = {p:.3f}",
    "{run}: pixels that speak for the answer (red), against it (blue)": (
        "{run}：支持（红）与反对（蓝）所给答案的像素"
    ),
    "{run}: the {n} features before the last layer, {count:,} test images": (
        "{run}：最后一层之前的 {n} 个特征，{count:,} 张测试图片"
    ),
    "PCA: {share:.0%} of the variance": "PCA：占方差的 {share:.0%}",
    "t-SNE": "t-SNE",
    "test accuracy": "测试准确率",
    "own last layer, {n:,} training images": "网络自己的最后一层，{n:,} 张训练图片",
    "SVM, {n:,} training images": "SVM，{n:,} 张训练图片",
    "{title}: {total:,} parameters": "{title}：{total:,} 个参数",
    "parameters:": "参数：",
    "what each layer makes of the picture: blue below 0, red above; orange: what one unit sees": (
        "每一层对这张图片的输出：蓝色小于 0，红色大于 0；橙色：一个单元所看到的区域"
    ),
}


def say(template: str, **values: Any) -> str:
    """`template` in the chosen language, its `{names}` filled in."""
    if _language.get() == "zh":
        template = ZH[template]
    return template.format(**values)


@contextlib.contextmanager
def language(name: str) -> Iterator[None]:
    """Figures made while the block runs are titled in `name`: "en" or "zh"."""
    token = _language.set(name)
    try:
        yield
    finally:
        _language.reset(token)
