"""Arrays as others ship them are taken where unmistakable, else the error says how to mend them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle.data import arrays
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_splits
from lenet_paddle.data.npz import load_npz
from lenet_paddle.errors import InputError

Arrays = dict[str, np.ndarray]


def _save_folder(folder: Path, **named: np.ndarray) -> None:
    folder.mkdir()
    for name, array in named.items():
        np.save(folder / f"{name}.npy", array)


SAVES = pytest.mark.parametrize("save", [np.savez, _save_folder])


@pytest.fixture
def plain() -> Arrays:
    """Return arrays in Keras's layout, which need no conversion."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (24, 28, 28), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = 0, 255
    labels = np.arange(24) % 3
    return {"x_train": images[:18], "y_train": labels[:18], "x_test": images[18:]} | {
        "y_test": labels[18:]
    }


def _load(path: Path, part: str = "train", **options: object) -> tuple[ImageSet, list[str]]:
    lines: list[str] = []
    loaded = load_npz(part, path, say=lines.append, **options)  # type: ignore[arg-type]
    assert loaded is not None
    return loaded, lines


def _odd(lines: list[str]) -> list[str]:
    """Return the lines but the one on how the arrays are read."""
    return [line for line in lines if ": read " not in line]


def _same(path: Path, plain: Arrays, tolerance: int = 0) -> None:
    for part in ("train", "test"):
        loaded, lines = _load(path, part)
        assert _odd(lines) == [] and len(lines) == (part == "train")
        difference = np.abs(loaded.images.astype(int) - plain[f"x_{part}"])
        assert loaded.images.dtype == np.uint8 and difference.max() <= tolerance
        np.testing.assert_array_equal(loaded.labels, plain[f"y_{part}"])
        assert loaded.classes == ("0", "1", "2")


IMAGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "flat": (lambda x: x.reshape(len(x), -1), 0),
    "channel last": (lambda x: x[..., None], 0),
    "channel first": (lambda x: x[:, None], 0),
    "int64": (lambda x: x.astype(np.int64), 0),
    "float 0..255": (lambda x: x.astype(np.float32), 0),
    "float 0..1": (lambda x: x / 255, 0),
    "half 0..1": (lambda x: (x / 255).astype(np.float16), 1),
    "float -1..1": (lambda x: x / 127.5 - 1, 0),
    "flat float 0..1": (lambda x: (x / 255).reshape(len(x), -1).astype(np.float32), 0),
}
LABELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "column": lambda y: y[:, None],
    "one-hot": lambda y: np.eye(3)[y],
    "one-hot of booleans": lambda y: np.eye(3, dtype=bool)[y],
    "whole floats": lambda y: y.astype(np.float32),
    "uint8": lambda y: y.astype(np.uint8),
}


@SAVES
@pytest.mark.parametrize("kind", IMAGES)
def test_images_in_every_usual_form_are_the_same_images(
    tmp_path: Path, plain: Arrays, kind: str, save: Callable
) -> None:
    change, tolerance = IMAGES[kind]
    save(tmp_path / "a", **{k: change(v) if k[0] == "x" else v for k, v in plain.items()})
    _same(tmp_path / ("a.npz" if save is np.savez else "a"), plain, tolerance)


@SAVES
@pytest.mark.parametrize("kind", LABELS)
def test_labels_in_every_usual_form_are_the_same_labels(
    tmp_path: Path, plain: Arrays, kind: str, save: Callable
) -> None:
    save(tmp_path / "a", **{k: LABELS[kind](v) if k[0] == "y" else v for k, v in plain.items()})
    _same(tmp_path / ("a.npz" if save is np.savez else "a"), plain)


def test_booleans_become_black_and_white(tmp_path: Path, plain: Arrays) -> None:
    np.savez(tmp_path / "a.npz", **{k: v > 99 if k[0] == "x" else v for k, v in plain.items()})
    np.testing.assert_array_equal(
        _load(tmp_path / "a.npz")[0].images, (plain["x_train"] > 99) * 255
    )


