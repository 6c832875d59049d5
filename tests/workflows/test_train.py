"""The tools as a user calls them, in processes of their own, on a few images."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tools_help import QUICK, ROOT, SMALL, assert_refused, tool, tool_command, wait_for

from lenet_paddle import TrainConfig, train_and_evaluate
from lenet_paddle.errors import RunStopped


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    done = tool("train", *QUICK, "--output-dir", output)
    assert done.returncode == 0, done.stderr
    assert f"tools/monitor.py --logdir {output}" in done.stdout
    return output / "lenet_builtin-mnist-001"


def test_a_run_leaves_everything_in_its_folder(run_dir):
    present = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if not p.is_dir()}
    assert present == {
        *("config.yaml", "versions.json", "history.csv", "train.log", "metrics.json"),
        "calibration.json",
        *(f"checkpoints/epoch_0001/{f}" for f in ("model.pdparams", "model.pdopt", "state.json")),
        "vdl/vdlrecords.log",
        *(f"figures/{name}.png" for name in ("curves", "confusion", "mistakes")),
        *(f"inference/inference.{end}" for end in ("json", "pdiparams", "yml")),
    }
    assert (run_dir / "checkpoints" / "best").readlink() == Path("epoch_0001")


def test_the_metrics_are_of_the_whole_test_set(run_dir):
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["num_images"] == 300 and metrics["split"] == "test"
    confusion = np.array(metrics["confusion_matrix"])
    assert confusion.sum() == 300
    assert metrics["accuracy"] == np.trace(confusion) / 300


def test_the_config_says_how_pictures_are_prepared_and_repeats_the_run(run_dir, tmp_path):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["preprocess"] == "digit" and config["limit"] == 640
    arguments = ["--config", run_dir / "config.yaml", "--output-dir", tmp_path, "--name", "again"]
    assert tool("train", *arguments).returncode == 0
    assert (tmp_path / "again/history.csv").read_text() == (run_dir / "history.csv").read_text()
    weights = "checkpoints/best/model.pdparams"
    assert (tmp_path / "again" / weights).read_bytes() == (run_dir / weights).read_bytes()


def test_a_second_run_takes_the_next_free_name(run_dir, tmp_path):
    (tmp_path / "lenet_builtin-mnist-001").mkdir()
    assert tool("train", *QUICK, "--output-dir", tmp_path).returncode == 0
    assert (tmp_path / "lenet_builtin-mnist-002" / "metrics.json").is_file()


def test_a_name_that_exists_stops_and_overwrite_replaces_it(run_dir):
    again = [*QUICK, "--output-dir", run_dir.parent, "--name", run_dir.name]
    mark = run_dir / "mark"
    mark.touch()
    assert_refused(tool("train", *again), "exists", "--overwrite", "--resume")
    assert mark.exists()
    assert tool("train", *again, "--overwrite").returncode == 0
    assert not mark.exists() and (run_dir / "metrics.json").is_file()
    own = [*again, "--overwrite", "--init-from", run_dir]
    assert_refused(tool("train", *own), "--overwrite would delete")
    assert (run_dir / "metrics.json").is_file()
    (run_dir.parent / "precious").mkdir()
    assert_refused(tool("train", *again[:-1], "precious", "--overwrite"), "is not a run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning-rate", "-1"], ["learning_rate is -1.0; expected a number above 0"]),
        (["--model", "lennet"], ["lennet", "lenet5", "lenet_builtin"]),
        (["--dataset", "folder"], ["needs data_dir"]),
        (["--data-dir", "nowhere"], ["nowhere: is not a folder", "train-images-idx3-ubyte"]),
        (["--amp", "O1"], ["needs a GPU"]),
        (["--model", "cnn_regularized", "--weight-decay", "0.1"], ["has its own penalty"]),
        (["--hue", "0.1"], ["hue is 0.1, but the pictures are grey"]),
        (["--overwrite"], ["overwrite needs name"]),
        (["--init-from", "nowhere"], ["nowhere: no weights there"]),
    ],
)
def test_bad_flags_are_one_line_and_leave_nothing(tmp_path, arguments, words):
    done = tool("train", "--output-dir", tmp_path / "out", *arguments)
    assert_refused(done, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_bad_data_is_one_line_and_leaves_nothing(tmp_path):
    embedded = ROOT / "lenet_paddle" / "data" / "mnist"
    (tmp_path / "cut").mkdir()
    (tmp_path / "swapped").mkdir()
    for file in embedded.glob("*.gz"):
        (tmp_path / "cut" / file.name).write_bytes(file.read_bytes()[:3000])
        other = file.name.replace("labels-idx1", "X").replace("images-idx3", "labels-idx1")
        shutil.copy(file, tmp_path / "swapped" / other.replace("X", "images-idx3"))
    small, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    arrays = {"x_train": small, "y_train": labels, "x_test": small, "y_test": labels}
    np.savez(tmp_path / "8.npz", **arrays)
    (tmp_path / "empty").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "text" / name).mkdir(parents=True)
        Image.new("L", (30, 20)).save(tmp_path / "text" / name / "a.png")
    (tmp_path / "text" / "dog" / "notes.png").write_text("no picture")
    out = ["--output-dir", tmp_path / "out"]
    for arguments, word in (
        (["--data-dir", tmp_path / "cut"], "truncated or damaged gzip"),
        (["--data-dir", tmp_path / "swapped"], "swapped"),
        (["--dataset", "folder", "--data-dir", tmp_path / "empty"], "0 class folders"),
        (
            ["--dataset", "folder", "--data-dir", tmp_path / "text"],
            "notes.png: not a readable picture",
        ),
        (
            [
                "--dataset",
                "npz",
                "--val-size",
                "0",
                "--channels",
                "3",
                "--data-dir",
                tmp_path / "8.npz",
            ],
            "the images are grey, 8x8; expected colour",
        ),
    ):
        assert_refused(tool("train", *out, *arguments), word)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc as a read-only folder")
def test_a_folder_that_cannot_be_written_is_one_line():
    assert_refused(tool("train", *QUICK, "--output-dir", "/proc/self/output"), "--output-dir")


def test_a_folder_of_pictures_trains(tmp_path):
    rng = np.random.default_rng(0)
    for i, colour in enumerate(("dark", "light")):
        (tmp_path / "pictures" / colour).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(120 * i, 120 * i + 100, (40, 60, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / colour / f"{number}.jpg")
    done = tool(
        *("train", "--dataset", "folder", "--data-dir", "pictures", "--epochs", "3"),
        *("--batch-size", "8", "--output-dir", "out", "--name", "shades"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out/shades/metrics.json").read_text())
    assert metrics["num_images"] == 6 and metrics["accuracy"] == 1.0
    assert "val_size 5000 is over half" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_cleanly(tmp_path, number, status):
    arguments = [*SMALL, "--output-dir", tmp_path, "--name", "a"]
    with subprocess.Popen(
        tool_command("train", *arguments),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # it may be ignored, under nohup
    ) as process:
        wait_for(lambda: (tmp_path / "a/checkpoints/latest").exists())
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    last = errors.strip().splitlines()[-1]
    assert "Traceback" not in errors
    assert "stopped by" in last and f"--resume {tmp_path}/a continues at epoch" in last
    assert not list((tmp_path / "a").rglob(".tmp-*"))


def test_a_signal_during_the_export_is_not_lost(tmp_path, monkeypatch):
    """Else the next stage of a fine-tuning, or the next seed, would begin."""
    monkeypatch.setattr(
        "lenet_paddle.workflows.train.export_inference",
        lambda *_: signal.raise_signal(signal.SIGTERM),
    )
    settings = {"data_dir": SMALL[1], "val_size": 300, "limit": 64, "epochs": 1}
    with pytest.raises(RunStopped, match="stopped by SIGTERM after the training"):
        train_and_evaluate(TrainConfig(**settings, output_dir=str(tmp_path), name="a"))


def test_analyze_prints_every_layer():
    done = tool("analyze", "--model", "lenet5")
    assert done.returncode == 0
    for count in ("156", "2,416", "48,120", "10,164", "850", "Total params: 61,706"):
        assert count in done.stdout
