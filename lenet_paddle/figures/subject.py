"""Load what a figure shows: a run's network, a data set, pictures from it or from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.form import Form, to_grey
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.preprocess import channels_read, load_picture, normalise, prepare_picture
from lenet_paddle.errors import InputError
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.words import say
from lenet_paddle.run_folder import Run

if TYPE_CHECKING:
    from paddle import nn

    from lenet_paddle.evaluation.calibration import Calibration

GREY_28 = Form()


@dataclass(frozen=True)
class Subject:
    """A trained network."""

    name: str
    """The run's name, for errors."""
    config: TrainConfig
    """The run's settings, on the data set that the figure shows."""
    network: nn.Layer
    classes: tuple[str, ...]
    calibration: Calibration | None = None
    """That of its checkpoint, if there is one."""

    @property
    def about(self) -> str:
        """The network in a title: its model and the data set."""
        return describe_model(self.config)

    @property
    def side(self) -> int:
        """The network's input size: S pixels a side."""
        return self.config.input_size

    @property
    def channels(self) -> int:
        """The channels of its pictures, 1 or 3."""
        return self.config.form.channels

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """Prepare images of the run's form for this network: uint8 (N, H, W) or (N, H, W, 3) ->
        float32 (N, C, S, S)."""
        return normalise(images, self.side)

    def predict_test_set(self) -> tuple[ImageSet, np.ndarray, str]:
        """Return the test images, their logits (N, C), and a title with the accuracy."""
        from lenet_paddle.data.load import load_test_set
        from lenet_paddle.evaluation.evaluate import predict_logits

        test_set = load_test_set(self.config, self.classes)
        logits = predict_logits(self.network, test_set, self.side)
        title = say(
            "{run}, test accuracy {accuracy:.4f}",
            "{run}，测试准确率 {accuracy:.4f}",
            run=self.about,
            accuracy=float((logits.argmax(axis=1) == test_set.labels).mean()),
        )
        return test_set, logits, title

    @property
    def first_convolution(self) -> str | None:
        """The first convolution's name; None for a network without one."""
        from paddle import nn

        from lenet_paddle.analysis.hooks import leaf_layers

        layers = leaf_layers(self.network).items()
        return next((name for name, layer in layers if isinstance(layer, nn.Conv2D)), None)

    def need_convolution(self, what: str) -> str:
        """Return the first convolution's name. Raises `InputError` for a network without one."""
        if self.first_convolution is None:
            raise InputError(
                f"{self.name}: {self.config.model} has no convolution, so there is no {what} to "
                "draw; give --run of another model"
            )
        return self.first_convolution


def describe_model(config: TrainConfig) -> str:
    """Return the model and the data set of a run, for titles."""
    return say(
        "{model} on {dataset}",
        "{dataset} 上的 {model}",
        model=config.model,
        dataset=config.dataset,
    )


@dataclass(frozen=True)
class Picture:
    """A picture to draw."""

    name: str
    """For titles: mnist test image 3, or own.png."""
    label: str
    """For captions and file names, where there is less space: #3, or own."""
    original: np.ndarray
    """uint8 (H, W) or (H, W, 3) of any size; of a test image, the image itself."""
    mode: Preprocess
    form: Form = GREY_28

    @property
    def image(self) -> np.ndarray:
        """The picture as networks get it, uint8 of the shape of `form`."""
        return prepare_picture(self.original, self.mode, self.form.size)

    @property
    def grey(self) -> np.ndarray:
        """The original in grey, uint8 (H, W)."""
        return self.original if self.original.ndim == 2 else to_grey(self.original)


def load_subject(config: VisualizeConfig) -> Subject:
    """Load the network of the run in `config`."""
    run = Run.open(config.run[0])
    runtime.select_device("auto")
    network, classes = run.load_network(config.checkpoint)
    settings = run.config.on_data(config.dataset, config.data_dir)
    calibration = run.read_calibration(config.checkpoint)
    return Subject(run.name, settings, network, classes, calibration)


def data_settings(config: VisualizeConfig) -> TrainConfig:
    """Return the run's settings, or the defaults, on the data set that `config` names."""
    if config.run:
        return Run.open(config.run[0]).config.on_data(config.dataset, config.data_dir)
    return TrainConfig(dataset=config.dataset or "mnist", data_dir=config.data_dir)


def load_images(config: VisualizeConfig, split: str = "test") -> tuple[ImageSet, str]:
    """Load a split of the data set to draw, with any classes, and return it with its name."""
    settings = data_settings(config)
    classes = Run.open(config.run[0]).saved_classes() if config.run else None
    from lenet_paddle.data.load import load_data

    [image_set] = load_data(settings, split, classes=classes)
    return image_set, settings.dataset


def choose_pictures(config: VisualizeConfig, count: int) -> list[Picture]:
    """Load the pictures of `--images`: test images by position, or files.

    Without `--images`, return test image 0 for a `count` of 1, else the first image of each of
    `count` classes. Raises `InputError`.
    """
    wanted = config.images or (["0"] if count == 1 else [])
    settings = data_settings(config)
    mode, form = settings.picture_mode, settings.form if config.run else GREY_28
    if wanted and not any(map(_is_number, wanted)):
        return [_read_file(text, mode, form) for text in wanted]
    test_set, dataset = load_images(config)
    form = test_set.form
    if not wanted:
        _, firsts = np.unique(test_set.labels, return_index=True)
        wanted = [str(position) for position in firsts[:count]]
    pictures = []
    for text in wanted:
        if not _is_number(text):
            pictures.append(_read_file(text, mode, form))
            continue
        position = find_position(text, test_set)
        name = say(
            "{dataset} test image {n}", "{dataset} 第 {n} 张测试图片", dataset=dataset, n=position
        )
        pictures.append(Picture(name, f"#{position}", test_set.images[position], mode, form))
    return pictures


def choose_picture(config: VisualizeConfig) -> Picture:
    """Load the one picture of `--images`, by default test image 0. Raises `InputError`."""
    pictures = choose_pictures(config, 1)
    if len(pictures) > 1:
        raise InputError(f"{config.what} draws one picture; {len(pictures)} came after --images")
    return pictures[0]


def find_position(text: str, image_set: ImageSet) -> int:
    """Convert an `--images` value to a position in `image_set`. Raises `InputError`."""
    if not (text.isascii() and text.isdecimal()) or int(text) >= len(image_set):
        raise InputError(
            f"images has {text!r}; expected positions of test images, 0 to {len(image_set) - 1}"
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _read_file(text: str, mode: Preprocess, form: Form) -> Picture:
    path = Path(text)
    try:
        original = load_picture(path, channels=channels_read(mode, form.channels))
        return Picture(path.name, path.stem, original, mode, form)
    except OSError as error:
        raise InputError(
            f"{text}: {error.strerror}; expected a picture file, or a test image's position"
        ) from None


def stack_images(pictures: Sequence[Picture]) -> np.ndarray:
    """Return the pictures as networks get them, uint8 (N, S, S) or (N, S, S, 3)."""
    return np.stack([picture.image for picture in pictures])


def name_files(what: str, pictures: Sequence[Picture]) -> list[str]:
    """Return a file stem for each picture: `what` for one picture, else `what-<label>`.

    Labels that occur twice get a number: features-5-0, features-5-1.
    """
    if len(pictures) == 1:
        return [what]
    plain = [f"{what}-{picture.label.removeprefix('#')}" for picture in pictures]
    return [
        stem if plain.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(plain)
    ]
