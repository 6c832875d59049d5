"""A full disk, a folder that cannot be written or has gone, no file handles: one line each, and
what was whole before stays whole."""

from __future__ import annotations

import hashlib
import logging
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_help import Tools, result_of
from training_help import write_bars

from lenet_paddle.files import locked
from lenet_paddle.progress import log_to
from lenet_paddle.run_folder import Run
from lenet_paddle.training.checkpoint import newest_checkpoint
from lenet_paddle.training.visualdl import RecordFile

FULL = "No space left on device"


@pytest.fixture(scope="module")
def tools() -> Iterator[Tools]:
    with Tools() as started:
        yield started


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    file = write_bars(tmp_path_factory.mktemp("data"))
    data = ["--dataset", "npz", "--data-dir", file, "--val-size", 64]
    return [*data, "--learning-rate", 0.0003, "--monitor", "val_loss"]


@pytest.fixture(scope="module")
def finished(tools: Tools, settings: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nine epochs that nothing has disturbed, with all its checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    arguments = [*settings, "--epochs", 9, "--keep-last", 9, "--output-dir", folder]
    assert tools.run("train", *arguments, "--name", "whole", output=folder / "said.txt") == 0
    return folder / "whole"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room on the file system of `folder`."""
    with pytest.raises(OSError, match=FULL), (folder / "ballast").open("wb", 0) as file:
        while True:
            file.write(bytes(4096))


def assert_one_line(said: Path, status: int, *words: str) -> None:
    """Check that the last line names the error, without a traceback or another complaint."""
    text = said.read_text()
    assert status in (1, 2), text
    complaints = [line for line in text.splitlines() if "rror" in line or "arning" in line]
    assert [text.splitlines()[-1]] == complaints and "Traceback" not in text, text
    for word in words:
        assert word in complaints[0]


def assert_intact(run_dir: Path) -> None:
    """The newest checkpoint is whole, and so are those that the links name."""
    assert newest_checkpoint(run_dir / "checkpoints") is not None
    for link in ("latest", "best"):
        Run.open(run_dir).load_network(link)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def copy_run(run_dir: Path, target: Path) -> Path:
    """A copy with the newest two checkpoints, which is below 2 MB."""
    shutil.copytree(run_dir, target, symlinks=True, ignore=shutil.ignore_patterns("epoch_000[1-7]"))
    return target


def wait_for_epoch(tools: Tools, run_dir: Path) -> None:
    """Wait until a running training has saved its second epoch."""
    end = time.monotonic() + 60
    while not (run_dir / "checkpoints" / "epoch_0002").exists():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_training_on_a_full_disk_is_one_line_and_goes_on_when_there_is_room(
    tools: Tools, settings: list[Any], finished: Path, disk: Path, tmp_path: Path
) -> None:
    arguments = [*settings, "--epochs", 9, "--keep-last", 9, "--output-dir", disk, "--name", "a"]
    status = tools.run("train", *arguments, output=tmp_path / "said")
    assert_one_line(tmp_path / "said", status, f"train.py: error: {disk}/a/", FULL)
    assert_intact(disk / "a")
    assert not list(disk.rglob(".tmp-*"))
    remount(disk, "size=20m")
    assert tools.run("train", "--resume", disk / "a", output=tmp_path / "said") == 0
    assert result_of(disk / "a") == result_of(finished)


def test_a_fine_tuning_on_a_full_disk_is_one_line_and_goes_on_when_there_is_room(
    tools: Tools, settings: list[Any], finished: Path, disk: Path, tmp_path: Path
) -> None:
    arguments = [*settings, "--init-from", finished, "--epochs", 4, "--keep-last", 9]
    arguments += ["--output-dir", disk, "--name", "a"]
    status = tools.run("finetune", *arguments, output=tmp_path / "said")
    assert_one_line(tmp_path / "said", status, f"finetune.py: error: {disk}/a/", FULL)
    assert_intact(disk / "a" / "stages" / "01-npz")
    assert not list(disk.rglob(".tmp-*"))
    remount(disk, "size=20m")
    assert tools.run("finetune", "--resume", disk / "a", output=tmp_path / "said") == 0
    assert (disk / "a" / "final" / "metrics.json").is_file()


def test_on_a_full_disk_what_was_exported_and_evaluated_before_stays(
    tools: Tools, finished: Path, disk: Path, tmp_path: Path
) -> None:
    remount(disk, "size=20m")
    run = copy_run(finished, disk / "a")
    before = contents(run)
    fill(disk)
    for tool, words in (("export", "is the disk full?"), ("evaluate", FULL)):
        status = tools.run(tool, "--run", run, output=tmp_path / "said")
        assert_one_line(tmp_path / "said", status, f"{tool}.py: error: ", words)
    assert contents(run) == before
    assert_intact(run)


def test_what_cannot_be_written_to_is_one_line_and_can_be_read(
    tools: Tools, settings: list[Any], finished: Path, disk: Path, tmp_path: Path
) -> None:
    run = copy_run(finished, disk / "a")
    remount(disk, "ro")
    before = contents(run)
    for tool, arguments in (
        ("train", ["--resume", run]),
        ("train", [*settings, "--output-dir", disk]),
        ("finetune", ["--init-from", run, *settings, "--output-dir", disk]),
        ("export", ["--run", run]),
        ("evaluate", ["--run", run]),
    ):
        status = tools.run(tool, *arguments, output=tmp_path / "said")
        assert_one_line(tmp_path / "said", status, f"{tool}.py: error: {disk}", "ead-only")
    assert tools.run("export", "--run", run, "--out", tmp_path / "out", output=tmp_path / "s") == 0
    assert contents(run) == before


def test_a_run_that_vanishes_is_one_line_and_not_made_again(
    tools: Tools, settings: list[Any], finished: Path, tmp_path: Path
) -> None:
    arguments = [*settings, "--epochs", 9, "--keep-last", 9, "--output-dir", tmp_path]
    tools.start("train", *arguments, "--name", "a", output=tmp_path / "said")
    wait_for_epoch(tools, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "moved")
    assert_one_line(tmp_path / "said", tools.wait(), f"train.py: error: {tmp_path}/a/")
    assert not (tmp_path / "a").exists()
    assert_intact(tmp_path / "moved")
    assert tools.run("train", "--resume", tmp_path / "moved", output=tmp_path / "said") == 0
    assert result_of(tmp_path / "moved") == result_of(finished)


def test_without_file_handles_a_training_is_one_line_and_goes_on_later(
    tools: Tools, settings: list[Any], finished: Path, tmp_path: Path
) -> None:
    arguments = [*settings, "--epochs", 9, "--keep-last", 9, "--output-dir", tmp_path]
    tools.start("train", *arguments, "--name", "a", output=tmp_path / "said")
    wait_for_epoch(tools, tmp_path / "a")
    resource.prlimit(tools.pid, resource.RLIMIT_NOFILE, (3, 3))  # none beyond those it has
    assert_one_line(tmp_path / "said", tools.wait(), "train.py: error: ", "Too many open files")
    assert newest_checkpoint(tmp_path / "a" / "checkpoints") is not None
    assert tools.run("train", "--resume", tmp_path / "a", output=tmp_path / "said") == 0
    assert result_of(tmp_path / "a") == result_of(finished)


def test_of_two_processes_on_one_run_the_second_is_refused_unless_it_only_reads_or_replaces(
    tools: Tools, settings: list[Any], finished: Path, tmp_path: Path
) -> None:
    run = copy_run(finished, tmp_path / "a")
    again = ["--output-dir", tmp_path, "--name", "a", "--overwrite"]
    with locked(run):
        before = contents(run)
        for arguments in (["--resume", run], [*settings, *again]):
            status = tools.run("train", *arguments, output=tmp_path / "said")
            assert_one_line(tmp_path / "said", status, f"{run} is in use by another process")
        assert contents(run) == before
        for tool in ("evaluate", "export"):
            assert tools.run(tool, "--run", run, output=tmp_path / "said") == 0


def test_a_log_that_the_disk_does_not_take_is_an_error() -> None:
    """logging prints a traceback and goes on; VisualDL's thread drops the record and goes on."""
    with pytest.raises(OSError, match=FULL), log_to(Path("/dev/full")):
        logging.getLogger("lenet_paddle").warning("a line")

    class Record:
        def SerializeToString(self) -> bytes:
            return b"record"

    with pytest.raises(OSError, match=FULL):
        RecordFile(Path("/dev/full")).add_record(Record())
