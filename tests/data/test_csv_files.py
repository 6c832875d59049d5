"""CSV files of digits are read with and without header; what cannot be decided is asked for."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from refusal_help import refusal, refusal_of

from lenet_paddle.data import csv_table
from lenet_paddle.data.csv_files import load_csv
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_splits


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 40 images 28x28, black in the corners, and labels 0 to 3."""
    images = np.random.default_rng(2).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    images[:, :2], images[:, -2:], images[0, 5, 5] = 0, 0, 255
    return images, np.arange(40) % 4


def _lines(
    images: np.ndarray,
    labels: Sequence[object] | np.ndarray | None,
    *,
    header: bool = True,
    last: bool = False,
    delimiter: str = ",",
) -> str:
    pixels = [list(map(str, row)) for row in images.reshape(len(images), -1).tolist()]
    names = [f"pixel{i}" for i in range(len(pixels[0]))]
    rows = [names, *pixels] if header else pixels
    if labels is not None:
        column = ["label", *map(str, labels)] if header else list(map(str, labels))
        rows = [[*row, y] if last else [y, *row] for row, y in zip(rows, column, strict=True)]
    return "".join(delimiter.join(row) + "\n" for row in rows)


def _load(path: Path, part: str = "train", **options: object) -> tuple[ImageSet, list[str]]:
    lines: list[str] = []
    loaded = load_csv(part, path, say=lines.append, **options)  # type: ignore[arg-type]
    assert loaded is not None
    return loaded, lines


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("packed", [True, False])
def test_every_usual_form_holds_the_same_images(
    tmp_path: Path,
    digits: tuple[np.ndarray, np.ndarray],
    header: bool,
    last: bool,
    delimiter: str,
    packed: bool,
) -> None:
    text = _lines(*digits, header=header, last=last, delimiter=delimiter).encode()
    for part in ("train", "test"):
        path = tmp_path / f"mnist_{part}.csv{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(text) if packed else b"\xef\xbb\xbf" + text)
    for part in ("train", "test"):
        loaded, lines = _load(tmp_path, part)
        np.testing.assert_array_equal(loaded.images, digits[0])
        np.testing.assert_array_equal(loaded.labels, digits[1])
        assert loaded.classes == ("0", "1", "2", "3") and len(lines) == (part == "train")
    [line] = _load(tmp_path)[1]
    assert (
        f"read pixels of mnist_train.csv{'.gz' if packed else ''} uint8 (40, 784) as grey 28x28"
        in line
    )


