"""Several processes that train together, through Paddle's own launcher."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from crash_help import result_of
from tools_help import PORTS, QUICK, ROOT, SMALL, assert_refused, tool, wait_for

from lenet_paddle import build_model, evaluate, load_dataset
from lenet_paddle.kernels.compiler import Missing, find_compiler
from lenet_paddle.training.weights import load_weights

NUM_RANKS = 2
ENVIRONMENT = os.environ | {"PORT_RANGE": f"{PORTS.start}:{PORTS.stop}"}  # of the launcher


def launch_command(*args):
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", NUM_RANKS]
    return [str(word) for word in (*launcher, "--log_dir", "log", ROOT / "tools/train.py", *args)]


def launch(folder, *args):
    command = launch_command(*args)
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def weights_of(run):
    return load_weights(run / "checkpoints" / "latest" / "model.pdparams")


def assert_close(run, other, atol):
    weights, others = weights_of(run), weights_of(other)
    assert list(weights) == list(others)
    for name, array in weights.items():
        np.testing.assert_allclose(array, others[name], rtol=0, atol=atol, err_msg=name)


def rows_of(run):
    state = json.loads((run / "checkpoints" / "latest" / "state.json").read_text())
    return state["history"]


@pytest.mark.parametrize(
    "settings",
    [
        ["--batch-size", 30, "--limit", 3000],
        ["--batch-size", 33, "--limit", 661, "--optimizer", "sgd"],
        [
            *("--batch-size", 33, "--limit", 661, "--optimizer", "sgd"),
            *("--augment", "strong", "--ema", 0.9),
        ],
        ["--batch-size", 30, "--limit", 1215, "--accumulate", 4, "--optimizer", "momentum"],
    ],
    ids=["100 steps of Adam", "odd batches and a last one of one image", "varied", "accumulated"],
)
@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path, settings):
    args = [*SMALL, "--epochs", 1, *settings]
    one = tool("train", *args, "--name", "one", "--output-dir", tmp_path)
    two = launch(tmp_path, *args, "--name", "two", "--output-dir", tmp_path)
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert_close(tmp_path / "one", tmp_path / "two", atol=1e-5)
    for row, other in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"), strict=True):
        assert row == pytest.approx(other, rel=1e-4)
        assert row["train_accuracy"] == other["train_accuracy"]  # each image counted once
    metrics, others = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")
    )
    assert metrics["num_images"] == others["num_images"] == 300
    assert metrics["accuracy"] == pytest.approx(others["accuracy"], abs=0.005)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "one", "two"]
    curves = [(tmp_path / n / "vdl" / "vdlrecords.log").stat().st_size for n in ("one", "two")]
    assert curves[1] == pytest.approx(curves[0], rel=0.02)  # written once, by one rank


def test_a_batch_smaller_than_the_job_is_refused_and_nothing_is_written(tmp_path):
    done = launch(tmp_path, *SMALL, "--batch-size", 1, "--output-dir", tmp_path / "out")
    assert done.returncode != 0
    assert "batch_size 1 is shared by 2 processes" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_meeting_place_that_is_taken_is_one_line(tmp_path):
    """Paddle itself aborts with an assertion of libuv."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "{}:{}".format(*taken.getsockname())
        job = {"PADDLE_TRAINER_ID": "0", "PADDLE_TRAINERS_NUM": "2", "PADDLE_MASTER": address}
        args = [*SMALL, "--output-dir", tmp_path / "out"]
        done = tool("train", *args, env=os.environ | job, timeout=60)
    assert_refused(done, f"port {address.rpartition(':')[2]}", "in use", "PORT_RANGE")
    assert not (tmp_path / "out").exists()


def ranks_of(launcher):
    """Process id of each rank of a job."""
    found = {}
    for entry in (p for p in Path("/proc").iterdir() if p.name.isdigit()):
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            words = (entry / "environ").read_text().split("\0")
        except (OSError, NotADirectoryError):
            continue
        rank = next((w.partition("=")[2] for w in words if w.startswith("PADDLE_TRAINER_ID=")), "")
        if parent == str(launcher.pid) and rank:
            found[int(rank)] = int(entry.name)
    return found


