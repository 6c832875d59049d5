"""What a data set holds, before anybody trains on it: sizes, classes, copies, odd pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from lenet_paddle.data.checks import digest_of
from lenet_paddle.data.datasets import DataConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.errors import InputError
from lenet_paddle.settings import PATH, Settings
from lenet_paddle.tables import format_cells, show_count, show_size

SUFFIXES = (".png", ".svg", ".pdf")
FAR = 6  # deviations from the median from which on a brightness is unusual
LONG = 2.5  # times as long as wide
_BLOCK = 4096  # images read at once
_NAMED = 3


@dataclass(frozen=True)
class SheetConfig(Settings):
    """The picture that is drawn of the data."""

    out: Annotated[str, PATH] = "sheet.png"
    """The file of the sheet of samples; .png, .svg or .pdf."""


@dataclass(frozen=True)
class InspectConfig(SheetConfig, DataConfig):
    """Settings of `tools/inspect_data.py`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_together()
        if Path(self.out).suffix.lower() not in SUFFIXES:
            raise InputError(f"out is {self.out!r}; expected a name that ends in .png, .svg, .pdf")


@dataclass
class Survey:
    """What was measured of one part of a data set."""

    name: str
    images: ImageSet
    counts: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    """Of each value by channel, int64 (1 or 3, 256)."""
    digests: list[bytes] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    """The mean of each image, 0..255."""
    empty: list[int] = field(default_factory=list)
    """Positions of images of one value only."""

    def name_image(self, position: int) -> str:
        """Return where an image comes from."""
        names = self.images.names
        return f"{self.name}[{position}]" if names is None else str(names[position])


def inspect_data(config: InspectConfig) -> str:
    """Draw the sheet of the training images, and return what the data set holds as text.

    What the loader says about the data is logged. Raises `InputError`.
    """
    from lenet_paddle.data.load import load_data
    from lenet_paddle.figures.results.sheet import plot_sheet
    from lenet_paddle.figures.style import save_figure

    splits = ["train", "val", "test"] if config.val_size else ["train", "test"]
    sets = dict(zip(splits, load_data(config, *splits), strict=True))
    surveys = [measure(split, image_set) for split, image_set in sets.items()]
    train = sets["train"]
    save_figure(plot_sheet(train, config.dataset), Path(config.out))
    sections = [
        f"{config.dataset}: {train.form}, {train.num_classes} classes",
        format_classes(sets),
        "\n".join(f"{title:<10}  {text}" for title, text in _list_facts(surveys, config)),
        config.out,
    ]
    return "\n\n".join(sections)


def measure(name: str, image_set: ImageSet) -> Survey:
    """Look at every image of a part once, block by block."""
    survey = Survey(name, image_set)
    for start in range(0, len(image_set), _BLOCK):
        block = np.asarray(image_set.images[start : start + _BLOCK])
        flat = block.reshape(len(block), -1)
        for channel in range(block.shape[3] if block.ndim == 4 else 1):
            values = block[..., channel] if block.ndim == 4 else block
            survey.counts[channel] += np.bincount(values.ravel(), minlength=256)
        survey.brightness += flat.mean(axis=1).tolist()
        survey.empty += (start + np.flatnonzero((flat == flat[:, :1]).all(axis=1))).tolist()
        survey.digests += map(digest_of, flat)
    return survey


def format_classes(sets: Mapping[str, ImageSet]) -> str:
    """Return a table of the number of images by class and part."""
    counts = [np.bincount(s.labels, minlength=s.num_classes) for s in sets.values()]
    classes = next(iter(sets.values())).classes
    rows = [
        [name, *map(show_count, row)]
        for name, row in zip(classes, np.transpose(counts), strict=True)
    ]
    rows.append(["all", *(show_count(len(image_set)) for image_set in sets.values())])
    return format_cells(["class", *sets], rows, left=["class"])


