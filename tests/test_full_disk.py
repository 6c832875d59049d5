"""A full disk is one line, and what was whole before stays whole."""

import subprocess

import pytest
from tools_help import SMALL, tool

from lenet_paddle.training.checkpoint import newest_checkpoint


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_stays(small_disk):
    # A checkpoint with Adam's moments is 0.75 MB; the third does not fit beside two others.
    done = tool(
        *("train", *SMALL, "--limit", "640", "--epochs", "9", "--keep-last", "9"),
        *("--output-dir", small_disk, "--name", "a"),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("train.py: error:") and "No space left on device" in last
    path, state = newest_checkpoint(small_disk / "a" / "checkpoints")
    assert state.epoch >= 1 and (path / "model.pdparams").is_file()
    assert not list(small_disk.rglob(".tmp-*"))