KILLED = [*SMALL, "--limit", 2560, "--epochs", 4, "--schedule", "cosine", "--ema", 0.9]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A job that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = launch(folder, *KILLED, "--output-dir", folder, "--name", "whole")
    assert done.returncode == 0, done.stderr
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("rank", range(NUM_RANKS))
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_rank_ends_the_job_with_a_message_and_the_job_goes_on_exactly(
    tmp_path, whole, rank, epoch
):
    """Killed at a random moment after an epoch; with an average of the weights."""
    args = [*KILLED, "--output-dir", tmp_path]
    with (tmp_path / "said").open("w") as said:
        command = launch_command(*args, "--name", "killed")
        job = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=said, stderr=said)
    wait_for(lambda: (tmp_path / "killed" / "checkpoints" / f"epoch_000{epoch}").exists())
    time.sleep(random.Random(rank + 2 * epoch).uniform(0, 0.6))
    os.kill(ranks_of(job)[rank], 9)
    assert job.wait(60) != 0
    log = (tmp_path / "log" / f"workerlog.{1 - rank}").read_text()
    log += (tmp_path / "said").read_text()
    assert "another process of the job has ended" in log
    assert f"--resume {tmp_path / 'killed'} continues at epoch" in log
    resumed = launch(tmp_path, "--resume", tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert result_of(tmp_path / "killed") == result_of(whole)


@pytest.mark.slow
def test_after_an_epoch_of_mnist_two_processes_are_as_accurate_as_one(tmp_path):
    args = ["--epochs", 1, "--output-dir", tmp_path]
    assert tool("train", *args, "--name", "one").returncode == 0
    assert launch(tmp_path, *args, "--name", "two").returncode == 0
    one, two = (
        json.loads((tmp_path / name / "metrics.json").read_text())["accuracy"]
        for name in ("one", "two")
    )
    assert one == pytest.approx(two, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vision:shufflenet_v2_x0_25", "lenet_modern"])
def test_running_statistics_are_shared_before_they_are_evaluated_and_saved(tmp_path, model):
    args = [*SMALL, "--limit", 64, "--batch-size", 16, "--model", model]
    averaged = model == "lenet_modern"
    args += ["--ema", 0.9] if averaged else []
    assert launch(tmp_path, *args, "--epochs", 1, "--output-dir", tmp_path).returncode == 0
    [run] = tmp_path.glob(f"{model.removeprefix('vision:')}*")
    done = tool("evaluate", "--run", run, "--json")
    metrics = json.loads((run / "metrics.json").read_text())
    assert json.loads(done.stdout)["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    [row] = rows_of(run)
    val = load_dataset("mnist", "val", SMALL[1], 300)
    saved = {"val_loss": weights_of(run)}
    if averaged:
        saved["raw_val_loss"] = load_weights(run / "checkpoints" / "latest" / "raw.pdparams")
    for key, weights in saved.items():
        network = build_model(model)
        network.set_state_dict({name: weights[name] for name in network.state_dict()})
        assert evaluate(network, val)["loss"] == pytest.approx(row[key], rel=1e-4)


@pytest.mark.slow
def test_processes_that_start_together_in_an_empty_cache_build_the_operators(tmp_path):
    try:
        find_compiler()
    except Missing as reason:
        pytest.skip(str(reason))
    environment = ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = launch_command(*QUICK, "--model", "lenet_builtin", "--output-dir", tmp_path)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    logs = "".join(path.read_text() for path in (tmp_path / "log").glob("workerlog.*"))
    assert "building operators" in logs and "Paddle's own layers" not in logs
    names = [path.name for path in (tmp_path / "cache" / "lenet_paddle").iterdir()]
    assert all(name.endswith(".so") for name in names)
    assert len({name.rpartition("-")[0] for name in names}) == 3  # chain.c and two convolutions