@SAVES
def test_the_training_images_decide_the_range_of_the_test_images(
    tmp_path: Path, plain: Arrays, save: Callable
) -> None:
    """Else dark test images of 0..255 would be taken for 0..1."""
    dark = np.ones((6, 28, 28), np.float32)
    save(tmp_path / "a.npz", **plain | {"x_train": plain["x_train"] * 1.0, "x_test": dark})
    assert (_load(tmp_path / "a.npz", "test")[0].images == 1).all()


@SAVES
def test_medmnists_names_with_their_own_validation_images_are_known(
    tmp_path: Path, plain: Arrays, save: Callable
) -> None:
    named = {
        f"{part}_{what}": plain[f"{short}_{'test' if part == 'val' else part}"]
        for part in ("train", "val", "test")
        for what, short in (("images", "x"), ("labels", "y"))
    }
    labels = {k: v[:, None].astype(np.uint8) for k, v in named.items() if "labels" in k}
    save(tmp_path / "a.npz", **named | labels)
    _same(tmp_path / "a.npz", plain)
    np.testing.assert_array_equal(_load(tmp_path / "a.npz", "val")[0].images, plain["x_test"])


def test_names_may_be_capitals_and_training_arrays_be_absent_for_a_test(
    tmp_path: Path, plain: Arrays
) -> None:
    np.savez(tmp_path / "a.npz", X_test=plain["x_test"], y_test=plain["y_test"])
    np.testing.assert_array_equal(_load(tmp_path / "a.npz", "test")[0].images, plain["x_test"])
    assert load_npz("val", tmp_path / "a.npz") is None


# --- values that use a part of the range ---


