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
    "train": "训练",
    "val": "验证",
    "test": "测试",
    "training": "训练",
    "images": "图像数",
    "confidence": "置信度",
    "predicted": "预测类别",
    "true": "真实类别",
    "share of the true class": "占真实类别的比例",
    "read as {name}": "误判为 {name}",
    "{n} worst of {wrong} mistakes in {total:,} images": (
        "{total:,} 幅图像中有 {wrong} 个错误，这里是最严重的 {n} 个"
    ),
    "overfitting gap, {gap:.3f} at the end": "过拟合差距，末轮 {gap:.3f}",
    "lowest loss that was not trained on": "非训练数据上的最低损失",
    "{run}, {dataset} test accuracy {accuracy:.4f}": "{run}，{dataset} 测试准确率 {accuracy:.4f}",
    "{dataset} test image {n}": "{dataset} 第 {n} 幅测试图像",
    "{dataset}: {n:,} {split} images": "{dataset}：{n:,} 幅{split}图像",
    "class balance: {low:,} to {high:,} images": "类别分布：每类 {low:,} 至 {high:,} 幅",
    "pixels: mean {mean:.1f}, deviation {std:.1f}, {zero:.0%} are 0": (
        "像素：均值 {mean:.1f}，标准差 {std:.1f}，{zero:.0%} 为 0"
    ),
    "mean image": "平均图像",
    "deviation": "标准差",
    "perfectly calibrated": "完全校准",
    "gap to the confidence": "与置信度的差距",
    "expected calibration error {error:.4f}": "期望校准误差 {error:.4f}",
    "the classic kernels on {name}": "经典卷积核：{name}",
    "the picture itself": "原图",
    "blur": "模糊",
    "sharpen: centre above 1": "锐化：中心大于 1",
    "emboss (shown + 128)": "浮雕（显示时加 128）",
    "edges (shown |x|)": "边缘（显示绝对值）",
    "vertical edges, Sobel (|x|)": "竖直边缘，Sobel（绝对值）",
    "horizontal edges, Sobel (|x|)": "水平边缘，Sobel（绝对值）",
    "water colour": "水彩",
    "median\nof 25": "25 个数的\n中值",
    "5 × 5 pixels, then": "5 × 5 中值，然后",
    "sum {total}": "和 {total}",
    "X or O: match, ReLU, pool (numbers cut after two places)": (
        "X 还是 O：匹配、ReLU、池化（数字截到两位小数）"
    ),
    "an X of 1 and -1": "由 1 和 -1 组成的 X",
    "window": "窗口",
    "feature": "特征",
    "products": "乘积",
    "mean {total:g}/9\n= {mean}": "均值 {total:g}/9\n= {mean}",
    "match at every place": "每个位置的匹配程度",
    "ReLU": "ReLU",
    "pooled 2 × 2": "2 × 2 池化",
    "again": "再池化",
    "of {numbers}\nit keeps {kept}": "{numbers}\n中保留 {kept}",
    "plain": "原样",
    "plain X": "标准的 X",
    "plain O": "标准的 O",
    "the course's new picture": "课程中的新图像",
    "shifted down, right": "向右下平移",
    "shifted up, left": "向左上平移",
    "turned 15° left": "左转 15°",
    "turned 20° right": "右转 20°",
    "thickened": "加粗",
    "changed, and still recognised: the votes (winner coloured)": (
        "变形后仍能识别：各自的得票（胜者着色）"
    ),
    "(the course prints 0.92 for X and 0.51 for O)": "（课程中写作：X 为 0.92，O 为 0.51）",
    (
        "the three 2 × 2 maps as one list: each value votes for the letter that makes it high, "
        "orange for X, blue for O"
    ): ("三张 2 × 2 特征图排成一列：每个值投票给使它变大的字母，橙色投 X，蓝色投 O"),
    "input": "输入",
    "input {h} × {w}": "输入 {h} × {w}",
    ", {p} of it padding on each side": "，其中每边填充 {p}",
    "feature map": "特征图",
    "feature map {h} × {w}": "特征图 {h} × {w}",
    "kernel": "卷积核",
    "\n+ bias {bias}": "\n+ 偏置 {bias}",
    "bias\n{bias}\n=": "偏置\n{bias}\n=",
    "red": "红",
    "green": "绿",
    "blue": "蓝",
    "together": "合在一起",
    "input channel {c}: {name}": "输入通道 {c}：{name}",
    "output channel {o}": "输出通道 {o}",
    "{o} × {c} kernels of 3 × 3 and {o} biases: {total} parameters": (
        "{o} × {c} 个 3 × 3 卷积核和 {o} 个偏置：{total} 个参数"
    ),
    "vertical edges (Sobel) of {name}": "竖直边缘（Sobel）：{name}",
    "{layer}, kernel {n} of {total}, on {name}": (
        "{layer} 的第 {n} 个卷积核（共 {total} 个），{name}"
    ),
    (
        "\nno size: after {fit} windows {left} of {side} pixels stay, too few for a step of "
        "{stride};\nPaddle rounds down to {fit} and never looks there"
    ): (
        "\n不是合法的尺寸：放下 {fit} 个窗口后，{side} 个像素还剩 {left} 个，不够再走步幅 "
        "{stride}；\nPaddle 向下取整为 {fit}，永远看不到剩下的像素"
    ),
    "P = {p}: a map of {side} × {side}": "P = {p}：特征图 {side} × {side}",
    "times seen: corner {corner}, middle {middle}": "被看到的次数：角上 {corner}，中间 {middle}",
    "{n} of {total} pixels never seen": "{total} 个像素中有 {n} 个从未被看到",
    "windows that see the pixel": "看到该像素的窗口数",
    "grey: pixels": "灰：像素",
    "white: padding": "白：填充",
    "blue: the windows, one below the other": "蓝：依次排列的窗口",
    "orange: never reached": "橙：从未到达",
    "pooling 2 × 2, stride 2; feature map: {title}": "2 × 2 池化，步幅 2；特征图：{title}",
    "max pooling": "最大池化",
    "average pooling": "平均池化",
    "gradient from above": "上游梯度",
    "gradient at the input": "输入处的梯度",
    "marked: each window's maximum": "圈点：各窗口的最大值",
    "all of it goes to the maximum": "梯度全部传给最大值",
    "a quarter goes to each of the four": "四个输入各得四分之一",
    "activations; --run measures saturation in a model": (
        "激活函数；用 --run 可在模型中测量饱和程度"
    ),
    "activations; below: what comes into those of {run}, {n} {dataset} test images": (
        "激活函数；下方：{run} 中各激活层的输入，{n} 幅 {dataset} 测试图像"
    ),
    "leaky ReLU, slope {slope}": "带泄漏的 ReLU，斜率 {slope}",
    "value": "函数值",
    "gradient": "梯度",
    "gradient lost": "梯度消失",
    "greatest gradient {value:.3g}": "最大梯度 {value:.3g}",
    "input; orange: gradient lost, {lost:.1%}\nin {always:.1%} of the units on every image": (
        "输入；橙色：梯度消失，占 {lost:.1%}\n{always:.1%} 的单元对每幅图像都如此"
    ),
    "dropout, p = 0.5, of 120 units": "120 个单元的丢弃法，p = 0.5",
    "dropout, p = 0.5, of the last hidden layer on {name}": (
        "最后一个隐藏层的丢弃法，p = 0.5，{name}"
    ),
    "without": "不丢弃",
    "draw {n}": "第 {n} 次抽样",
    "mean {mean:.3f}": "均值 {mean:.3f}",
    "{n} of {total} units dropped": "{total} 个单元丢弃了 {n} 个",
    "value; grey: dropped": "值；灰色：已丢弃",
    "without dropout": "不用丢弃法",
    "kept units × 1 / (1 − p) = {scale:g}": "保留的单元 × 1 / (1 − p) = {scale:g}",
    "kept units as they are": "保留的单元不缩放",
    "draws": "抽样次数",
    "mean of the layer over the draws": "该层在多次抽样中的均值",
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
