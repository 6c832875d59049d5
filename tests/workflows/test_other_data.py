"""Data sets of other files are trained on, evaluated and refused by the tools as MNIST is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from marks import slow
from tools_help import assert_refused, tool

Writer = Callable[[Path, np.ndarray], Path]


@pytest.fixture
def place(tmp_path: Path, write_idx: Writer, rng: np.random.Generator) -> Path:
    """Return a folder with a CSV file, CIFAR-10's binary batches and EMNIST's letters."""
    images, labels = rng.integers(0, 256, (60, 28, 28)), np.arange(60) % 3
    images[:, 0], images[0, 1, 1] = 0, 255
    np.savetxt(tmp_path / "a.csv", np.column_stack([labels, images.reshape(60, -1)]), "%d", ",")
    (tmp_path / "cifar").mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        rows = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
        rows[:, 0] %= 10
        (tmp_path / "cifar" / f"{name}.bin").write_bytes(rows.tobytes())
    for part in ("train", "test"):
        stem = tmp_path / "emnist" / f"emnist-letters-{part}"
        write_idx(Path(f"{stem}-images-idx3-ubyte"), images)
        write_idx(Path(f"{stem}-labels-idx1-ubyte"), np.arange(60) % 26 + 1)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "said", "kept"),
    [
        (["--dataset", "csv", "--data-dir", "a.csv"], "on csv: 49 train, 5 val, 6 test", []),
        slow(
            ["--dataset", "cifar10", "--data-dir", "cifar", "--val-size", "20"],
            "(62,006 parameters) on cifar10: 80 train, 20 val, 20 test",
            ["channels: 3", "image_size: 32"],
        ),
        slow(
            [
                *("--dataset", "emnist", "--emnist-split", "letters"),
                *("--data-dir", "emnist", "--val-size", "10"),
            ],
            "on emnist: 50 train, 10 val, 60 test",
            ["emnist_split: letters", "channels: 1"],
        ),
    ],
    ids=["csv", "cifar10", "emnist"],
)
def test_a_run_on_it_is_evaluated_on_the_same_test_images(
    place: Path, flags: list[str], said: str, kept: list[str]
) -> None:
    done = tool("train", *flags, "--epochs", 1, "--model", "lenet5", "--name", "a", cwd=place)
    assert done.returncode == 0 and said in done.stdout + done.stderr, done.stderr
    settings = (place / "output" / "a" / "config.yaml").read_text()
    assert [line for line in kept if line not in settings] == []
    metrics = place / "output" / "a" / "metrics.json"
    before = json.loads(metrics.read_text())
    done = tool("evaluate", "--run", "output/a", cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(metrics.read_text())["loss"] == before["loss"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["csv", "--data-dir", "bad.csv"], "bad.csv: line 7, column 300 is 'x'; expected a number"),
        (["csv", "--data-dir", "gaps.csv"], "skips numbers: there is no image of class 1, 3;"),
        (["cifar10", "--data-dir", "emnist"], "no CIFAR-10 in it; expected data_batch_1.bin"),
        (["mat", "--data-dir", "cifar"], "train_32x32.mat: missing; expected SVHN's"),
        (["csv"], "dataset csv needs data_dir: the path of a .csv file"),
        (["mnist", "--label-column", "last"], "label_column last is for dataset csv; dataset is"),
    ],
)
def test_bad_data_is_one_line_and_leaves_no_run(place: Path, flags: list[str], said: str) -> None:
    lines = (place / "a.csv").read_text().splitlines()
    fields = lines[6].split(",")
    fields[299] = "x"
    (place / "bad.csv").write_text("\n".join([*lines[:6], ",".join(fields), *lines[7:]]))
    doubled = [f"{2 * int(line[0])}{line[1:]}" for line in lines]
    (place / "gaps.csv").write_text("label," + ",".join("p" * 784) + "\n" + "\n".join(doubled))
    done = tool("train", "--dataset", *flags, cwd=place)
    assert_refused(done, said)
    assert not (place / "output").exists()
