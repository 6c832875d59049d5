"""The form of a folder's pictures: chosen by the training pictures, said in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusal_help import refusal

from lenet_paddle.data.folder import load_folder
from lenet_paddle.data.load import load_splits
from lenet_paddle.data.preprocess import prepare_picture

Plant = Callable[..., Path]


def _picture(height: int, width: int, colour: bool) -> Image.Image:
    value = np.full((height, width, 3), 90, np.uint8)
    value[: height // 2, :, 0] = 200 if colour else 90
    return Image.fromarray(value)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Write ten pictures of each of two classes into train/, and one of each into test/."""

    def write(*sides: tuple[int, int], colour: bool = False, test_colour: bool = False) -> Path:
        for part, count, is_colour in (("train", 10, colour), ("test", 1, test_colour)):
            for name in "ab":
                (tmp_path / part / name).mkdir(parents=True)
                for i in range(count):
                    height, width = sides[i % len(sides)]
                    picture = _picture(height, width, is_colour and (part == "test" or i == 3))
                    picture.save(tmp_path / part / name / f"{i}.png")
        return tmp_path

    return write


def _load(folder: Path, **options: object) -> tuple[list[tuple[int, ...]], list[str]]:
    said: list[str] = []
    parts = load_splits(
        *("folder", ("train", "val", "test"), folder, 4, said.append),
        preprocess="resize",
        **options,
    )  # type: ignore[arg-type]
    return [part.images.shape[1:] for part in parts], [line for line in said if "read in" in line]


@pytest.mark.parametrize(
    ("sides", "size", "median"),
    [
        ([(375, 500)], 64, "500x375"),
        ([(500, 375), (375, 500)], 64, "437.5x437.5"),  # the shorter side is 375
        ([(64, 80)], 64, "80x64"),
        ([(63, 80)], 32, "80x63"),
        ([(80, 31)], 28, "31x80"),
        ([(20, 90)], 28, "90x20"),
        ([(300, 300), (40, 40), (50, 50)], 32, "50x50"),
    ],
)
def test_the_side_is_the_largest_not_above_the_median_shorter_side(
    plant: Plant, sides: list[tuple[int, int]], size: int, median: str
) -> None:
    folder = plant(*sides)
    shapes, said = _load(folder)
    assert shapes == 3 * [(size, size)]
    assert said == [
        f"{folder}: pictures are read in grey at {size}x{size} (median {median}); "
        "--channels and --image-size change that"
    ]


def test_one_coloured_training_picture_makes_all_parts_coloured(plant: Plant) -> None:
    shapes, said = _load(plant((70, 70), colour=True))
    assert shapes == 3 * [(64, 64, 3)]
    assert len(said) == 1 and "in colour at 64x64" in said[0]


def test_colour_in_the_test_part_alone_decides_nothing(plant: Plant) -> None:
    assert _load(plant((70, 70), test_colour=True))[0] == 3 * [(64, 64)]


def test_only_what_was_left_open_is_decided_and_named(plant: Plant) -> None:
    folder = plant((300, 400), colour=True)
    shapes, said = _load(folder, image_size=224)
    assert shapes[0] == (224, 224, 3) and said[0].endswith("; --channels changes that")
    shapes, said = _load(folder, channels=1)
    assert shapes[0] == (64, 64) and said[0].endswith("; --image-size changes that")
    assert _load(folder, channels=3, image_size=96) == (3 * [(96, 96, 3)], [])


@pytest.mark.parametrize("colour", [False, True])
def test_pictures_that_have_the_form_are_read_without_a_word(plant: Plant, colour: bool) -> None:
    shapes, said = _load(plant((32, 32), colour=colour))
    assert shapes[0][:2] == (32, 32) and said == []


def test_digits_are_grey_28x28_whatever_the_pictures(plant: Plant) -> None:
    folder = plant((100, 100), colour=True)
    train = load_folder("train", folder, "digit")
    assert train is not None and train.images.shape[1:] == (28, 28)
    message = refusal(lambda: load_folder("train", folder, "digit", channels=3))
    assert "digit makes 28x28 grey pictures" in message


def test_every_class_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one coloured class is small beside 300 pictures."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("a", 300), ("b", 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            _picture(28, 28, name == "b").save(tmp_path / name / f"{i}.png")
    train = load_folder("train", tmp_path, test_size=1)
    assert train is not None and train.images.shape[1:] == (28, 28, 3)


def test_pictures_that_cannot_be_read_do_not_decide(plant: Plant) -> None:
    folder = plant((70, 70))
    (folder / "train/a/0.png").write_bytes(b"no picture")
    assert _load(folder, skip_unreadable=True)[0] == 3 * [(64, 64)]


def test_colour_reaches_the_images_as_it_is_in_the_files(plant: Plant) -> None:
    folder = plant((70, 50), colour=True)
    train = load_folder("train", folder)
    assert train is not None
    expected = prepare_picture(np.array(_picture(70, 50, True)), "resize", 32)
    np.testing.assert_array_equal(train.images[3], expected)
