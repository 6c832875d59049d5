"""A resumed run equals an uninterrupted one bit for bit; a new run starts from an old one.

Kills at random moments, with every optimizer and schedule, are in test_crashes.py.
"""

import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import paddle
import pytest
from crash_help import result_of
from marks import slow
from tools_help import QUICK, SMALL, assert_refused, tool, tool_command, wait_for
from training_help import weights_of, write_bars

from lenet_paddle import InputError, TrainConfig, build_model, load_weights, train_and_evaluate
from lenet_paddle.export.predictor import read_description
from lenet_paddle.files import locked, swap_link
from lenet_paddle.run_folder import Run
from lenet_paddle.training.checkpoint import read_state
from lenet_paddle.training.optimizers import learning_rate_at
from lenet_paddle.training.recorder import Recorder
from lenet_paddle.training.weights import load_optimizer_state
from lenet_paddle.workflows.export import export_run
from lenet_paddle.workflows.start import resumed_config

SETTINGS = {
    "adam, constant": [],
    "momentum, one cycle": [
        *("--optimizer", "momentum", "--schedule", "one_cycle", "--learning-rate", "0.05"),
    ],
    "muon, warm-up, average, augmented, non-digits, normalised, frozen": [
        *("--optimizer", "muon", "--learning-rate", "0.02", "--weight-decay", "0.05"),
        *("--schedule", "cosine", "--warmup-epochs", "0.5", "--ema", "0.9", "--l2", "0.001"),
        *("--augment", "strong", "--model", "lenet_modern", "--freeze", "2"),
        *("--thin", "1", "--thick", "2", "--outline", "0.1", "--breaks", "0.1"),
        *("--downscale", "0.5", "--specks", "0.2", "--outliers", "0.2"),
    ],
}
COMMON = [*SMALL, "--limit", "1500", "--epochs", "4", "--batch-size", "32"]


def train_and_kill(arguments, run_dir, when):
    """Start training and end it with SIGKILL as soon as `when(run_dir)` holds."""
    arguments = [*arguments, "--output-dir", run_dir.parent, "--name", run_dir.name]
    with subprocess.Popen(tool_command("train", *arguments), stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: when(run_dir) or process.poll() is not None)
        assert process.poll() is None, "the run was over before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def in_the_middle_of_epoch_3(run_dir):
    return (run_dir / "checkpoints" / "epoch_0002").exists()


