"""CIFAR-10 is read from every published form; a pickle in it runs nothing."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusal_help import refusal_of

from lenet_paddle.data import cifar, sources
from lenet_paddle.data.cifar import load_cifar10
from lenet_paddle.data.datasets import CIFAR

BATCHES = {f"data_batch_{i}": i for i in range(1, 6)} | {"test_batch": 6}


def _batch(number: int, count: int = 4) -> tuple[np.ndarray, list[int]]:
    """Return upright images and labels of a batch."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, [int(label) for label in rng.integers(0, 10, count)]


def _expected(part: str) -> tuple[np.ndarray, list[int]]:
    batches = [_batch(i) for name, i in BATCHES.items() if (name[0] == "d") == (part == "train")]
    return np.concatenate([x for x, _ in batches]), [label for _, y in batches for label in y]


def _planes(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def _binary(number: int) -> bytes:
    images, labels = _batch(number)
    return np.column_stack([np.array(labels, np.uint8), _planes(images)]).tobytes()


def _python(number: int) -> bytes:
    """Return a batch as Python 2 pickled it: texts of one byte a character, protocol 2."""
    images, labels = _batch(number)
    content = {
        "batch_label": f"training batch {number} of 5",
        "labels": labels,
        "data": np.ascontiguousarray(_planes(images)),
        "filenames": [f"picture_s_{i:06d}.png" for i in range(len(labels))],
    }
    return pickle.dumps(content, 2)


def write_python_2(number: int) -> bytes:
    """Return a batch with Python 2's own opcodes for text and arrays."""
    images, labels = _batch(number)
    data = _planes(images).tobytes()
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731
    array = (
        *(
            b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85",
            text(b"b"),
        ),
        *(b"\x87Rq\x04(K\x01M", len(images).to_bytes(2, "little"), b"M\x00\x0c\x86"),
        *(b"cnumpy\ndtype\nq\x05", text(b"u1"), b"K\x00K\x01\x87Rq\x06(K\x03", text(b"|")),
        *(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T", len(data).to_bytes(4, "little")),
        *(data, b"tb"),
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    items = (text(b"data"), *array, text(b"labels"), b"](", numbers, b"e")
    return b"\x80\x02}q\x01(" + b"".join(items) + b"u."


def _write_folder(folder: Path, write: Callable[[int], bytes], end: str) -> Path:
    folder.mkdir(parents=True)
    for name, number in BATCHES.items():
        (folder / f"{name}{end}").write_bytes(write(number))
    (folder / f"batches.meta{end and '.txt'}").write_bytes(b"names")
    return folder


def _write_archive(path: Path, folder: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "binary": lambda root: _write_folder(root / "cifar-10-batches-bin", _binary, ".bin"),
    "python": lambda root: _write_folder(root / "cifar-10-batches-py", _python, ""),
    "python 2": lambda root: _write_folder(root / "cifar-10-batches-py", write_python_2, ""),
    "its parent": lambda root: FORMS["python"](root).parent,
    "python archive": lambda root: _write_archive(
        root / "cifar-10-python.tar.gz", FORMS["python"](root / "a")
    ),
    "binary archive": lambda root: _write_archive(
        root / "cifar-10-binary.tar.gz", FORMS["binary"](root / "a")
    ),
    "the folder of an archive": lambda root: FORMS["python archive"](root).parent,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_every_published_form_holds_the_same_upright_colour_images(
    tmp_path: Path, form: str, part: str
) -> None:
    read = load_cifar10(part, FORMS[form](tmp_path))
    images, labels = _expected(part)
    np.testing.assert_array_equal(read.images, images)
    assert read.labels.tolist() == labels and read.labels.dtype == np.int64
    assert read.classes == CIFAR and CIFAR[3] == "cat" and CIFAR[9] == "truck"


@pytest.mark.parametrize("labels", [np.arange(4), 3])
def test_labels_saved_again_as_an_array_are_read_and_a_number_is_one_line(
    tmp_path: Path, labels: Any
) -> None:
    content = {"data": np.ascontiguousarray(_planes(_batch(6)[0])), "labels": labels}
    folder = _write_folder(tmp_path / "a", lambda _: pickle.dumps(content, 2), "")
    if isinstance(labels, int):
        message = refusal_of(folder, lambda: load_cifar10("test", folder))
        assert "holds data, labels; expected" in message
    else:
        assert load_cifar10("test", folder).labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("place", "form"),
    [
        (".cache/paddle/dataset/cifar", "python archive"),
        (".keras/datasets", "python"),
        ("data", "python"),
    ],
)
def test_it_is_found_where_paddle_keras_and_torchvision_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, form: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar, "download", None)  # a call would fail
    FORMS[form](tmp_path / place)
    np.testing.assert_array_equal(load_cifar10("test", None).images, _expected("test")[0])


def test_what_cannot_be_had_names_all_the_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paddle.dataset import common

    def no_network(*_: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common, "_check_exists_and_download", no_network)
    message = refusal_of(tmp_path, lambda: load_cifar10("train", None))
    ways = [str(tmp_path / ".cache/paddle/dataset/cifar"), ".keras", "download failed (Connection"]
    assert [
        way for way in [*ways, "cifar-10-python.tar.gz", "--data-dir"] if way not in message
    ] == []


class _Hostile:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch /tmp/never",)


def _pack(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps({"data": _Hostile(), "labels": [1]}, 2), "refused, it refers to"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, 2), "holds data"),
        (pickle.dumps({"data": 1, "fine_labels": [1]}, 2), "holds data, fine_labels; expected"),
        (_python(1)[:-300], "data_batch_1: "),
        (b"\1" * 3000, "3,000 bytes; expected CIFAR-10"),
        (b"", "it is empty"),
        (b"\x0b" * 3073, "labels run from 11 to 11; expected CIFAR-10's 0 to 9"),
        (b"<!DOCTYPE html>", "it is a web page"),
    ],
)
def test_a_bad_batch_is_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    folder = FORMS["python"](tmp_path)
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(data)
    assert said in refusal_of(folder, lambda: load_cifar10("train", folder))