@pytest.mark.parametrize(("levels", "factor"), [(2, "255"), (17, "15.9375"), (5, "63.75")])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@SAVES
def test_small_values_are_named_with_their_factor_and_scaled_when_asked(
    tmp_path: Path, plain: Arrays, levels: int, factor: str, dtype: type, save: Callable
) -> None:
    if (levels, dtype) == (2, np.float32):
        return  # floats of 0..1 are unmistakable
    path, high = tmp_path / "a.npz", levels - 1

    def few(images: np.ndarray) -> np.ndarray:
        return (images.astype(int) * high // 255).astype(dtype)

    save(path, **{k: few(v) if k[0] == "x" else v for k, v in plain.items()})
    for part in ("train", "test"):
        as_they_are, lines = _load(path, part)
        [line] = _odd(lines)
        np.testing.assert_array_equal(as_they_are.images, few(plain[f"x_{part}"]))
        assert f"go up to {high} of 255" in line and f"--scale {factor}" in line
        scaled, lines = _load(path, part, scale=float(factor))
        assert _odd(lines) == []
        np.testing.assert_array_equal(scaled.images, np.rint(as_they_are.images * float(factor)))


def test_test_images_darker_than_the_training_images_are_named(
    tmp_path: Path, plain: Arrays
) -> None:
    floats = {name: plain[name].astype(np.float32) for name in ("x_train", "x_test")}
    np.savez(tmp_path / "a.npz", **plain | floats | {"x_test": floats["x_test"] / 255})
    assert _odd(_load(tmp_path / "a.npz", "train")[1]) == []
    _, [line] = _load(tmp_path / "a.npz", "test")
    assert "go up to 1 of 255 and are read as they are" in line and "--scale 255" in line
    np.savez(tmp_path / "a.npz", **plain | {n: x / 255 * 0.25 for n, x in floats.items()})
    [line] = _odd(_load(tmp_path / "a.npz", "train")[1])
    assert "go up to 64 of 255 and were multiplied by 255" in line and "--scale 1016.02" in line


def test_nan_is_named_wherever_it_is(
    tmp_path: Path, plain: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_CHUNK", 5)
    images = plain["x_train"] / 255
    images[12, 3, 3] = np.nan
    np.savez(tmp_path / "a.npz", **plain | {"x_train": images})
    with pytest.raises(InputError, match="x_train has NaN or infinity"):
        _load(tmp_path / "a.npz")


def test_a_scale_that_leads_out_of_the_range_is_refused(tmp_path: Path, plain: Arrays) -> None:
    np.savez(tmp_path / "a.npz", **plain)
    with pytest.raises(InputError, match=r"x_train has values up to 255, times 2 .*--scale"):
        _load(tmp_path / "a.npz", scale=2.0)


def test_a_large_mapped_array_is_not_copied_but_the_line_that_converts_it_is_printed(
    tmp_path: Path, plain: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_MOST_COPIED", 1000)
    _save_folder(tmp_path / "a", **plain | {"x_train": plain["x_train"] / 255})
    with pytest.raises(InputError, match=r"float64 .* np\.save\(\"x_train\.npy\", np\.round") as no:
        _load(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    exec(str(no.value).split("0 to 255: ")[1], {"np": np})
    loaded, _ = _load(tmp_path / "a")
    np.testing.assert_array_equal(loaded.images, plain["x_train"])
    assert isinstance(loaded.images, np.memmap)


# --- what is refused says how to mend it ---

COLOUR = (np.arange(18 * 28 * 28 * 3).reshape(18, 28, 28, 3) % 256).astype(np.uint8)
ALPHA = np.concatenate([COLOUR, COLOUR[..., :1]], axis=-1)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"x_train": ALPHA}, r"without it: (x = .*)"),
        ({"x_train": np.moveaxis(ALPHA, -1, 1)}, r"without it: (x = .*)"),
        ({"x_train": np.moveaxis(COLOUR, 0, -1)}, r"comes first: (x = .*)"),
        ({"x_train": np.zeros((28, 28, 18), np.uint8)}, r"comes first: (x = .*)"),
        ({"x_train": COLOUR[:, :, :3].transpose(0, 3, 1, 2)}, r"is unmistakable: (x = .*)"),
        ({"x_train": COLOUR.reshape(18, -1)}, r"as CIFAR's: (x = [^;]*)"),
        ({"x_train": COLOUR.reshape(18, -1)}, r"pixel by pixel: (x = .*)"),
        ({"y_train": np.arange(18) % 3 * 2}, r"without gaps: (y = .*), in every part"),
        ({"x_train": np.zeros((784, 18), np.uint8)}, r"a column\? (x = .*)"),
        ({"x_train": np.zeros((18, 1, 784), np.uint8)}, r"one row\? (x = .*)"),
        ({"x_train": np.zeros((18, 784, 1), np.uint8)}, r"one row\? (x = .*)"),
        ({"x_train": np.full((18, 28, 28), 4000, np.uint16)}, r"or (x = .*)"),
        ({"x_train": np.linspace(-3, 3, 18 * 784).reshape(18, 28, 28)}, r": (x = .*)"),
        ({"x_train": np.full((18, 28, 28), np.nan)}, r": (x = .*)"),
        ({"y_train": np.array(["cat", "dog"] * 9)}, r": (names, y = .*)"),
        ({"y_train": np.array([-1, 1] * 9)}, r": (names, y = .*)"),
        ({"y_train": np.array([0.5, 1.5] * 9)}, r": (names, y = .*)"),
        ({"y_train": np.full((18, 3), 0.25) + np.eye(3)[np.arange(18) % 3]}, r": (y = [^,]*)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_the_printed_line_of_numpy_mends_the_array(
    tmp_path: Path, plain: Arrays, change: Arrays, line: str
) -> None:
    np.savez(tmp_path / "a.npz", **plain | change)
    with pytest.raises(InputError) as caught:
        _load(tmp_path / "a.npz")
    message = str(caught.value)
    found = re.search(line, message)
    assert found and "\n" not in message, message
    [(name, array)] = change.items()
    space = {"np": np, name[0]: array, name: array}
    exec(found[1], space)
    if space["x" if name[0] == "x" else "y"].ndim == 4:
        plain = plain | {"x_test": COLOUR[:6]}
    np.savez(tmp_path / "a.npz", **plain | {name: space[name[0]]})
    _load(tmp_path / "a.npz")


def test_images_without_a_pixel_are_refused(tmp_path: Path, plain: Arrays) -> None:
    np.savez(tmp_path / "a.npz", **plain | {"x_train": plain["x_train"][:, :0]})
    with pytest.raises(InputError, match=r"x_train, y_train: images are uint8 \(18, 0, 28\)"):
        _load(tmp_path / "a.npz")


def test_one_line_refuses_grey_beside_colour(tmp_path: Path, plain: Arrays) -> None:
    np.savez(tmp_path / "a.npz", **plain | {"x_test": COLOUR[:6]})
    with pytest.raises(InputError, match="expected all in grey or all in colour") as caught:
        _load(tmp_path / "a.npz", "test")
    space = {"np": np, "x": plain["x_train"]}
    exec(str(caught.value).split("in colour: ")[1].split(" makes")[0], space)
    np.savez(tmp_path / "a.npz", **plain | {"x_test": COLOUR[:6], "x_train": space["x"]})
    assert _load(tmp_path / "a.npz")[0].images.shape == (18, 28, 28, 3)


# --- labels ---


@SAVES
def test_labels_from_1_keep_their_numbers_as_names(
    tmp_path: Path, plain: Arrays, save: Callable
) -> None:
    save(path := tmp_path / "a.npz", **{k: v + 1 if k[0] == "y" else v for k, v in plain.items()})
    loaded, [line] = _load(path)
    assert loaded.classes == ("1", "2", "3") and "y_train as labels from 1 of 3 classes" in line
    np.testing.assert_array_equal(loaded.labels, plain["y_train"])
    test, lines = _load(path, "test")
    np.testing.assert_array_equal(test.labels, plain["y_test"])
    assert test.classes == loaded.classes and lines == []


def test_a_0_in_the_test_labels_alone_is_a_class_that_training_lacks(
    tmp_path: Path, plain: Arrays
) -> None:
    np.savez(tmp_path / "a.npz", **plain | {"y_train": plain["y_train"] + 1})
    with pytest.raises(InputError, match="y_test has class 0, but y_train has 1 to 3; add images"):
        _load(tmp_path / "a.npz", "test")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.arange(18) % 3 + 2, "there is no image of class 1;"),
        (np.arange(18) % 3 * 2, "there is no image of class 1, 3;"),
        (np.arange(18) * 2, "there is no image of class 1, 3, 5, 7, 9 ...;"),
    ],
)
def test_labels_that_skip_numbers_are_refused(
    tmp_path: Path, plain: Arrays, labels: np.ndarray, said: str
) -> None:
    np.savez(tmp_path / "a.npz", **plain | {"y_train": labels})
    for part in ("train", "test"):
        with pytest.raises(InputError, match="y_train skips numbers: ") as caught:
            _load(tmp_path / "a.npz", part)
        assert said in str(caught.value)