@pytest.mark.parametrize(
    "name",
    [
        *(slow(name) for name in [*SETTINGS][:-1]),
        [*SETTINGS][-1],
    ],
)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, name):
    arguments = [*COMMON, *SETTINGS[name]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = tool("train", *arguments, "--output-dir", tmp_path, "--name", "whole")
    assert done.returncode == 0, done.stderr
    train_and_kill(arguments, killed, in_the_middle_of_epoch_3)
    assert not (killed / "metrics.json").exists()
    resumed = tool("train", "--resume", killed)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch" in resumed.stderr
    assert result_of(killed) == result_of(whole)


@pytest.fixture(scope="module")
def first_act(tmp_path_factory):
    """A run with a schedule, so that its last rate is not the one it was given."""
    output = tmp_path_factory.mktemp("output")
    arguments = ["--schedule", "one_cycle", "--optimizer", "adam", "--output-dir", output]
    done = tool("train", *QUICK, *arguments, "--name", "first")
    assert done.returncode == 0, done.stderr
    return output / "first"


@pytest.mark.slow
def test_going_on_from_a_run_with_a_schedule_applies_the_new_rate(first_act, tmp_path):
    """SGD without gradient noise: after one batch, w - w0 is rate * gradient, so compare runs."""
    arguments = ["--init-from", first_act, *QUICK, "--limit", "64"]
    moved = {}
    for rate in (0.001, 0.002):
        name = f"rate-{round(rate * 1000)}"
        sgd = ["--optimizer", "sgd", "--learning-rate", rate, "--output-dir", tmp_path]
        assert tool("train", *arguments, *sgd, "--name", name).returncode == 0
        new = load_weights(tmp_path / name / "checkpoints/latest/model.pdparams")
        old = load_weights(first_act / "checkpoints/best/model.pdparams")
        moved[rate] = new["fc.2.bias"] - old["fc.2.bias"]
        [row] = read_state(tmp_path / name / "checkpoints/latest").history
        assert row["learning_rate"] == rate
    np.testing.assert_allclose(moved[0.002], 2 * moved[0.001], rtol=1e-3, atol=1e-8)
    network = build_model("lenet_builtin")
    network.set_state_dict(load_weights(first_act / "checkpoints/best/model.pdparams"))
    from lenet_paddle import BatchLoader, load_dataset

    train_set = load_dataset("mnist", "train").take(slice(0, 64))
    images, labels = next(iter(BatchLoader(train_set, 64, shuffle=True)))
    loss = paddle.nn.CrossEntropyLoss()(network(paddle.to_tensor(images)), paddle.to_tensor(labels))
    loss.backward()
    gradient = dict(network.named_parameters())["fc.2.bias"].grad.numpy()
    np.testing.assert_allclose(moved[0.001], -0.001 * gradient, rtol=1e-3, atol=1e-8)


@pytest.mark.slow
def test_with_optimizer_takes_adams_moments_along(first_act, tmp_path):
    arguments = ["--init-from", first_act, *QUICK, "--limit", "64", "--output-dir", tmp_path]
    tiny = ["--learning-rate", "1e-9"]
    assert tool("train", *arguments, *tiny, "--name", "without").returncode == 0
    assert tool("train", *arguments, *tiny, "--with-optimizer", "--name", "with").returncode == 0
    powers = {}
    for name in ("without", "with"):
        state = load_optimizer_state(tmp_path / name / "checkpoints/latest/model.pdopt")
        powers[name] = float(state["linear_0.w_0_beta1_pow_acc_0"].item())
    assert powers["without"] == pytest.approx(0.9**2)  # Paddle keeps the power of the next step
    assert powers["with"] == pytest.approx(0.9 ** (1 + 10 + 1))  # 640 images are 10 steps


def test_adams_state_is_no_muons(first_act, tmp_path):
    arguments = ["--init-from", first_act, "--with-optimizer", "--optimizer", "muon"]
    done = tool("train", *QUICK, *arguments, "--output-dir", tmp_path / "out")
    assert_refused(done, "not the state of muon")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.slow
def test_with_optimizer_goes_from_one_lenet_to_another(first_act, tmp_path):
    done = tool(
        *("train", "--init-from", first_act, "--with-optimizer", "--model", "lenet_subclass"),
        *(*QUICK, "--output-dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert "its optimizer's state" in done.stderr


def test_init_from_takes_a_checkpoint_folder(first_act, tmp_path):
    source = first_act / "checkpoints" / "latest"
    done = tool("train", "--init-from", source, *QUICK, "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr


def test_init_from_takes_what_somebody_elses_model_save_wrote(tmp_path):
    network = paddle.vision.models.LeNet()
    paddle.Model(network).save(str(tmp_path / "theirs" / "final"))
    done = tool(
        *("train", "--init-from", tmp_path / "theirs" / "final", *QUICK),
        *("--optimizer", "sgd", "--learning-rate", "1e-20", "--output-dir", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    weights = "out/lenet_builtin-mnist-001/checkpoints/best/model.pdparams"
    for name, weight in weights_of(network).items():
        np.testing.assert_allclose(load_weights(tmp_path / weights)[name], weight, atol=1e-15)


@pytest.mark.slow
def test_what_cannot_be_started_from_is_one_line_and_leaves_nothing(first_act, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/canary",)

    (tmp_path / "evil.pdparams").write_bytes(pickle.dumps({"w": Hostile()}))
    wrong = {**weights_of(build_model("lenet_builtin")), "fc.1.weight": np.zeros((84, 120), "f4")}
    (tmp_path / "wrong.pdparams").write_bytes(pickle.dumps(wrong))
    out = ["--output-dir", tmp_path / "out"]
    for arguments, words in (
        (["--init-from", tmp_path / "evil.pdparams"], ["refused", "system"]),
        (["--init-from", tmp_path / "wrong"], ["expected [120, 84], file has [84, 120]"]),
        (["--init-from", first_act, "--model", "mlp"], ["another network"]),
        (["--init-from", first_act, "--with-optimizer", "--optimizer", "momentum"], ["momentum"]),
        (
            ["--init-from", first_act, "--with-optimizer", "--optimizer", "sgd"],
            ["sgd has no state"],
        ),
        (["--init-from", tmp_path / "wrong", "--with-optimizer"], ["file has [84, 120]"]),
    ):
        assert_refused(tool("train", *out, *arguments), *words)
    assert not (tmp_path / "out").exists() and not (tmp_path / "canary").exists()


@pytest.mark.slow
@pytest.mark.parametrize("with_optimizer", [[], ["--with-optimizer"]], ids=["", "moments"])
def test_a_run_from_old_weights_killed_before_its_first_checkpoint_starts_from_them_again(
    first_act, tmp_path, with_optimizer
):
    arguments = [*QUICK, "--limit", "3000", "--init-from", first_act, *with_optimizer]
    whole = tool("train", *arguments, "--output-dir", tmp_path, "--name", "whole")
    assert whole.returncode == 0, whole.stderr
    train_and_kill(arguments, tmp_path / "killed", lambda run_dir: (run_dir / "vdl").exists())
    assert not (tmp_path / "killed" / "checkpoints").exists()
    resumed = tool("train", "--resume", tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "whole")


def test_a_run_that_another_process_trains_is_refused(first_act):
    with locked(first_act):
        assert_refused(tool("train", "--resume", first_act), "in use by another process")
    assert tool("train", "--resume", first_act).returncode == 0


def test_resume_keeps_the_runs_own_device(first_act):
    given = TrainConfig(resume=str(first_act))
    assert resumed_config(given) == dataclasses.replace(
        Run.open(first_act).config, resume=str(first_act)
    )
    assert resumed_config(dataclasses.replace(given, device="cpu")).device == "cpu"


def test_resume_takes_no_other_settings(first_act):
    done = tool("train", "--resume", first_act, "--batch-size", "9", "--learning-rate", "0.1")
    assert_refused(done, "leave out --batch-size, --learning-rate", "--init-from")


def test_resuming_a_finished_run_changes_nothing(first_act):
    before = result_of(first_act)
    assert tool("train", "--resume", first_act).returncode == 0
    assert result_of(first_act) == before


@pytest.mark.slow
def test_resuming_a_finished_run_leaves_its_other_formats(first_act, tmp_path):
    run = shutil.copytree(first_act, tmp_path / first_act.name, symlinks=True)
    exported = tool("export", "--run", run, "--formats", "paddle,safetensors")
    assert exported.returncode == 0, exported.stderr
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (run / "inference").iterdir())
    assert tool("train", "--resume", run).returncode == 0
    after = sorted((path.name, path.stat().st_mtime_ns) for path in (run / "inference").iterdir())
    assert after == before and "model.safetensors" in dict(after)


def test_a_damaged_latest_checkpoint_is_named_and_the_one_before_it_used(tmp_path):
    arguments = [*COMMON, "--epochs", "2", "--output-dir", tmp_path, "--name", "a"]
    assert tool("train", *arguments).returncode == 0
    expected = result_of(tmp_path / "a")
    damaged = tmp_path / "a/checkpoints/epoch_0002/model.pdopt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = tool("train", "--resume", tmp_path / "a")
    assert done.returncode == 0
    assert f"{damaged}: damaged" in done.stderr and "resumed after epoch 1" in done.stderr
    assert result_of(tmp_path / "a") == expected


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """Settings of trainings of a second, each epoch a little better than the one before."""
    data = {"dataset": "npz", "data_dir": str(write_bars(tmp_path_factory.mktemp("data")))}
    data |= {"val_size": 64, "model": "mlp", "log_every": 3}
    return {**data, "learning_rate": 0.0003, "monitor": "val_loss"}


def finished_with(path, epochs, **settings):
    """Train a run of its own and return its folder."""
    settings |= {"output_dir": str(path.parent), "name": path.name}
    return Path(train_and_evaluate(TrainConfig(epochs=epochs, **settings))["run_dir"])


@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 0.9, "warmup_epochs": 1.5},
        slow({"schedule": "step", "decay_epochs": 2, "optimizer": "muon", "patience": 5}),
        slow({"schedule": "plateau", "decay_epochs": 1}),
    ],
    ids=["constant", "step", "plateau"],
)
def test_a_finished_run_resumed_for_more_epochs_equals_one_of_all_its_epochs(
    bars, tmp_path, settings
):
    whole = finished_with(tmp_path / "whole", 8, **bars, **settings)
    longer = finished_with(tmp_path / "longer", 5, **bars, **settings)
    assert read_description(longer / "inference/inference.yml")["checkpoint"] == "epoch_0005"
    train_and_evaluate(TrainConfig(resume=str(longer), epochs=8))
    assert result_of(longer) == result_of(whole)
    assert json.loads((longer / "metrics.json").read_text())["checkpoint"] == "epoch_0008"
    exported = [read_description(run / "inference/inference.yml") for run in (longer, whole)]
    assert exported[0]["checkpoint"] == exported[1]["checkpoint"] == "epoch_0008"
    assert exported[0]["test_accuracy"] == exported[1]["test_accuracy"]
    assert Run.open(longer).config == Run.open(whole).config
    assert Run.open(longer).read_result()["epochs"] == 8


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_what_becomes_of_a_schedule_that_ends_with_the_epochs_is_said(
    bars, tmp_path, caplog, schedule
):
    run = finished_with(tmp_path / "run", 2, **bars, schedule=schedule)
    with caplog.at_level("INFO", "lenet_paddle"):
        train_and_evaluate(TrainConfig(resume=str(run), epochs=3))
    said = f"3 epochs instead of 2; schedule {schedule} ends with the epochs: from epoch 3 on"
    assert said in caplog.text and said in (run / "train.log").read_text()
    config, history = Run.open(run).config, read_state(run / "checkpoints" / "latest").history
    last_of_three = 3 * history[0]["step"] - 1
    expected = learning_rate_at(config, last_of_three, history[0]["step"], [])
    assert history[2]["learning_rate"] == pytest.approx(expected, rel=1e-6)


def test_an_extended_run_that_is_killed_keeps_its_new_number_of_epochs(bars, tmp_path, monkeypatch):
    run = finished_with(tmp_path / "run", 2, **bars)
    whole = finished_with(tmp_path / "whole", 4, **bars)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_eval_end", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_and_evaluate(TrainConfig(resume=str(run), epochs=4))
    assert Run.open(run).config.epochs == 4 and Run.open(run).read_result() is None
    train_and_evaluate(TrainConfig(resume=str(run)))
    assert result_of(run) == result_of(whole)


def test_more_epochs_replace_all_exports_and_name_the_command_that_makes_them_again(
    bars, tmp_path, caplog
):
    run = finished_with(tmp_path / "run", 1, **bars)
    export_run(run, formats=["paddle", "safetensors"])
    with caplog.at_level("INFO", "lenet_paddle"):
        train_and_evaluate(TrainConfig(resume=str(run), epochs=2))
    assert not (run / "inference" / "model.safetensors").exists()
    assert f"tools/export.py --run {run} --formats paddle,safetensors makes them" in caplog.text


def test_epochs_that_a_run_cannot_have_are_one_line_and_change_nothing(bars, tmp_path):
    run = finished_with(tmp_path / "run", 2, **bars)
    before = result_of(run), (run / "config.yaml").read_bytes()
    with pytest.raises(
        InputError, match=r"has finished 2 epochs; --epochs 1 .* expected 2 or more"
    ):
        train_and_evaluate(TrainConfig(resume=str(run), epochs=1))
    train_and_evaluate(TrainConfig(resume=str(run)))  # the default of epochs is not meant
    train_and_evaluate(TrainConfig(resume=str(run), epochs=2))
    assert (result_of(run), (run / "config.yaml").read_bytes()) == before
    still = {"learning_rate": 1e-12, "optimizer": "sgd", "patience": 1, "monitor": "val_accuracy"}
    stopped = finished_with(tmp_path / "stopped", 5, **{**bars, **still})
    with pytest.raises(InputError, match=r"stopped early, after 1 epochs .* --init-from"):
        train_and_evaluate(TrainConfig(resume=str(stopped), epochs=9))


@pytest.mark.slow
def test_a_copied_run_and_a_runs_checkpoint_are_resumed_by_the_tool(bars, tmp_path):
    run = finished_with(tmp_path / "run", 1, **bars)
    whole = finished_with(tmp_path / "whole", 2, **bars)
    copy = shutil.copytree(run, tmp_path / "copy", symlinks=False)
    for checkpoint in (run / "checkpoints" / "latest", copy / "checkpoints"):
        done = tool("train", "--resume", checkpoint, "--epochs", 2)
        assert done.returncode == 0, done.stderr
        assert "resumed after epoch 1 of 2" in done.stderr
        assert result_of(checkpoint.parents[checkpoint.name == "latest"]) == result_of(whole)
    assert (copy / "checkpoints" / "latest").readlink() == Path("epoch_0002")


def test_a_checkpoint_that_is_not_the_newest_is_not_taken_for_it(bars, tmp_path):
    run = finished_with(tmp_path / "run", 2, **bars)
    for name, word in (("epoch_0001", "epoch_0001"), ("best", "best")):
        swap_link(run / "checkpoints" / "best", "epoch_0001")
        before = result_of(run)
        with pytest.raises(InputError, match=rf"newest checkpoint, epoch_0002; .*/{word}$"):
            train_and_evaluate(TrainConfig(resume=str(run / "checkpoints" / name), epochs=3))
        assert result_of(run) == before
    train_and_evaluate(TrainConfig(resume=str(run / "checkpoints" / "epoch_0002"), epochs=3))
    assert Run.open(run).read_result()["epochs"] == 3
