"""Augmented variants of images, and each kind of augmentation on its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from lenet_paddle.data.augment import COLOUR
from lenet_paddle.data.nondigits import make_nondigits
from lenet_paddle.data.transforms import Augmentation, choose_augmentation
from lenet_paddle.errors import InputError
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.results.images import plot_rows
from lenet_paddle.figures.style import label_classes
from lenet_paddle.figures.subject import data_settings, find_position, load_images
from lenet_paddle.figures.words import say

NUM_IMAGES, NUM_VARIANTS = 10, 4  # columns, rows
SHOWN_RANGES: dict[str, tuple[float, str]] = {  # large enough to be seen; name in Chinese
    "rotation": (25, "旋转"),
    "shift": (0.15, "平移"),
    "zoom": (0.3, "缩放"),
    "shear": (20, "错切"),
    "elastic": (0.9, "弹性形变"),
    "horizontal_flip": (1.0, "水平翻转"),
    "vertical_flip": (1.0, "垂直翻转"),
    "thin": (2.0, "笔画变细"),
    "thick": (4.0, "笔画加粗"),
    "outline": (1.0, "只留轮廓"),
    "breaks": (1.0, "断笔"),
    "downscale": (0.7, "缩小再放大"),
    "specks": (1.0, "污点"),
    "erase": (1.0, "擦除"),
    "bars": (0.7, "条带"),
    "brightness": (0.3, "亮度"),
    "contrast": (0.6, "对比度"),
    "noise": (0.2, "噪声"),
    "blur": (1.5, "模糊"),
    "hue": (0.3, "色相"),
    "saturation": (0.9, "饱和度"),
    "grayscale": (1.0, "灰度化"),
}


def draw_augment(config: VisualizeConfig) -> Drawn:
    """Draw variants of images by a run's augmentation or the presets, and each range alone.

    Of a run with `outliers` a row shows made-up pictures that are no digits.
    """
    image_set, _ = load_images(config, "test" if config.images else "train")
    chosen = [find_position(text, image_set) for text in config.images]
    count = len(chosen) or min(NUM_IMAGES, len(image_set))
    shown = image_set.take(np.array(chosen or range(count), np.int64))
    names = label_classes(image_set.classes)
    captions = [names[label] for label in shown.labels]
    kinds = {
        say("light", "轻度"): Augmentation(augment="light"),
        say("strong", "强"): Augmentation(augment="strong"),
    }
    settings = data_settings(config)
    if config.run:
        own = choose_augmentation(settings, image_set.form.channels)
        if own is None:
            raise InputError(
                f"{config.run[0]} was trained without augmentation; leave out --run for the presets"
            )
        kinds = {say("variant", "变体"): own}
    originals = {say("original", "原图"): shown.images[:]}
    variants = {
        f"{name} {number}": augment(shown.images[:], np.random.default_rng(number))
        for name, augment in kinds.items()
        for number in range(1, NUM_VARIANTS + 1)
    }
    if settings.outliers:
        [augment] = kinds.values()
        rng = np.random.default_rng(0)
        made = make_nondigits(shown.images[:], shown.labels, count, rng)
        variants[say("no digits", "非数字")] = augment(made, rng)
    ranges = {}
    for name, (value, chinese) in SHOWN_RANGES.items():
        if name in COLOUR and shown.form.channels == 1:
            continue
        only: dict[str, Any] = {name: value}
        title = f"{say(name.replace('_', ' '), chinese)} {value:g}"
        ranges[title] = Augmentation(**only)(shown.images[:], np.random.default_rng(0))
    return {
        "augment": plot_rows(
            {**originals, **variants}, captions, say("what training sees", "训练所见到的图片")
        ),
        "augment-ranges": plot_rows(
            {**originals, **ranges}, captions, say("each kind alone", "每种变化单独作用")
        ),
    }
