"""Files are complete or absent; a failed write leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from tools_help import ROOT
from training_help import write_bars

from lenet_paddle import InputError, TrainConfig, load_weights, train_and_evaluate
from lenet_paddle.data.idx import read_images, read_labels
from lenet_paddle.data.npz import load_npz, map_npy
from lenet_paddle.data.preprocess import load_picture
from lenet_paddle.export.engines import OnnxModel
from lenet_paddle.files import (
    locked,
    open_file,
    remove_leftovers,
    rename_new,
    replacing,
    replacing_folder,
    swap_link,
    write_json,
    write_text,
)
from lenet_paddle.run_folder import Run
from lenet_paddle.settings import read_yaml
from lenet_paddle.training.checkpoint import read_state


def _tree(folder: Path) -> dict[str, str]:
    """Return the text of every file below `folder`, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.mark.parametrize("before", [{}, {"a.csv": "old"}])
def test_a_file_appears_whole_when_the_block_ends(tmp_path: Path, before: dict[str, str]) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with replacing(tmp_path / "a.csv") as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".csv"
        assert temporary.parent == tmp_path
        assert {k: v for k, v in _tree(tmp_path).items() if k == "a.csv"} == before
    assert _tree(tmp_path) == {"a.csv": "new"}


@pytest.mark.parametrize("before", [{}, {"a.csv": "old"}])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, before: dict[str, str], error: type[BaseException]
) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(error), replacing(tmp_path / "a.csv") as temporary:
        temporary.write_text("half")
        raise error
    assert _tree(tmp_path) == before


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert _tree(tmp_path) == {"a": "old"}


def test_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "best"
    for version in ("one", "two"):
        with replacing_folder(target) as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / f"{version}.txt").write_text(version)
    assert _tree(tmp_path) == {"runs/best/sub/two.txt": "two"}
    assert [path.name for path in target.parent.iterdir()] == ["best"]


def test_a_folder_has_the_permissions_of_mkdir(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with replacing_folder(tmp_path / "ours"):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_folder_block_that_raises_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, exists: bool, error: type[BaseException]
) -> None:
    target = tmp_path / "best"
    if exists:
        target.mkdir()
        (target / "old").write_text("old")
    with pytest.raises(error), replacing_folder(target) as temporary:
        (temporary / "half").write_text("half")
        raise error
    assert _tree(tmp_path) == ({"best/old": "old"} if exists else {})
    assert [path.name for path in tmp_path.iterdir()] == (["best"] if exists else [])


def test_a_link_is_never_missing_while_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("epoch-1", "epoch-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "epoch").write_text(name)
    link = tmp_path / "last"
    swap_link(link, "epoch-1")
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: _refuse(path, link))
    swap_link(link, "epoch-2")
    assert link.readlink() == Path("epoch-2")
    assert (link / "epoch").read_text() == "epoch-2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-1", "epoch-2", "last"]


def _refuse(path: Path, link: Path) -> None:
    assert path != link


def test_json_is_readable_and_read_back_unchanged(tmp_path: Path) -> None:
    value = {"名": ["é", 1, 0.1, None, True], "empty": {}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert json.loads(text) == value
    assert '"名": [\n' in text
    assert text.endswith("}\n")


def test_json_never_holds_nan_or_infinity(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": float("nan"), "rows": [float("inf"), 0.5]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": None, "rows": [None, 0.5]}


def test_a_value_that_json_lacks_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "{}\n")
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert _tree(tmp_path) == {"a.json": "{}\n"}


def test_only_leftovers_of_killed_writes_are_removed(tmp_path: Path) -> None:
    kept = {"run/a.csv": "a", "run/tmp-b": "b", "run/.hidden": "c", "elsewhere": "d"}
    gone = {"run/.tmp-7-a.csv": "x", "run/.tmp-best-q/deep/.tmp-9-y": "y", "run/sub/.tmp-1": "z"}
    for name, text in (kept | gone).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "run" / ".tmp-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("e")
    (tmp_path / "run" / ".tmp-folder-link").symlink_to(tmp_path / "outside")
    remove_leftovers(tmp_path / "run")
    assert _tree(tmp_path) == kept | {"outside/file": "e"}
    assert list((tmp_path / "run").rglob(".tmp-*")) == []


