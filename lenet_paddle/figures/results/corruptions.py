"""Images under each of MNIST-C's corruptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenet_paddle.data.datasets import ALL_CORRUPTIONS
from lenet_paddle.data.mnist_c import check_form
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.results.images import plot_rows
from lenet_paddle.figures.subject import (
    choose_pictures,
    data_settings,
    find_position,
    stack_images,
)
from lenet_paddle.figures.words import say

NUM_IMAGES = 10


def draw_corruptions(config: VisualizeConfig) -> Drawn:
    """Draw a test image of each class, or --images, under each of MNIST-C's corruptions.

    The corruptions are made here; with the data set mnist_c they are read from its folder.
    """
    from lenet_paddle.data.corrupt import corrupt

    settings = data_settings(config)
    if config.run:
        check_form(settings.form, config.run[0])
    if settings.dataset == "mnist_c":
        folder = Path(str(settings.data_dir))
        captions, rows = _read_corrupted(config, folder)
        title = say(
            "MNIST-C's corruptions, from {folder}",
            "MNIST-C 的各种失真，取自 {folder}",
            folder=folder.resolve().name,
        )
    else:
        pictures = choose_pictures(config, NUM_IMAGES)
        captions = [picture.label for picture in pictures]
        images = stack_images(pictures)
        check_form(pictures[0].form, settings.dataset)
        rows = {name: corrupt(images, name) for name in ALL_CORRUPTIONS}
        title = say(
            "MNIST-C's corruptions, made from {dataset}",
            "MNIST-C 的各种失真，由 {dataset} 生成",
            dataset=settings.dataset,
        )
    named = {name.replace("_", " "): images for name, images in rows.items()}
    return {"corruptions": plot_rows(named, captions, title)}


def _read_corrupted(
    config: VisualizeConfig, folder: Path
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return captions, and for each corruption in `folder` its images, uint8 (N, 28, 28)."""
    from lenet_paddle.data.mnist_c import list_corruptions, load_mnist_c

    sets = {name: load_mnist_c("test", folder, name) for name in list_corruptions(folder)}
    wanted = config.images
    if not wanted:
        _, firsts = np.unique(next(iter(sets.values())).labels, return_index=True)
        wanted = [str(position) for position in firsts[:NUM_IMAGES]]
    rows = {
        name: image_set.images[np.array([find_position(text, image_set) for text in wanted])]
        for name, image_set in sets.items()
    }
    return [f"#{text}" for text in wanted], rows
