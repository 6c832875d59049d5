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
    # augment
    "original": "原图",
    "light": "轻度",
    "strong": "强",
    "variant": "变体",
    "what training sees": "训练所见到的图片",
    "each range alone": "每种变化单独作用",
    "rotation": "旋转",
    "shift": "平移",
    "zoom": "缩放",
    "shear": "错切",
    "elastic": "弹性形变",
    "horizontal flip": "水平翻转",
    "vertical flip": "垂直翻转",
    "erase": "擦除",
    "bars": "条带",
    "brightness": "亮度",
    "contrast": "对比度",
    "noise": "噪声",
    # a fine-tuning
    "mean": "平均",
    "before": "微调前",
    "test images": "测试图片",
    "after the stage": "该阶段之后",
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
    "field {size}\nstep {step}": "感受野 {size}\n步长 {step}",
    "field: the whole\n{size} picture": "感受野：整张\n{size} 图片",
    " ({shown} of {total} layers)": "（共 {total} 层，画出 {shown} 层）",
    ", the first {count} of {total}": "，共 {total} 个，画出前 {count} 个",
    (
        "a column: all layers of one map size, and what the last makes of the picture: "
        "blue below 0, red above"
    ): "一列：特征图尺寸相同的所有层，以及其中最后一层对这张图片的输出：蓝色小于 0，红色大于 0",
    "\nof a stack the first {count} maps are drawn": "\n每叠只画前 {count} 张特征图",
    "activations; below: what comes into those of {run}, {n} chosen pictures": (
        "激活函数；下方：{run} 各激活层的输入，所选的 {n} 幅图像"
    ),
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
    "{dataset}: {shown} of {n:,} {split} images, and the figures of all": (
        "{dataset}：{n:,} 幅{split}图像中的 {shown} 幅，以及全部图像的统计"
    ),
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
    "input {h} × {w}": "输入 {h} × {w}",
    ", {p} of it padding on each side": "，其中每边填充 {p}",
    "feature map": "特征图",
    "feature map {h} × {w}": "特征图 {h} × {w}",
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
    (
        "input; orange: gradient lost,\n{lost:.1%} of all values;\n"
        "on every image in {always:.1%} of the units"
    ): "输入；橙色：梯度消失，\n占全部数值的 {lost:.1%}；\n{always:.1%} 的单元对每幅图像都如此",
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
    "MNIST-C's corruptions, from {folder}": "MNIST-C 的各种失真，取自 {folder}",
    "MNIST-C's corruptions, made from {dataset}": "MNIST-C 的各种失真，由 {dataset} 生成",
    "baseline {name}": "基准 {name}",
    "mean over {count}": "{count} 种失真的平均",
    "mean over {count} of {total}": "{total} 种失真中 {count} 种的平均",
    "clean": "无失真",
    "accuracy under the corruptions of MNIST-C, the hardest first": (
        "MNIST-C 各种失真下的准确率，最难的在最前"
    ),
    "the worst mistakes: true class → answer and its probability": (
        "最严重的错误：真实类别 → 所给答案及其概率"
    ),
    "false positive rate": "假正率",
    "true positive rate": "真正率",
    "precision": "精确率",
    "recall": "召回率",
    "micro average": "微平均",
    "area under the curve": "曲线下面积",
    "average precision": "平均精确率",
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