class Journal:
    """The operations on the disk: ("flush", path), ("rename", from, to), ("mkdir", path).

    A rename keeps the content of the path at that time: all of it must have been flushed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.events: list[tuple[str, Path, Path, list[Path]]] = []
        fsync, replace, rename, mkdir = os.fsync, os.replace, os.rename, os.mkdir

        def flush(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.events.append(("flush", path, path, []))
            fsync(descriptor)

        def note(source: Any, target: Any) -> None:
            source, target = Path(source).absolute(), Path(target).absolute()
            content = [] if source.is_symlink() else [source, *source.rglob("*")]
            self.events.append(("rename", source, target, content))

        def move(call: Any) -> Any:
            return lambda source, target: (note(source, target), call(source, target))[1]

        def make(path: Any, *args: Any, **options: Any) -> None:
            mkdir(path, *args, **options)
            self.events.append(("mkdir", Path(path), Path(path), []))

        for name, function in (
            ("fsync", flush),
            ("replace", move(replace)),
            ("rename", move(rename)),
            ("mkdir", make),
        ):
            monkeypatch.setattr(os, name, function)

    def check(self) -> list[str]:
        """Check that everything renamed below `root` was flushed before, and its folder after.

        Returns the names, without temporary ones.
        """
        names: list[str] = []
        awaited: set[Path] = set()
        flushed: set[Path] = set()
        for kind, path, target, content in self.events:
            if kind == "flush":
                flushed.add(path)
                awaited.discard(path)
            elif ".tmp-" not in str(target) and self.root in target.parents:
                if kind == "rename":
                    assert not awaited, target  # everything before is on the disk
                    assert flushed.issuperset(content), (target, set(content) - flushed)
                    names.append(target.name)
                awaited.add(target.parent)
        assert not awaited
        return names


# Python 3.10's pathlib keeps the functions of os from its import: patches have no effect.
watched = pytest.mark.skipif(sys.version_info < (3, 11), reason="pathlib cannot be patched")


@watched
def test_files_are_flushed_before_a_rename_and_their_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(monkeypatch, tmp_path)
    write_text(tmp_path / "a", "a")
    for text in "bc":
        with replacing_folder(tmp_path / "new" / "deep" / "folder") as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / "file").write_text(text)
    swap_link(tmp_path / "link", "a")
    (tmp_path / ".tmp-made").mkdir()
    (tmp_path / ".tmp-made" / "file").write_text("d")
    assert rename_new(tmp_path / ".tmp-made", tmp_path / "made")
    assert journal.check() == ["a", "folder", "folder", "link", "made"]


@watched
def test_everything_that_a_run_writes_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = str(write_bars(tmp_path)), str(tmp_path / "new" / "output")
    journal = Journal(monkeypatch, tmp_path)
    settings: dict[str, Any] = {"dataset": "npz", "data_dir": data, "val_size": 64, "epochs": 2}
    train_and_evaluate(TrainConfig(**settings, model="mlp", output_dir=output, name="a"))
    names = journal.check()
    epochs = [["history.csv", f"epoch_000{number}", "latest", "best"] for number in (1, 2)]
    assert names[:9] == ["a", *epochs[0], *epochs[1]]
    assert {"metrics.json", "curves.png", "inference"} <= set(names[9:])
    log = (
        tmp_path / "new/output/a/vdl/vdlrecords.log"
    )  # before each checkpoint, which records its size
    assert [path for what, path, *_ in journal.events if what == "flush"].count(log) == 2


HOLDER = """
import sys, time
from pathlib import Path
from lenet_paddle.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_lock_excludes_others_until_its_process_ends_even_if_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match="in use by another process"), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path), pytest.raises(InputError), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []  # no lock file for a crash to leave


def test_a_failed_write_names_the_target(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, replacing(tmp_path / "a.csv") as file:
        file.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError) as missing:
        write_text(tmp_path / "gone" / "a.csv", "a")
    assert missing.value.filename == str(tmp_path / "gone" / "a.csv")


def _read_history(path: Path) -> Any:
    run = Run(path.parent)
    run.history_file = path
    return run.read_history()


READERS: dict[str, Callable[[Path], Any]] = {
    "settings.yaml": read_yaml,
    "picture.png": load_picture,
    "data.npz": lambda path: load_npz("train", path),
    "x_train.npy": map_npy,
    "train-images-idx3-ubyte": read_images,
    "labels.gz": read_labels,
    "model.pdparams": load_weights,
    "model.safetensors": load_weights,
    "model.onnx": OnnxModel,
    "state.json": lambda path: read_state(path.parent),
    "history.csv": _read_history,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_reader_waits_for_what_is_not_a_file(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    signal.alarm(20)  # ends the process: nothing else stops a reader that waits
    try:
        with pytest.raises(InputError, match="a pipe or a device; expected a regular"):
            READERS[name](path)
    finally:
        signal.alarm(0)


def test_the_lock_on_windows_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for msvcrt, which is not here: what `locking` says is heeded."""
    held: set[int] = set()

    def locking(descriptor: int, mode: int, size: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode in held:
            raise PermissionError(13, "Permission denied")
        held.add(inode)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        assert list((tmp_path / "run").iterdir()) == []  # it may be removed meanwhile
        with pytest.raises(InputError, match="in use"), locked(tmp_path / "run"):
            pass
    write_text(tmp_path / "run" / "a", "flushed")


def test_a_link_to_a_file_is_opened_and_a_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    with open_file(tmp_path / "link") as file:
        assert file.read() == b"x"
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)


def test_all_files_are_read_through_open_file() -> None:
    """Exceptions: the kernel's own, what a tool has just made, and measurements."""
    package = ROOT / "lenet_paddle"
    reading = re.compile(r"\.(read_text|read_bytes)\(|\.open\((\"r|encoding)|np\.load\(path")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.parent.name != "benchmark" and reading.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"runtime.py", "export/static_page.py"}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, 524])
def test_disks_that_cannot_flush_or_lock_are_written_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        write_text(tmp_path / "a", "text")
        with replacing_folder(tmp_path / "b") as folder:
            (folder / "c").touch()
    assert (tmp_path / "a").read_text() == "text" and (tmp_path / "b" / "c").exists()
    assert caplog.text.count("its disk has no locks; start no second process on it") == 1


def test_other_errors_of_flushing_and_locking_are_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "a", "text")
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path):
        pass