def test_a_column_of_one_hot_labels_without_an_image_is_named(
    tmp_path: Path, plain: Arrays
) -> None:
    wide = {k: np.eye(5)[v] for k, v in plain.items() if k[0] == "y"}
    np.savez(tmp_path / "a.npz", **plain | wide)
    loaded, lines = _load(tmp_path / "a.npz")
    assert _odd(lines) == [f"{tmp_path / 'a.npz'}: y_train has no image of class 3, 4"]
    assert loaded.num_classes == 5 == _load(tmp_path / "a.npz", "test")[0].num_classes
    assert "y_train as one-hot labels of 5 classes" in str(lines)


# --- colour ---


@SAVES
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x, "uint8 ({n}, 20, 28, 3) as colour 28x20, values as they are"),
        (
            lambda x: np.moveaxis(x, -1, 1),
            "uint8 ({n}, 3, 20, 28) as colour 28x20, values as they are",
        ),
        (lambda x: x / 255, "float64 ({n}, 20, 28, 3) as colour 28x20, values from 0 to 1"),
        (
            lambda x: np.moveaxis(x, -1, 1).astype(np.float32) / 127.5 - 1,
            "float32 ({n}, 3, 20, 28) as colour 28x20, values from -1 to 1",
        ),
        (lambda x: x.astype(int), "int64 ({n}, 20, 28, 3) as colour 28x20, values from 0 to 255"),
    ],
)
def test_colour_images_in_every_usual_form_are_the_same_and_one_line_says_how_they_were_read(
    tmp_path: Path, plain: Arrays, save: Callable, change: Callable, words: str
) -> None:
    colour = {"x_train": COLOUR[:, :20], "x_test": COLOUR[:6, :20]}
    save(tmp_path / "a.npz", **plain | {name: change(x) for name, x in colour.items()})
    for part in ("train", "test"):
        loaded, lines = _load(tmp_path / "a.npz", part)
        np.testing.assert_array_equal(np.asarray(loaded.images), colour[f"x_{part}"])
        assert len(lines) == (part == "train")
    [line] = _load(tmp_path / "a.npz")[1]
    read = f"read x_train {words.format(n=18)}; y_train as labels from 0 of 3 classes"
    assert line == f"{tmp_path / 'a.npz'}: {read}"


