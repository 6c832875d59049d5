"""tools/inspect_data.py counts what a data set holds, and draws it in grey and in colour."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tools_help import assert_refused, tool

from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.figures.results.sheet import PER_CLASS, plot_sheet
from lenet_paddle.figures.style import render
from lenet_paddle.workflows.inspect_data import InspectConfig, inspect_data


@pytest.fixture
def colour(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return 40 training and 10 test images in colour, of classes red and blue."""
    images = rng.integers(90, 110, (50, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(50) % 2
    images[labels == 0, ..., 0], images[labels == 1, ..., 2] = 200, 220
    return {
        "x_train": images[:40],
        "y_train": labels[:40],
        "x_test": images[40:],
        "y_test": labels[40:],
    }


def _inspect(tmp_path: Path, arrays: dict[str, np.ndarray], val_size: int = 0) -> dict[str, str]:
    """Return what is said of arrays: the table's lines and the facts by their titles."""
    np.savez(tmp_path / "a.npz", **arrays)
    config = InspectConfig(
        dataset="npz",
        data_dir=str(tmp_path / "a.npz"),
        val_size=val_size,
        out=str(tmp_path / "sheet.png"),
    )
    lines = inspect_data(config).splitlines()
    assert lines[-1] == config.out and Image.open(config.out).width > 300
    return {line.split()[0]: line for line in lines if line}


def test_the_images_of_each_class_and_part_are_counted(
    tmp_path: Path, colour: dict[str, np.ndarray]
) -> None:
    said = _inspect(tmp_path, colour, val_size=8)
    assert said["npz:"] == "npz: 32x32 colour, 2 classes"
    assert said["class"].split() == ["class", "train", "val", "test"]
    assert said["0"].split()[1:] == ["16", "4", "5"] and said["all"].split()[1:] == [
        "32",
        "8",
        "10",
    ]
    assert said["balance"].endswith("training images: 16 of each class")


def test_range_and_mean_are_those_of_numpy_by_channel(
    tmp_path: Path, colour: dict[str, np.ndarray]
) -> None:
    said, images = _inspect(tmp_path, colour)["values"], colour["x_train"]
    assert f"{images.min()} to {images.max()}, mean {images.mean():.1f}" in said
    assert f"deviation {images.std():.1f}" in said
    for name, mean in zip(("red", "green", "blue"), images.mean(axis=(0, 1, 2)), strict=True):
        assert f"{name} {mean:.1f}" in said


def test_copies_within_and_across_parts_are_counted_also_those_of_another_class(
    tmp_path: Path, colour: dict[str, np.ndarray]
) -> None:
    assert _inspect(tmp_path, colour)["copies"].split() == ["copies", "none"]
    colour["x_train"][3] = colour["x_train"][7] = colour["x_train"][2]
    colour["x_test"][4] = colour["x_train"][0]
    said = _inspect(tmp_path, colour)["copies"]
    assert (
        "2 in train too: x_train[" in said
        and "1 in test of train images: x_test[4] = x_train[0]" in said
    )
    assert said.endswith("2 of them in another class") or said.endswith(
        "1 of them in another class"
    )


def test_empty_images_and_unusual_brightness_are_named(
    tmp_path: Path, colour: dict[str, np.ndarray]
) -> None:
    said = _inspect(tmp_path, colour)
    assert "far from it" not in said["brightness"] and said["empty"].split() == ["empty", "none"]
    colour["x_test"][6], colour["x_train"][5] = 0, 255
    said = _inspect(tmp_path, colour)
    assert "2 of one value only: x_train[5], x_test[6]" in said["empty"]
    assert "0.0 to 255.0, median" in said["brightness"]
    assert re.search(r"2 far from it: x_t\w+\[\d\], x_t\w+\[\d\]$", said["brightness"])


def test_the_sizes_of_pictures_in_a_folder_are_those_of_their_files(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    for name, label in (("cat", 0), ("dog", 1)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(12):
            size = (300, 40) if (name, i) == ("dog", 3) else (80 + i, 60)
            pixels = rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{label}{i:02d}.png")
    out = tmp_path / "pets.png"
    done = tool(
        "inspect_data", "--dataset", "folder", "--data-dir", tmp_path / "pets", "--out", out
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    [sizes] = [line for line in done.stdout.splitlines() if line.startswith("sizes")]
    assert "80x40 to 300x60 in the files, median" in sizes
    assert "1 below" in sizes and "dog/103.png (300x40)" in sizes and out.is_file()


def test_published_data_needs_no_names_of_images(tmp_path: Path) -> None:
    done = tool("inspect_data", "--limit", 500, "--out", tmp_path / "a.svg")
    assert done.returncode == 0 and done.stdout.startswith("mnist: 28x28 grey, 10 classes\n")
    assert (tmp_path / "a.svg").stat().st_size > 1000
    assert_refused(tool("inspect_data", "--out", tmp_path / "a.txt"), "ends in .png, .svg, .pdf")
    assert_refused(tool("inspect_data", "--dataset", "csv"), "dataset csv needs data_dir")


@pytest.mark.parametrize("shape", [(28, 28), (40, 40, 3)])
@pytest.mark.parametrize("num_classes", [2, 47, 150])
def test_the_sheet_has_a_row_of_each_class(shape: tuple[int, ...], num_classes: int) -> None:
    labels = np.arange(num_classes).repeat(3)[:-3]  # none of the last class
    images = np.broadcast_to(labels.reshape(-1, *(1 for _ in shape)), (len(labels), *shape))
    classes = tuple(f"class {i}" for i in range(num_classes))
    figure = plot_sheet(ImageSet(images.astype(np.uint8), labels, classes), "data")
    rows = {axes.get_ylabel(): axes.images[0].get_array() for axes in figure.axes if axes.images}
    assert len(rows) == min(num_classes, 100)
    first, last = rows[classes[0]], rows[classes[-1]]
    assert last.shape[:2] == (shape[0], PER_CLASS * shape[1]) and (last == 255).all()
    assert (first[:, : 3 * shape[1]] == 0).all()
    assert render(figure, 30).ndim == 3
