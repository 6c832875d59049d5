"""What a figure is drawn of: a run's network, and pictures of its test set or from files.

Paddle is imported inside the functions, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lenet_paddle.config import DatasetName, InputError, TrainConfig

if TYPE_CHECKING:
    from paddle import nn

    from lenet_paddle.data.imageset import ImageSet


class Settings(Protocol):
    """What is read of `visualize.VisualizeConfig`."""

    @property
    def run(self) -> list[str]:
        """Folders of runs."""

    @property
    def checkpoint(self) -> str:
        """best, latest, or one such as epoch_0005."""

    @property
    def images(self) -> list[str]:
        """Positions of test images, or picture files."""

    @property
    def dataset(self) -> DatasetName | None:
        """Another data set than the run's own."""

    @property
    def data_dir(self) -> str | None:
        """Where that data set lies."""

    @property
    def layer(self) -> str | None:
        """A layer by name."""


@dataclass(frozen=True)
class Subject:
    """The trained network that is drawn."""

    name: str
    """The run's, for titles."""
    config: TrainConfig
    """The run's settings, with the data set that the figure is drawn on."""
    network: nn.Layer
    classes: tuple[str, ...]
    side: int
    """Pixels a side of what the network takes."""

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, 28, 28) -> float32 (N, 1, S, S) for this network."""
        from lenet_paddle.data.preprocess import normalise

        return normalise(images, self.side)

    @property
    def first_convolution(self) -> str | None:
        """Its name; None without one."""
        from paddle import nn

        from lenet_paddle.explain.hooks import leaf_layers

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
class Pictures:
    """Chosen pictures: names for captions and file stems, uint8 (N, 28, 28), the originals."""

    names: list[str]
    images: np.ndarray
    originals: list[np.ndarray]
    """uint8 (H, W) of any size; a test image is its own original."""


def load_subject(settings: Settings) -> Subject:
    """The one run that is drawn. Raises `InputError` when none or several are named."""
    from lenet_paddle.deploy.predictor import load_run
    from lenet_paddle.models import input_size

    if len(settings.run) != 1:
        raise InputError(
            f"{len(settings.run) or 'no'} run{'s' * (len(settings.run) > 1)} came; expected one "
            "trained model: --run output/<run>"
        )
    run_dir = Path(settings.run[0])
    config, network, classes = load_run(run_dir, settings.checkpoint)
    if settings.dataset is not None or settings.data_dir is not None:
        config = dataclasses.replace(
            config,
            dataset=settings.dataset or config.dataset,
            data_dir=settings.data_dir,
            preprocess=config.picture_mode,
        )
    return Subject(run_dir.resolve().name, config, network, classes, input_size(config.model))


def choose_pictures(settings: Settings, subject: Subject, count: int) -> Pictures:
    """The pictures of `settings.images`, else the first test image of each of `count` classes."""
    from lenet_paddle.data import load_test_set
    from lenet_paddle.data.preprocess import prepare_picture

    wanted, test_set = settings.images, None
    if not wanted or any(text.isdecimal() for text in wanted):
        test_set = load_test_set(subject.config, subject.classes)
        wanted = wanted or _first_of_each(test_set.labels, count)
    originals = [_load_original(text, test_set) for text in wanted]
    mode = subject.config.picture_mode
    images = np.stack([prepare_picture(original, mode) for original in originals])
    names = [f"#{text}" if text.isdecimal() else Path(text).stem for text in wanted]
    return Pictures(names, images, originals)


def _first_of_each(labels: np.ndarray, count: int) -> list[str]:
    _, first = np.unique(labels, return_index=True)
    return [str(position) for position in first[:count]]


def _load_original(text: str, test_set: ImageSet | None) -> np.ndarray:
    """A test image by its position, else a picture file."""
    from lenet_paddle.data.preprocess import load_picture

    if test_set is None or not text.isdecimal():
        try:
            return load_picture(Path(text))
        except OSError as error:
            raise InputError(
                f"{text}: {error.strerror}; expected a picture file or a test image's position"
            ) from None
    if int(text) >= len(test_set):
        raise InputError(
            f"test image {text} came; expected a position from 0 to {len(test_set) - 1}"
        )
    return test_set.images[int(text)]