# --- arrays that are not divided ---


@SAVES
@pytest.mark.parametrize("names", [("data", "target"), ("X", "y"), ("images", "labels")])
def test_undivided_arrays_give_a_tenth_to_the_test_set(
    tmp_path: Path, plain: Arrays, save: Callable, names: tuple[str, str]
) -> None:
    images, labels = np.tile(plain["x_train"], (5, 1, 1)), np.tile(plain["y_train"], 5)
    images[:, 0, 2] = np.arange(90)
    save(path := tmp_path / "a.npz", **dict(zip(names, (images, labels), strict=True)))
    train, test = (_load(path, part)[0] for part in ("train", "test"))
    assert (len(train), len(test)) == (81, 9) and np.bincount(test.labels).tolist() == [3, 3, 3]
    both = np.concatenate([np.asarray(train.images), np.asarray(test.images)])
    assert sorted(both[:, 0, 2].tolist()) == list(range(90))
    assert len(_load(path, "test", test_size=30)[0]) == 30
    assert len(_load(path, "test", whole=True)[0]) == 90
    assert load_npz("val", path) is None
    with pytest.raises(InputError, match="test_size 90 leaves no training image of 90"):
        _load(path, "train", test_size=90)


def test_scikit_learns_digits_are_read_from_their_images(tmp_path: Path) -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    np.savez(tmp_path / "a.npz", data=digits.data, target=digits.target, images=digits.images)
    train, lines = _load(tmp_path / "a.npz", scale=255 / 16)
    assert "images float64 (1797, 8, 8) as grey 8x8, values times 15.9375" in lines[0]
    assert train.images.shape == (1618, 8, 8) and train.images.max() == 255


# --- the classes and the form of a run ---


@pytest.mark.parametrize("factor", [1, 2])
def test_an_older_run_keeps_its_classes_without_an_image(
    tmp_path: Path, plain: Arrays, factor: int
) -> None:
    labels = {name: factor * plain[name] + 1 for name in ("y_train", "y_test")}
    np.savez(tmp_path / "a.npz", **plain | labels)
    classes = tuple(map(str, range(2 * factor + 2)))  # before labels could begin at 1
    for part in ("train", "test"):
        loaded, _ = _load(tmp_path / "a.npz", part, classes=classes)
        assert loaded.classes == classes
        np.testing.assert_array_equal(loaded.labels, labels[f"y_{part}"])


def _colourful(plain: Arrays) -> Arrays:
    return {k: v if v.ndim == 1 else np.stack([v, v[::-1], v], -1) for k, v in plain.items()}


def test_colour_becomes_grey_without_validation_images_too(tmp_path: Path, plain: Arrays) -> None:
    np.savez(tmp_path / "a.npz", **_colourful(plain))
    parts = load_splits("npz", ("train", "test"), tmp_path / "a.npz", 0, channels=1)
    assert [part.images.shape for part in parts] == [(18, 28, 28), (6, 28, 28)]


@pytest.mark.parametrize(
    ("asked", "mend"),
    [
        ({"channels": 1}, ", or train with --channels 3 --image-size 28"),
        ({"image_size": 32}, ", or train with --channels 3 --image-size 28"),
        ({}, ""),  # not square
    ],
)
def test_images_read_in_place_in_another_form_are_refused_with_the_form_that_they_have(
    tmp_path: Path, plain: Arrays, asked: dict[str, int], mend: str
) -> None:
    images = _colourful(plain)
    if not asked:
        images |= {name: images[name][:, :20] for name in ("x_train", "x_test")}
    _save_folder(tmp_path / "a", **images)
    with pytest.raises(InputError, match="read in place") as caught:
        load_splits("npz", ("train", "test"), tmp_path / "a", 2, **asked)  # type: ignore[arg-type]
    assert str(caught.value).endswith(f": bring them to it{mend}")