def _header(size: int) -> bytes:
    member = tarfile.TarInfo("cifar-10-batches-py/other")
    member.size = size
    return member.tobuf()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_pack(test_batch=b"x"), "3,073 bytes, a label"),
        (_pack(other=b"x"), "has no test_batch in it"),
        (_pack(test_batch=_python(6))[:-1000], "not a readable .tar.gz archive"),
        (b"<html>", "it is a web page"),
        (b"text", "expected cifar-10-python.tar.gz"),
        (
            gzip.compress(_header(1 << 30) + bytes(300_000_000), 1),
            "unpacks to over 268,435,456 bytes",
        ),
    ],
    ids=["content", "other", "cut", "page", "text", "bomb"],
)
def test_a_bad_archive_is_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(data)
    assert said in refusal_of(path, lambda: load_cifar10("test", path))


def test_a_folder_without_it_or_with_a_missing_batch_says_so(tmp_path: Path) -> None:
    message = refusal_of(tmp_path, lambda: load_cifar10("train", tmp_path))
    assert "no CIFAR-10 in it; expected data_batch_1.bin" in message
    folder = FORMS["binary"](tmp_path)
    (folder / "data_batch_4.bin").unlink()
    assert "data_batch_4.bin: missing" in refusal_of(folder, lambda: load_cifar10("train", folder))
    assert len(load_cifar10("test", folder)) == 4


def test_a_link_out_of_the_given_folder_is_refused(tmp_path: Path) -> None:
    folder = FORMS["binary"](tmp_path / "a")
    (tmp_path / "test_batch.bin").write_bytes(_binary(6))
    (folder / "test_batch.bin").unlink()
    (folder / "test_batch.bin").symlink_to(tmp_path / "test_batch.bin")
    assert "a link out of" in refusal_of(folder, lambda: load_cifar10("test", folder))
    for form in ("python", "binary archive"):
        place, target = tmp_path / f"linked {form}", FORMS[form](tmp_path / "b" / form)
        place.mkdir()
        (place / target.name).symlink_to(target)
        message = refusal_of(place, lambda place=place: load_cifar10("test", place))  # type: ignore[misc]
        assert "a link out of" in message


def test_a_download_is_read_from_paddles_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        FORMS["python archive"](tmp_path / ".cache/paddle/dataset/cifar")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar, "download", fetch)
    assert len(load_cifar10("train", None)) == 20
    assert sources.paddle_caches("cifar")[1] == tmp_path / ".cache/paddle/dataset/cifar"