def _list_facts(surveys: list[Survey], config: InspectConfig) -> Iterator[tuple[str, str]]:
    train = surveys[0]
    yield "values", _describe_values(train.counts)
    counts = np.bincount(train.images.labels, minlength=train.images.num_classes)
    least, most = counts.argmin(), counts.argmax()
    names = train.images.classes
    uneven = f"{counts[least]:,} ({names[least]}) to {counts[most]:,} ({names[most]}) a class"
    even = f"{counts[most]:,} of each class"
    yield "balance", f"training images: {even if counts[least] == counts[most] else uneven}"
    yield "copies", _describe_copies(surveys)
    empty = [survey.name_image(i) for survey in surveys for i in survey.empty]
    yield "empty", f"{len(empty):,} of one value only: {_name(empty)}" if empty else "none"
    yield "brightness", _describe_brightness(surveys)
    if config.dataset == "folder":
        yield "sizes", _describe_sizes(surveys, Path(str(config.data_dir)))


def _describe_values(counts: np.ndarray) -> str:
    """Return range, mean and deviation of the values that are counted, int64 (3, 256)."""
    values = np.arange(256)
    used = counts.sum(axis=1) > 0
    total = counts.sum(axis=0)
    share = total / max(1, total.sum())
    mean = float(values @ share)
    deviation = float(((values - mean) ** 2 @ share) ** 0.5)
    present = np.flatnonzero(total)
    text = f"{present.min()} to {present.max()}, mean {mean:.1f}, deviation {deviation:.1f}"
    if used.sum() == 3:
        means = counts @ values / counts.sum(axis=1)
        text += f" (red {means[0]:.1f}, green {means[1]:.1f}, blue {means[2]:.1f})"
    return f"{text}, {share[0]:.0%} are 0 (training images)"


def _describe_copies(surveys: list[Survey]) -> str:
    """Return how many images of each part are copies of earlier ones, and of which part."""
    seen: dict[bytes, tuple[Survey, int]] = {}
    found: dict[tuple[str, str], list[str]] = {}
    conflicts = 0
    for survey in surveys:
        for i, digest in enumerate(survey.digests):
            other, there = seen.setdefault(digest, (survey, i))
            if (other, there) == (survey, i):
                continue
            pair = f"{survey.name_image(i)} = {other.name_image(there)}"
            found.setdefault((survey.name, other.name), []).append(pair)
            conflicts += bool(survey.images.labels[i] != other.images.labels[there])
    parts = [
        f"{len(pairs):,} in {name} {'too' if name == other else f'of {other} images'}: {pairs[0]}"
        for (name, other), pairs in found.items()
    ]
    text = "; ".join(parts) or "none"
    return f"{text}; {conflicts:,} of them in another class" if conflicts else text


def _describe_brightness(surveys: list[Survey]) -> str:
    """Return the median of the images' means, and which are far from it."""
    means = np.concatenate([survey.brightness for survey in surveys])
    median = float(np.median(means))
    deviation = 1.4826 * float(np.median(np.abs(means - median)))  # as of a normal distribution
    far = [
        (abs(value - median), survey.name_image(i))
        for survey in surveys
        for i, value in enumerate(survey.brightness)
        if abs(value - median) > FAR * deviation
    ]
    ranked = [name for _, name in sorted(far, reverse=True)]
    odd = f"; {len(far):,} far from it: {_name(ranked)}" if far else ""
    return f"{means.min():.1f} to {means.max():.1f}, median {median:.1f}{odd}"


def _describe_sizes(surveys: list[Survey], folder: Path) -> str:
    """Return the range of the pictures' sizes in their files, and which are small or long."""
    from PIL import Image

    side = surveys[0].images.images.shape[1]
    sizes: dict[str, tuple[int, int]] = {}
    for name in (survey.name_image(i) for survey in surveys for i in range(len(survey.images))):
        # A format that a plugin reads is not known here.
        with contextlib.suppress(OSError, ValueError), Image.open(folder / name) as picture:
            sizes[name] = picture.size
    if not sizes:
        return "not known"
    low, middle, high = (
        show_size(of(list(sizes.values()), axis=0)) for of in (np.min, np.median, np.max)
    )
    odd = [
        f"{name} ({show_size(size)})"
        for name, size in sizes.items()
        if min(size) < side or max(size) > LONG * min(size)
    ]
    few = f"; {len(odd):,} below {side} pixels or long: {_name(odd)}" if odd else ""
    return f"{low} to {high} in the files, median {middle}{few}"


def _name(names: list[str]) -> str:
    """Return the first names."""
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
