"""What a figure is drawn of: a run's network, a data set, and pictures of it or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle import nn

from lenet_paddle import runtime
from lenet_paddle.analysis.hooks import leaf_layers
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data, load_test_set
from lenet_paddle.data.preprocess import load_picture, normalise, prepare_picture
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.figures.visualize import VisualizeConfig
from lenet_paddle.figures.words import say
from lenet_paddle.models import input_size
from lenet_paddle.run_folder import Run


@dataclass(frozen=True)
class Subject:
    """The trained network that is drawn."""

    name: str
    """The run's, for titles."""
    config: TrainConfig
    """The run's settings, with the data set that the figure is drawn on."""
    network: nn.Layer
    classes: tuple[str, ...]

    @property
    def side(self) -> int:
        """Pixels a side of what the network takes."""
        return input_size(self.config.model)

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) -> float32 (N, 1, S, S) for this network."""
        return normalise(images, self.side)

    def predict_test_set(self) -> tuple[ImageSet, np.ndarray, str]:
        """The test images, their logits (N, C), and a title with the accuracy."""
        test_set = load_test_set(self.config, self.classes)
        logits = predict_logits(self.network, test_set, self.side)
        title = say(
            "{run}, {dataset} test accuracy {accuracy:.4f}",
            "{run}，{dataset} 测试准确率 {accuracy:.4f}",
            run=self.name,
            dataset=self.config.dataset,
            accuracy=float((logits.argmax(axis=1) == test_set.labels).mean()),
        )
        return test_set, logits, title

    @property
    def first_convolution(self) -> str | None:
        """Its name; None without one."""
        layers = leaf_layers(self.network).items()
        return next((name for name, layer in layers if isinstance(layer, nn.Conv2D)), None)

    def need_convolution(self, what: str) -> str:
        """The first convolution's name; `InputError` for a network without one."""
        if self.first_convolution is None:
            raise InputError(
                f"{self.name}: {self.config.model} has no convolution, so there is no {what} to "
                "draw; give --run of another model"
            )
        return self.first_convolution


@dataclass(frozen=True)
class Picture:
    """One picture that a figure is drawn of."""

    name: str
    """In titles: mnist test image 3, or own.png."""
    label: str
    """In captions and file names, where there is less room: #3, or own."""
    original: np.ndarray
    """Grey uint8 (H, W) of any size; a test image is its own original."""
    mode: Preprocess

    @property
    def image(self) -> np.ndarray:
        """What a network is given of it, uint8 (28, 28)."""
        return prepare_picture(self.original, self.mode)


def need_runs(config: VisualizeConfig) -> list[Path]:
    """The runs that were named. Raises `InputError` when there is none."""
    if not config.run:
        raise InputError(f"{config.what} needs a trained run: --run output/<run>")
    return [Path(run) for run in config.run]


def load_subject(config: VisualizeConfig) -> Subject:
    """The run that was named. Raises `InputError` when none was."""
    run = Run.open(need_runs(config)[0])
    runtime.select_device("auto")
    network, classes = run.load_network(config.checkpoint)
    settings = run.config.on_data(config.dataset, config.data_dir)
    return Subject(run.name, settings, network, classes)


def data_settings(config: VisualizeConfig) -> TrainConfig:
    """The settings that say which data: the run's, else the defaults, with --dataset put in."""
    settings = Run.open(config.run[0]).config if config.run else TrainConfig()
    return settings.on_data(config.dataset, config.data_dir)


def load_images(config: VisualizeConfig, split: str = "test") -> tuple[ImageSet, str]:
    """A split of the data set that is drawn, whatever its classes, and the data set's name."""
    settings = data_settings(config)
    [image_set] = load_data(settings, split)
    return image_set, settings.dataset


def choose_pictures(config: VisualizeConfig, count: int) -> list[Picture]:
    """The pictures that `--images` names, each a test image by its position or a file; without,
    test image 0, or the first of each of `count` classes. Raises `InputError`."""
    wanted = config.images or (["0"] if count == 1 else [])
    mode = data_settings(config).picture_mode
    if wanted and not any(map(_is_number, wanted)):
        return [_read_file(text, mode) for text in wanted]
    test_set, dataset = load_images(config)
    if not wanted:
        _, firsts = np.unique(test_set.labels, return_index=True)
        wanted = [str(position) for position in firsts[:count]]
    pictures = []
    for text in wanted:
        if not _is_number(text):
            pictures.append(_read_file(text, mode))
            continue
        position = find_position(text, test_set)
        name = say(
            "{dataset} test image {n}", "{dataset} 第 {n} 张测试图片", dataset=dataset, n=position
        )
        pictures.append(Picture(name, f"#{position}", test_set.images[position], mode))
    return pictures


def choose_picture(config: VisualizeConfig) -> Picture:
    """The one picture that `--images` names, else test image 0. Raises `InputError`."""
    pictures = choose_pictures(config, 1)
    if len(pictures) > 1:
        raise InputError(f"{config.what} draws one picture; {len(pictures)} came after --images")
    return pictures[0]


def find_position(text: str, image_set: ImageSet) -> int:
    """`--images` as a position in `image_set`. Raises `InputError` for what is none."""
    if not (text.isascii() and text.isdecimal()) or int(text) >= len(image_set):
        raise InputError(
            f"images has {text!r}; expected positions of test images, 0 to {len(image_set) - 1}"
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _read_file(text: str, mode: Preprocess) -> Picture:
    path = Path(text)
    try:
        return Picture(path.name, path.stem, load_picture(path), mode)
    except OSError as error:
        raise InputError(
            f"{text}: {error.strerror}; expected a picture file, or a test image's position"
        ) from None