def test_kaggles_test_file_without_labels_is_named_and_a_draw_takes_its_place(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    (tmp_path / "train.csv").write_text(_lines(*digits))
    (tmp_path / "test.csv").write_text(_lines(digits[0], None))
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    said: list[str] = []
    train, val, test = load_splits("csv", ("train", "val", "test"), tmp_path, 4, said.append)
    assert (len(train), len(val), len(test)) == (32, 4, 4)
    assert any("test.csv: has no labels and is not used" in line for line in said)
    assert any("test images are drawn from train.csv" in line for line in said)
    single = load_splits("csv", ("train", "test"), tmp_path / "train.csv", 4, test_size=8)
    assert [len(part) for part in single] == [28, 8]
    assert len(_load(tmp_path / "train.csv", "test", whole=True)[0]) == 40


def test_a_folder_may_have_validation_images_of_its_own(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    for name, count in (("sign_train.csv", 40), ("sign-valid.csv", 12), ("sign_test.csv", 8)):
        (tmp_path / name).write_text(_lines(digits[0][:count], digits[1][:count]))
    assert [len(_load(tmp_path, part)[0]) for part in ("train", "val", "test")] == [40, 12, 8]


def test_validation_images_of_its_own_are_used_where_test_images_are_drawn(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    for name, count in (("train.csv", 40), ("val.csv", 12)):
        (tmp_path / name).write_text(_lines(digits[0][:count], digits[1][:count]))
    assert [len(_load(tmp_path, part)[0]) for part in ("train", "val", "test")] == [36, 12, 4]


@pytest.mark.parametrize("first", [0, 1])
def test_a_header_of_numbers_in_a_row_is_no_image(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray], first: int
) -> None:
    """pandas names columns that have no names 0, 1, 2 ..."""
    header = ",".join(str(first + i) for i in range(785)) + "\n"
    (tmp_path / "a.csv").write_text(header + _lines(*digits, header=False))
    loaded, _ = _load(tmp_path / "a.csv", "test", whole=True)
    np.testing.assert_array_equal(loaded.images, digits[0])


@pytest.mark.parametrize(("side", "dtype"), [(8, int), (16, float), (32, int)])
def test_squares_of_other_sizes_and_floats_are_read(tmp_path: Path, side: int, dtype: type) -> None:
    """As UCI's optdigits (8x8, label last) and zip.train (16x16, -1 to 1, spaces)."""
    images = np.random.default_rng(0).integers(0, 256, (30, side, side))
    images[:, 0], images[0, 1, 1], images[0, 1, 2] = 0, 255, 0
    given = images if dtype is int else np.round(images / 127.5 - 1, 5)
    text = _lines(given, np.arange(30) % 3, header=False, delimiter="," if dtype is int else " ")
    (tmp_path / "a.csv").write_text(text)
    loaded, _ = _load(tmp_path / "a.csv", "test", whole=True, label_column="first")
    np.testing.assert_array_equal(loaded.images, images)


def test_small_values_are_named_with_their_scale(tmp_path: Path) -> None:
    images = np.arange(640).reshape(10, 8, 8) % 17
    (tmp_path / "a.csv").write_text(_lines(images, np.arange(10) % 2, last=True))
    loaded, lines = _load(tmp_path / "a.csv", "test", whole=True)
    assert loaded.images.max() == 16 and "--scale 15.9375" in str(lines)
    loaded, lines = _load(tmp_path / "a.csv", "test", whole=True, scale=15.9375)
    assert loaded.images.max() == 255 and "--scale" not in str(lines)


# --- what is asked for ---


def test_a_label_column_that_cannot_be_decided_is_asked_for(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = digits
    images[:, -1, -1] = labels  # so that the last column may be labels too
    path = tmp_path / "a.csv"
    path.write_text(_lines(images, labels, header=False))
    message = refusal_of(path, lambda: load_csv("train", path))
    assert "either may hold classes" in message and "--label-column first or last" in message
    for column in ("first", "last"):
        assert len(_load(path, label_column=column)[0]) == 36
    path.write_text(_lines(images * 0, [3] * 40, header=False))
    assert "neither may hold classes" in refusal_of(path, lambda: load_csv("train", path))
    assert refusal(lambda: load_splits("npz", ["train"], path, label_column="last")) == (
        "label_column last is for dataset csv; dataset is npz"
    )


def test_labels_from_1_keep_their_numbers_and_labels_that_skip_numbers_are_mended_as_printed(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(_lines(digits[0], digits[1] + 1))
    assert _load(path)[0].classes == ("1", "2", "3", "4")
    path.write_text(_lines(digits[0], digits[1] * 3))
    message = refusal_of(path, lambda: load_csv("train", path))
    assert "skips numbers: there is no image of class 1, 2, 4, 5, 7 ...;" in message
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"gaps: (t = .*), with", message)[0], {"np": np})
    loaded, _ = _load(path, "test", whole=True, label_column="first")
    np.testing.assert_array_equal(loaded.labels, digits[1])
    np.testing.assert_array_equal(loaded.images, digits[0])


# --- bad input ---


def _spoil(text: str, line: int, column: int, value: str) -> str:
    rows = [row.split(",") for row in text.splitlines()]
    rows[line - 1][column - 1] = value
    return "\n".join(map(",".join, rows))


@pytest.mark.parametrize("value", ["cat", "", "nan", "inf", "1_0", "0x10", "12 3"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("blank", [True, False])
def test_a_text_in_a_pixel_is_named_with_its_line_and_column(
    tmp_path: Path,
    digits: tuple[np.ndarray, np.ndarray],
    value: str,
    header: bool,
    blank: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_table, "_BLOCK", 7)
    text = _spoil(_lines(*digits, header=header), 20, 300, value)
    (tmp_path / "a.csv").write_text(text.replace("\n", "\n\n", 1) if blank else text)
    message = refusal_of(tmp_path / "a.csv", lambda: load_csv("train", tmp_path / "a.csv"))
    name = " (pixel298)" if header else ""
    assert f"line {20 + blank}, column 300{name} is {value!r}; expected a number" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "label,pixel0,pixel1,pixel2,pixel3\n1,2,3,4,5\n1,2,3\n",
            "line 3 has 3 columns; expected 5",
        ),
        ("label,a,b,c,d\n9,1,2,3,4,5\n", "line 2 has 6 columns; expected 5, as the first"),
        ("label,a,b\n1,2,3\n", "has 3 columns; expected a label and the pixels of a grey square"),
        ("a,b,c,d\n1,2,3,4\n", "has pixels without labels"),
        ("label,pixel0\n", "has no line of numbers"),
        ("\n\n", "has no line of numbers"),
        ("", "it is empty"),
        ("<!doctype html>", "it is a web page"),
        ("PK\3\4", "it is a zip archive or a spreadsheet: unpack it"),
        ("\0\1\2", "it is no text"),
        ("x" * (1 << 22), "has a line of over 4,194,304 characters"),
        ("one\ntwo\nthree\n", "line 2, column 1 (one) is 'two'"),
    ],
)
def test_a_file_that_is_no_table_of_images_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert said in refusal_of(tmp_path / "a.csv", lambda: load_csv("train", tmp_path / "a.csv"))


def test_utf_16_and_a_damaged_gzip_are_named(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    text = _lines(*digits)
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16"))
    assert "it is UTF-16" in refusal(lambda: load_csv("train", tmp_path / "a.csv"))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode())[:-2000])
    assert "truncated or damaged gzip" in refusal(lambda: load_csv("train", tmp_path / "a.csv.gz"))


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_paddle.data import idx

    monkeypatch.setattr(idx, "_MAX_UNPACKED", 1_000_000)
    line = b"1" + b",0" * 784 + b"\n"
    (tmp_path / "a.csv").write_bytes(gzip.compress(line * 20_000))
    assert "over a hundredfold is refused" in refusal(lambda: load_csv("train", tmp_path / "a.csv"))


