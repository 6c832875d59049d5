"""Prepared pictures are kept, never taken for those of changed files, and the same for any number
of threads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusal_help import refusal
from tools_help import ROOT

from lenet_paddle.data import cache, pictures
from lenet_paddle.data.folder import load_folder
from lenet_paddle.data.imageset import ImageSet

CACHE = Path("output", ".cache")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write classes a and b of six pictures each; each is filled with its own number."""
    monkeypatch.setattr(pictures, "_WORTH_CACHING", 3)
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)
    monkeypatch.chdir(tmp_path)
    for part, first in (("train", 0), ("test", 100)):
        for i in range(12):
            _write(tmp_path / "data" / part / "ab"[i // 6] / f"{i:02d}.png", first + i)
    return tmp_path / "data"


def _write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 40), value, np.uint8)).save(path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each file that is prepared."""
    names: list[str] = []
    prepare = pictures._prepare

    def note(file: Path, *rest: object, **more: object) -> None:
        names.append(file.name)
        prepare(file, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "_prepare", note)
    return names


def _load(folder: Path, part: str = "train", **options: object) -> ImageSet:
    form = {"channels": 1, "image_size": 28}
    loaded = load_folder(part, folder, **form, **options)  # type: ignore[arg-type]
    assert loaded is not None
    return loaded


def _numbers(image_set: ImageSet) -> list[int]:
    assert (image_set.images == image_set.images[:, :1, :1]).all()
    return image_set.images[:, 0, 0].tolist()


def test_the_second_start_prepares_nothing_and_has_the_same_images(
    folder: Path, read: list[str]
) -> None:
    for part in ("train", "test"):
        first = _load(folder, part)
        assert len(read) == 12
        second = _load(folder, part)
        assert len(read) == 12
        np.testing.assert_array_equal(first.images, second.images)
        np.testing.assert_array_equal(first.labels, second.labels)
        assert list(first.names) == list(second.names)  # type: ignore[arg-type]
        second.images[0] = 7  # an own array, not the file
        read.clear()
    assert _numbers(_load(folder)) == list(range(12))
    assert len(list(CACHE.iterdir())) == 2


def _rewrite(folder: Path) -> list[int]:
    """Change a picture, of the same number of bytes, and set back the time of its content."""
    path = folder / "train/a/03.png"
    about = path.stat()
    _write(path, 77)
    assert path.stat().st_size == about.st_size
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    return [0, 1, 2, 77, *range(4, 12)]


def _touch(folder: Path) -> list[int]:
    os.utime(folder / "train/a/03.png", ns=(5, 5))
    return list(range(12))


def _add(folder: Path) -> list[int]:
    _write(folder / "train/a/02b.png", 88)
    return [0, 1, 2, 88, *range(3, 12)]


def _remove(folder: Path) -> list[int]:
    (folder / "train/a/03.png").unlink()
    return [0, 1, 2, *range(4, 12)]


def _rename(folder: Path) -> list[int]:
    (folder / "train/a/03.png").rename(folder / "train/a/99.png")
    return [0, 1, 2, 4, 5, 3, *range(6, 12)]


def _swap(folder: Path) -> list[int]:
    for old, new in (("03", "x"), ("04", "03"), ("x", "04")):
        (folder / f"train/a/{old}.png").rename(folder / f"train/a/{new}.png")
    return [0, 1, 2, 4, 3, *range(5, 12)]


def _move_to_another_class(folder: Path) -> list[int]:
    (folder / "train/a/03.png").rename(folder / "train/b/03.png")
    return [0, 1, 2, 4, 5, 3, *range(6, 12)]


def _rename_class(folder: Path) -> list[int]:
    for part in ("train", "test"):
        (folder / part / "a").rename(folder / part / "c")
    return [*range(6, 12), *range(6)]


CHANGES = {
    "content of the same size and time": (_rewrite, 1),
    "time alone": (_touch, 1),
    "added": (_add, 1),
    "removed": (_remove, 0),
    "renamed": (_rename, 1),
    "two exchanged": (_swap, 2),
    "another class": (_move_to_another_class, 1),
    "another order of classes": (_rename_class, 6),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_prepared_again_and_nothing_else(
    folder: Path, read: list[str], change: str
) -> None:
    _load(folder)
    make, count = CHANGES[change]
    expected = make(folder)
    read.clear()
    assert _numbers(_load(folder)) == expected
    assert len(read) == count
    read.clear()
    loaded = _load(folder)
    assert _numbers(loaded) == expected and read == []
    shutil.rmtree(CACHE)
    np.testing.assert_array_equal(loaded.labels, _load(folder).labels)


def test_other_settings_have_entries_of_their_own(folder: Path, read: list[str]) -> None:
    def load(**options: object) -> None:
        for _ in range(2):
            load_folder("train", folder, **options)  # type: ignore[arg-type]

    load(channels=1, image_size=28)
    load(channels=1, image_size=32)
    load(channels=3, image_size=32)
    load(channels=1, image_size=28, preprocess="digit")
    assert len(read) == 4 * 12 and len(list(CACHE.iterdir())) == 4


def test_another_version_of_pillow_or_of_the_preparation_prepares_again(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(folder)
    monkeypatch.setattr(cache, "_VERSION", 0)
    _load(folder)
    monkeypatch.setattr("PIL.__version__", "0.0")
    _load(folder)
    assert len(read) == 3 * 12


def test_another_share_of_test_images_reads_only_those_that_are_new(
    folder: Path, read: list[str]
) -> None:
    for size in (6, 2):
        _load(folder / "train", test_size=size)
    assert len(read) == 10 and len(set(read)) == 10


def _cut(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-100])


def _flip(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[-100] ^= 1
    entry.write_bytes(data)


def _empty(entry: Path) -> None:
    entry.write_bytes(b"")


def _other(entry: Path) -> None:
    entry.write_bytes(b"0123 45\n{}" * 50)


def _folder_in_its_place(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


@pytest.mark.parametrize("spoil", [_cut, _flip, _empty, _other])
def test_a_damaged_entry_is_ignored_and_written_again(
    folder: Path, read: list[str], spoil: Callable[[Path], None]
) -> None:
    _load(folder)
    [entry] = CACHE.iterdir()
    whole = entry.read_bytes()
    spoil(entry)
    assert _numbers(_load(folder)) == list(range(12)) and len(read) == 24
    assert entry.read_bytes() == whole


def test_a_folder_in_the_place_of_an_entry_does_no_harm(folder: Path) -> None:
    _load(folder)
    [entry] = CACHE.iterdir()
    _folder_in_its_place(entry)
    assert _numbers(_load(folder)) == list(range(12))


def test_files_that_changed_just_now_are_not_kept(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may change again within the grain of their times."""
    monkeypatch.setattr(cache, "_SETTLED_NS", 2_000_000_000)
    _load(folder)
    _load(folder)
    assert len(read) == 24 and not list(CACHE.glob("*"))


def test_few_pictures_leave_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_WORTH_CACHING", 200)
    _load(folder)
    assert not CACHE.exists()


def test_without_a_place_to_write_nothing_is_kept(folder: Path, read: list[str]) -> None:
    Path("output").write_text("a file in the place of the folder")
    for _ in range(2):
        assert _numbers(_load(folder)) == list(range(12))
    assert len(read) == 24


def test_a_full_disk_keeps_nothing(
    folder: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    _load(folder)
    assert not list(CACHE.iterdir())


def test_the_entries_used_longest_ago_are_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (28, 32, 40)
    for size in sizes:
        load_folder("train", folder, channels=1, image_size=size)
    entries = sorted(CACHE.iterdir(), key=lambda path: path.stat().st_size)
    for time, entry in enumerate(entries):
        os.utime(entry, ns=(time, time))
    load_folder("train", folder, channels=1, image_size=28)  # uses the first again
    leftover, running = CACHE / ".tmp-1-old", CACHE / ".tmp-2-new"
    for path in (leftover, running):
        path.write_bytes(b"of a killed process, or one at work")
    os.utime(leftover, (1, 1))
    total = sum(entry.stat().st_size for entry in entries)
    monkeypatch.setattr(cache, "_MOST_BYTES", total - 1 + 12 * 30 * 30)
    load_folder("train", folder, channels=1, image_size=30)
    left = {path for path in CACHE.iterdir() if path.name[0] != "."}
    assert entries[1] not in left and {entries[0], entries[2]} < left and len(left) == 3
    assert not leftover.exists() and running.exists()


def test_unreadable_pictures_are_reported_at_each_start_and_the_others_kept(
    folder: Path, read: list[str]
) -> None:
    (folder / "train/a/03.png").write_bytes(b"no picture")
    for _ in range(2):
        assert "03.png: not a readable picture" in refusal(lambda: _load(folder))
    said: list[str] = []
    kept = _load(folder, skip_unreadable=True, say=said.append)
    assert _numbers(kept) == [0, 1, 2, *range(4, 12)]
    assert "1 of 12 pictures cannot be read" in said[0]
    assert len(read) == 12 + 1 + 1


def test_what_is_said_of_files_with_several_pictures_is_said_again(folder: Path) -> None:
    first, second = (Image.new("L", (40, 40), value) for value in (50, 60))
    first.save(folder / "train/a/03.tif", save_all=True, append_images=[second])
    lines: list[list[str]] = [[], []]
    for said in lines:
        _load(folder, say=said.append)
    assert "1 of 13 files hold several pictures" in lines[0][0]
    assert lines[0] == lines[1]


def test_deep_pictures_follow_the_white_of_the_other_parts(folder: Path) -> None:
    deep = np.full((40, 40), 200, np.uint16)
    Image.fromarray(deep).save(folder / "train/a/03.png")
    assert _numbers(_load(folder))[3] == 200
    Image.fromarray(deep + 3800).save(folder / "test/a/03.png")
    assert _numbers(_load(folder))[3] == 200 * 255 // 4095


def test_the_same_name_in_another_folder_is_another_picture(folder: Path) -> None:
    _load(folder)
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    _write(other / "train/a/03.png", 55)
    assert _numbers(_load(other))[3] == 55 and _numbers(_load(folder))[3] == 3
    link = folder.with_name("link")
    link.symlink_to("data")
    assert _numbers(_load(link))[3] == 3
    link.unlink()
    link.symlink_to("other")
    assert _numbers(_load(link))[3] == 55


# --- several threads ---


@pytest.fixture
def mixed(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write pictures of many kinds and sizes, two of them damaged and four deep."""
    for i in range(60):
        path = tmp_path / "mixed" / "ab"[i % 2] / f"{i:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 256, (30 + 7 * i, 300 - 4 * i, 3), dtype=np.uint8)
        if i % 15 == 4:
            deep = Image.fromarray(values[..., 0].astype(np.uint16) * (1 + i % 4))
            deep.save(path.with_suffix(".png"))
        elif i % 30 == 7:
            path.with_suffix(".png").write_bytes(b"no picture")
        else:
            Image.fromarray(values).save(path.with_suffix(".jpg" if i % 3 else ".png"))
    return tmp_path / "mixed"


def test_images_and_messages_do_not_depend_on_the_number_of_threads(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for count in ("1", "7"):
        monkeypatch.setenv("LENET_PADDLE_THREADS", count)
        said: list[str] = []
        loaded = load_folder("train", mixed, test_size=5, skip_unreadable=True, say=said.append)
        assert loaded is not None and loaded.names is not None
        results.append((loaded.images, loaded.labels.tolist(), loaded.names.tolist(), said))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert len(results[0][3]) == 3


def test_warnings_are_shown_again_after_reading(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENET_PADDLE_THREADS", "7")
    before = warnings.filters[:]
    load_folder("train", mixed, test_size=5, skip_unreadable=True)
    assert warnings.filters == before


_INTERRUPTED = """
import logging, sys, time
from lenet_paddle.data import pictures
from lenet_paddle.data.folder import load_folder
from pathlib import Path
prepare = pictures._prepare
def slow(*given, **more):
    print("reading", flush=True)
    time.sleep(0.05)
    prepare(*given, **more)
pictures._prepare = slow
load_folder("train", Path(sys.argv[1]), test_size=1)
"""


def test_ctrl_c_ends_the_reading_at_once(folder: Path) -> None:
    for i in range(400):
        _write(folder / "train/a" / f"more{i}.png", i % 256)
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, folder / "train"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LENET_PADDLE_THREADS": "2"},
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in error and out.count("reading") < 100
    assert not CACHE.exists()
