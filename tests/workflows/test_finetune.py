"""Fine-tuning in stages: the initial weights, the measurements, and exact resumption."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from crash_help import Tools
from tools_help import SMALL, assert_refused, tool, tool_command, wait_for

import lenet_paddle.workflows.finetune as module
import lenet_paddle.workflows.train as train_workflow
from lenet_paddle import (
    InputError,
    TrainConfig,
    load_dataset,
    load_weights,
    train_and_evaluate,
)
from lenet_paddle.config import FinetuneConfig
from lenet_paddle.data.load import load_data
from lenet_paddle.run_folder import Run
from lenet_paddle.training.checkpoint import read_state
from lenet_paddle.training.recorder import Recorder
from lenet_paddle.workflows.evaluate import evaluate_run
from lenet_paddle.workflows.finetune import _settle, _stage_configs, finetune

NAMES = ["stripe", "fog"]
STAGES = ["01-stripe", "02-fog"]


def corrupted(images):
    """Return two simple corruptions of the images."""
    return {
        "stripe": np.where(np.arange(28) % 14 < 7, 255 - images, images),
        "fog": images // 2 + np.uint8(100),
    }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Write MNIST-C's layout with two corruptions of MNIST's first images."""
    root = tmp_path_factory.mktemp("data")
    for part, count in (("train", 240), ("test", 60)):
        image_set = load_dataset("mnist", part, val_size=0).take(slice(0, count))
        for name, images in corrupted(image_set.images).items():
            folder = root / "mnist_c" / name
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{part}_images.npy", images[..., None])
            np.save(folder / f"{part}_labels.npy", image_set.labels)
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Train a run on clean digits."""
    output = tmp_path_factory.mktemp("output")
    settings = {"data_dir": SMALL[1], "val_size": 300, "epochs": 1, "limit": 1500}
    train_and_evaluate(TrainConfig(**settings, output_dir=str(output), name="source"))
    return output / "source"


def settings_of(source, data_dir, output, **others):
    own = {
        **{"init_from": str(source), "data_dir": str(data_dir), "output_dir": str(output)},
        **{"mode": "sequential", "freeze": "1", "epochs": 2, "batch_size": 32, "val_size": 40},
        **{"name": "tuned", "device": "cpu"},
    }
    return {**own, **others}


@pytest.fixture(scope="module")
def whole(source, data_dir, tmp_path_factory):
    """Run a sequential fine-tuning without interruption."""
    output = tmp_path_factory.mktemp("whole")
    return finetune(FinetuneConfig(**settings_of(source, data_dir, output)))


def result_of(folder):
    """Return the content of all files that must be equal, bit for bit."""
    files = ["matrix.csv", "matrix.md", "start/model.pdparams"]
    for stage in STAGES:
        files += [f"stages/{stage}/history.csv"]
        names = ("best/model.pdparams", "latest/model.pdparams", "latest/model.pdopt")
        files += [f"stages/{stage}/checkpoints/{name}" for name in names]
        averaged = folder / f"stages/{stage}/checkpoints/latest/raw.pdparams"
        files += [str(averaged.relative_to(folder))] if averaged.exists() else []
    return {name: (folder / name).read_bytes() for name in files}


def as_npz(data_dir):
    """Write the corruption fog as a .npz data set."""
    folder = data_dir / "mnist_c" / "fog"
    arrays = {
        f"{short}_{part}": np.load(folder / f"{part}_{kind}.npy")
        for short, kind in (("x", "images"), ("y", "labels"))
        for part in ("train", "test")
    }
    np.savez(data_dir / "fog.npz", **arrays)
    return data_dir / "fog.npz"


def best_of(run_dir):
    return load_weights(run_dir / "checkpoints" / "best" / "model.pdparams")


def test_each_stage_is_a_run_that_starts_from_the_best_by_validation_loss(whole, source):
    before = best_of(source)
    for name, weight in load_weights(whole / "start" / "model.pdparams").items():
        np.testing.assert_array_equal(weight, before[name])
    start = whole / "start" / "model.pdparams"
    for stage, corruption in zip(STAGES, NAMES, strict=True):
        run_dir = whole / "stages" / stage
        config = Run.open(run_dir).config
        assert (config.dataset, config.corruption, config.replay) == ("mnist_c", corruption, None)
        assert (config.model, config.picture_mode) == ("lenet_builtin", "digit")
        assert config.init_from == str(start.resolve())
        state = read_state(run_dir / "checkpoints" / "best")
        losses = [row["val_loss"] for row in read_state(run_dir / "checkpoints/latest").history]
        assert len(losses) == 2 and state.best_epoch == 1 + int(np.argmin(losses))
        start = run_dir / "checkpoints" / "best" / "model.pdparams"


def test_the_frozen_layer_is_bitwise_that_of_the_source_and_the_others_moved(whole, source):
    before, after = best_of(source), best_of(whole / "final")
    for name in before:
        same = np.array_equal(before[name], after[name])
        assert same == name.startswith("features.0."), name


def test_the_matrix_holds_the_accuracies_that_evaluating_each_run_gives(whole, source, data_dir):
    rows = {row["stage"]: row for row in csv.DictReader((whole / "matrix.csv").open())}
    assert list(rows) == ["before", *STAGES]
    assert list(rows["before"]) == ["stage", "clean", *NAMES, "mean"]
    for stage, own in zip(STAGES, NAMES, strict=True):
        result = json.loads((whole / "stages" / stage / "metrics.json").read_text())
        assert float(rows[stage][own]) == result["accuracy"]
    clean = evaluate_run(whole / "final", dataset="mnist", device="cpu")
    assert float(rows[STAGES[-1]]["clean"]) == clean["accuracy"]
    fog = evaluate_run(source, dataset="npz", data_dir=str(as_npz(data_dir)), device="cpu")
    assert float(rows["before"]["fog"]) == fog["accuracy"]
    for row in rows.values():
        assert float(row["mean"]) == pytest.approx(np.mean([float(row[name]) for name in NAMES]))
    assert (whole / "figures" / "forgetting.png").stat().st_size > 10_000
    assert "Forgetting: " in (whole / "matrix.md").read_text()


class Killed(BaseException):
    """An exception that nothing catches, like SIGKILL in this process."""


def fail_at_call(monkeypatch, owner, name, number):
    real, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


def test_stopped_again_and_again_it_resumes_exactly(whole, source, data_dir, tmp_path, monkeypatch):
    """Stop before the first table, in each stage, in evaluations, between stages, at the end."""
    config = FinetuneConfig(**settings_of(source, data_dir, tmp_path))
    for owner, name, number in (
        (module, "evaluate_corruptions", 1),
        (Recorder, "on_eval_end", 2),  # the first epoch of the first stage is over
        (module, "evaluate_corruptions", 1),  # the first stage is over
        (Run, "create", 1),  # the second has no folder yet
        (Recorder, "on_eval_end", 1),  # it has one, but no whole epoch
        (Recorder, "on_eval_end", 2),
        (train_workflow, "export_inference", 1),
        (module, "swap_link", 1),
    ):
        with monkeypatch.context() as patch:
            fail_at_call(patch, owner, name, number)
            with pytest.raises(Killed):
                finetune(config)
        assert not (tmp_path / "tuned" / "final").exists()
        config = FinetuneConfig(resume=str(tmp_path / "tuned"), device="cpu")
    finetune(config)
    assert result_of(tmp_path / "tuned") == result_of(whole)
    assert (tmp_path / "tuned" / "final").resolve() == tmp_path / "tuned" / "stages" / STAGES[-1]
    assert not list(tmp_path.rglob(".tmp-*"))


def test_resumed_in_a_copy_without_links_it_keeps_all_and_gets_its_links_back(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "tuned", symlinks=False)
    assert (copy / "final").is_dir() and not (copy / "final").is_symlink()
    finetune(FinetuneConfig(resume=str(copy), device="cpu"))
    assert (copy / "final").readlink() == Path("stages", STAGES[-1])
    assert result_of(copy) == result_of(whole)


def test_a_copy_of_the_final_run_that_was_trained_further_is_not_removed(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "tuned", symlinks=False)
    history = copy / "final" / "history.csv"
    history.write_text(history.read_text() + history.read_text().splitlines()[-1] + "\n")
    before = history.read_bytes()
    with pytest.raises(InputError, match=rf"final is no copy of .*/{STAGES[-1]}, .* rename it"):
        finetune(FinetuneConfig(resume=str(copy), device="cpu"))
    assert history.read_bytes() == before
    (copy / "final").rename(copy / "mine")
    finetune(FinetuneConfig(resume=str(copy), device="cpu"))
    assert (copy / "final").readlink() == Path("stages", STAGES[-1])


@pytest.mark.slow
def test_killed_by_sigkill_it_resumes_exactly_by_the_tool(whole, source, data_dir, tmp_path):
    folder = tmp_path / "tuned"
    flags = ["--freeze", "1", "--epochs", "2", "--batch-size", "32", "--val-size", "40"]
    flags += ["--init-from", source, "--data-dir", data_dir, "--mode", "sequential"]
    command = tool_command("finetune", *flags, "--output-dir", tmp_path, "--name", "tuned")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        inside = folder / "stages" / STAGES[1] / "checkpoints" / "epoch_0001"
        wait_for(lambda: inside.exists() or process.poll() is not None, 600)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not (folder / "final").exists()
    done = tool("finetune", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert f"{folder / 'stages' / STAGES[0]} is finished" in done.stderr
    assert "resumed after epoch" in done.stderr
    assert result_of(folder) == result_of(whole)
    assert (folder / "matrix.md").read_text() in done.stdout
    again = tool("finetune", "--resume", folder, "--epochs", "9")
    assert_refused(again, "leave out --epochs")


@pytest.mark.slow
def test_killed_between_and_inside_stages_it_resumes_exactly(source, data_dir, tmp_path):
    """Kill at six moments spread over all changes of files, and kill the resumed process too."""
    flags = ["--freeze", "1", "--epochs", "2", "--batch-size", "32", "--val-size", "40"]
    flags += ["--init-from", source, "--data-dir", data_dir, "--mode", "sequential"]
    flags += ["--ema", "0.9", "--output-dir", tmp_path, "--name"]
    rng, said, num_finished = random.Random(0), tmp_path / "said", []
    with Tools() as tools:
        where = {"output": said, "kill_at": 10**9, "below": tmp_path / "whole"}
        assert tools.run("finetune", *flags, "whole", **where) == 0, said.read_text()
        changes = int(said.read_text().split()[-2])
        expected = result_of(tmp_path / "whole")
        for number in range(6):
            folder = tmp_path / f"killed-{number}"
            at = 1 + int(changes * (number + rng.random()) / 6)
            where = {"output": said, "kill_at": at, "below": folder}
            assert tools.run("finetune", *flags, folder.name, **where) == -signal.SIGKILL
            num_finished.append(len(list(folder.glob("stages/*/inference"))))
            where["kill_at"] = rng.randint(1, changes // 4)
            assert tools.run("finetune", "--resume", folder, **where) in (0, -signal.SIGKILL)
            assert tools.run("finetune", "--resume", folder, output=said) == 0, said.read_text()
            assert result_of(folder) == expected, at
            assert not list(folder.rglob(".tmp-*"))
    assert {0, 1} <= set(num_finished)  # stages


def test_resuming_a_finished_one_trains_and_evaluates_nothing(whole, monkeypatch):
    before = result_of(whole)
    for name in ("train_and_evaluate", "evaluate_corruptions"):
        fail_at_call(monkeypatch, module, name, 1)
    finetune(FinetuneConfig(resume=str(whole)))
    assert result_of(whole) == before


def test_a_damaged_table_is_computed_again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "tuned", symlinks=True)
    (tmp_path / "tuned" / "matrix.csv").write_text("stage,clean\nbefore,nan\n")
    finetune(FinetuneConfig(resume=str(tmp_path / "tuned"), device="cpu"))
    assert result_of(tmp_path / "tuned") == result_of(whole)


def test_replay_adds_a_share_of_earlier_training_images_evenly(data_dir):
    common = {"dataset": "mnist_c", "data_dir": str(data_dir), "val_size": 40, "corruption": "fog"}
    config = TrainConfig(**common, replay="clean,stripe", replay_share=0.2)
    [plain] = load_data(dataclasses.replace(config, replay=None), "train")
    mixed, val = load_data(config, "train", "val")
    assert len(plain) == 200 and len(mixed) == 240 and len(val) == 40
    np.testing.assert_array_equal(mixed.images[np.arange(200)], plain.images)
    clean = load_dataset("mnist", "train", val_size=40)
    pools = [clean.images, *(corrupted(clean.images[:200])[name] for name in NAMES[:1])]
    for number, pool in enumerate(pools):
        known = {image.tobytes() for image in pool}
        own = mixed.images[200 + 20 * number + np.arange(20)]
        assert len({image.tobytes() for image in own} & known) == 20
    [again] = load_data(config, "train")
    np.testing.assert_array_equal(np.asarray(again.images), np.asarray(mixed.images))
    np.testing.assert_array_equal(again.labels, mixed.labels)
    [other] = load_data(dataclasses.replace(config, seed=1), "train")
    assert not np.array_equal(np.asarray(other.images), np.asarray(mixed.images))


def test_replays_stages_name_all_that_came_before(source, data_dir, tmp_path):
    settings = {"mode": "replay", "corruptions": "fog,stripe,shear"}
    config = FinetuneConfig(**settings_of(source, data_dir, tmp_path, **settings))
    stages = _stage_configs(_settle(config)[0], tmp_path / "tuned")
    assert [stage.name for stage in stages] == ["01-fog", "02-stripe", "03-shear"]
    assert [stage.replay for stage in stages] == ["clean", "clean,fog", "clean,fog,stripe"]


def test_joint_is_one_stage_of_all_corruptions(source, data_dir, tmp_path, caplog):
    settings = settings_of(source, data_dir, tmp_path, mode="joint", epochs=1, name=None)
    with caplog.at_level("INFO", "lenet_paddle"):
        folder = finetune(FinetuneConfig(**settings))
    assert folder.name == "source-joint"
    [run_dir] = (folder / "stages").iterdir()
    assert run_dir.name == "01-all" and Run.open(run_dir).config.corruption is None
    assert "on mnist_c: 440 train, 40 val, 120 test images" in (run_dir / "train.log").read_text()
    rows = list(csv.DictReader((folder / "matrix.csv").open()))
    assert [row["stage"] for row in rows] == ["before", "01-all"]
    assert float(rows[1]["mean"]) == pytest.approx(evaluate_run(run_dir)["accuracy"])
    with pytest.raises(InputError, match="exists; choose another --name, or --resume"):
        finetune(FinetuneConfig(**settings))


@pytest.fixture
def pictures(tmp_path, write_picture, rng):
    """Write pictures of three classes: a bar at the top, in the middle or at the bottom."""
    for label, name in enumerate(("high", "low", "middle")):
        for number in range(20):
            picture = rng.integers(0, 60, (28, 28))
            picture[4 + 8 * label : 8 + 8 * label, 4:24] = 220
            write_picture(tmp_path / "pictures" / name / f"{number:02d}.png", picture)
    return tmp_path / "pictures"


@pytest.mark.slow
def test_pictures_of_other_classes_get_a_new_last_layer_and_a_message(source, pictures, tmp_path):
    flags = ["--dataset", "folder", "--data-dir", pictures, "--epochs", "2", "--val-size", "6"]
    flags += ["--init-from", source, "--freeze", "features", "--preprocess", "resize"]
    done = tool("finetune", *flags, "--output-dir", tmp_path, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert "the last layer, fc.2, is new, drawn for 3 classes; all others keep" in done.stderr
    assert "is new, drawn for 3 classes" in (tmp_path / "mine" / "finetune.log").read_text()
    before, start = best_of(source), load_weights(tmp_path / "mine/start/model.pdparams")
    assert start["fc.2.weight"].shape == (84, 3)
    for name in before:
        if not name.startswith("fc.2."):
            np.testing.assert_array_equal(before[name], start[name])
    after = best_of(tmp_path / "mine" / "final")
    np.testing.assert_array_equal(after["features.3.weight"], before["features.3.weight"])
    rows = list(csv.DictReader((tmp_path / "mine" / "matrix.csv").open()))
    assert list(rows[0]) == ["stage", "folder", "mean"] and rows[0]["mean"] == ""
    assert [row["stage"] for row in rows] == ["before", "01-folder"]
    predicted = tool("predict", "--run", tmp_path / "mine" / "final", pictures / "low" / "00.png")
    assert predicted.returncode == 0, predicted.stderr
    refused = tool(
        *("train", "--dataset", "folder", "--data-dir", pictures, "--init-from", source),
        *("--val-size", "6", "--output-dir", tmp_path / "strict"),
    )
    assert_refused(refused, "fc.2.weight: expected [84, 3], file has [84, 10]")


def test_on_other_data_of_the_same_classes_the_sources_own_test_set_is_evaluated_too(
    source, tmp_path, write_picture
):
    image_set = load_dataset("mnist", "test").take(slice(0, 120))
    for number, (image, label) in enumerate(zip(image_set.images, image_set.labels, strict=True)):
        write_picture(tmp_path / "pictures" / str(label) / f"{number}.png", image)
    settings = {"mode": "joint", "dataset": "folder", "epochs": 1, "val_size": 12}
    config = FinetuneConfig(**settings_of(source, tmp_path / "pictures", tmp_path, **settings))
    rows = list(csv.DictReader((finetune(config) / "matrix.csv").open()))
    assert list(rows[0]) == ["stage", "mnist", "folder", "mean"]
    assert float(rows[0]["mnist"]) == evaluate_run(source)["accuracy"]


def test_the_sources_own_data_by_a_relative_path_are_evaluated_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = load_dataset("mnist", "train").take(slice(0, 60))
    test = load_dataset("mnist", "test").take(slice(0, 20))
    arrays = {"x_train": train.images, "y_train": train.labels}
    np.savez("digits.npz", **arrays, x_test=test.images, y_test=test.labels)
    data = {"dataset": "npz", "data_dir": "digits.npz", "val_size": 10, "epochs": 1}
    train_and_evaluate(TrainConfig(**data, output_dir="output", name="first"))
    given = {**data, "mode": "joint", "init_from": "output/first", "output_dir": "output"}
    folder = finetune(FinetuneConfig(**given))
    rows = list(csv.DictReader((folder / "matrix.csv").open()))
    assert list(rows[0]) == ["stage", "npz", "mean"]


def test_weights_without_a_run_need_the_networks_name(source, data_dir, tmp_path):
    bare = tmp_path / "weights.pdparams"
    shutil.copy(source / "checkpoints" / "best" / "model.pdparams", bare)
    settings = settings_of(bare, data_dir, tmp_path, mode="joint")
    with pytest.raises(InputError, match="belongs to no run; name its network with --model"):
        finetune(FinetuneConfig(**settings))
    with pytest.raises(InputError, match="weights of another network"):
        finetune(FinetuneConfig(**settings, model="mlp"))
    config, run_config = _settle(FinetuneConfig(**settings, model="lenet_builtin"))
    assert (config.model, config.picture_mode, run_config) == ("lenet_builtin", "digit", None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"init_from": None}, "init_from is missing"),
        ({"dataset": "folder"}, "mode sequential goes through the corruptions of mnist_c"),
        ({"mode": "joint", "corruptions": "fog"}, "corruptions is the order of the stages"),
        ({"corruptions": "fog,fog"}, "corruptions is 'fog,fog'; expected names"),
        ({"corruptions": "rain"}, "corruptions is 'rain'; expected names"),
        ({"corruptions": "shear"}, "has no shear; it has stripe, fog"),
        ({"data_dir": "nowhere"}, "nowhere: is not a folder"),
        ({"data_dir": None}, "needs data_dir"),
        ({"freeze": "conv9"}, "freeze conv9: no such layer"),
        ({"replay_share": 2.0}, "replay_share is 2.0"),
        ({"init_from": "nowhere"}, "nowhere: no weights there"),
    ],
)
def test_invalid_settings_are_refused_and_leave_nothing(
    settings, words, source, data_dir, tmp_path
):
    with pytest.raises(InputError, match=words):
        common = settings_of(source, data_dir, tmp_path / "out")
        finetune(FinetuneConfig(**{**common, **settings}))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_new_last_layer_cannot_be_frozen_and_another_folder_not_be_resumed(
    source, pictures, tmp_path
):
    settings = settings_of(source, pictures, tmp_path / "out", dataset="folder", mode="joint")
    config = FinetuneConfig(**{**settings, "freeze": "fc.2", "val_size": 6})
    with pytest.raises(InputError, match=r"would leave the new last layer fc\.2 untrained"):
        finetune(config)
    assert_refused(
        tool("finetune", "--resume", source), "not a fine-tuning (it has no finetune.yaml)"
    )
    assert_refused(tool("finetune", "--seeds", "0,1", "--init-from", source), "--seeds")