def test_a_folder_of_several_or_no_tables_says_what_is_expected(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    message = refusal_of(tmp_path, lambda: load_csv("train", tmp_path))
    assert "has no .csv file; expected train.csv and test.csv" in message
    (tmp_path / "digits.csv").write_text(_lines(*digits))
    assert len(_load(tmp_path)[0]) == 36
    for name in ("a_train.csv", "b-train.csv"):
        (tmp_path / name).write_text(_lines(*digits))
    message = refusal_of(tmp_path, lambda: load_csv("train", tmp_path))
    assert "a_train.csv and b-train.csv are both for train" in message
    missing = tmp_path / "no.csv"
    with pytest.raises(FileNotFoundError, match=r"no\.csv"):
        load_csv("train", missing)


def test_a_changed_file_is_read_again(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(_lines(*digits))
    assert _load(path, "test", whole=True)[0].images[0, 5, 5] == 255
    digits[0][0, 5, 5] = 17
    path.write_text(_lines(*digits))
    assert _load(path, "test", whole=True)[0].images[0, 5, 5] == 17


def test_scikit_learns_file_of_digits_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    path = Path(datasets.__file__).parent / "data" / "digits.csv.gz"
    loaded, _ = _load(path, "test", whole=True)
    digits = datasets.load_digits()
    np.testing.assert_array_equal(loaded.images, digits.images)
    np.testing.assert_array_equal(loaded.labels, digits.target)


def test_a_link_out_of_the_folder_is_refused(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    (tmp_path / "train.csv").write_text(_lines(*digits))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.csv").symlink_to(tmp_path / "train.csv")
    message = refusal_of(tmp_path, lambda: load_csv("train", tmp_path / "a"))
    assert "train.csv: a link out of" in message


@pytest.mark.slow
def test_kaggles_42_000_digits_take_a_few_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2000, 784)) * (rng.random((2000, 784)) < 0.2)
    text = _lines(images, rng.integers(0, 10, 2000), header=False)
    (tmp_path / "a.csv").write_text(text * 21)
    start = time.monotonic()
    loaded, _ = _load(tmp_path / "a.csv", "test", whole=True, label_column="first")
    assert len(loaded) == 42_000 and time.monotonic() - start < 10
