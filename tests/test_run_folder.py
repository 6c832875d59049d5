"""A run is created whole, and its parts are found or named in one line."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tools_help import ROOT
from training_help import train, weights_of

from lenet_paddle import InputError, TrainConfig, build_model
from lenet_paddle.run_folder import Run, dump_config, find_weights
from lenet_paddle.training.checkpoint import epoch_name, newest_checkpoint
from lenet_paddle.workflows.start import restore


def copy_with(run_dir, target, links):
    """Copy a run's checkpoints; its links stay links, or become folders or files of one line."""
    shutil.copytree(run_dir, target, symlinks=links != "folders")
    for link in ("best", "latest") if links == "files" else ():
        path = target / "checkpoints" / link
        name = path.readlink()
        path.unlink()
        path.write_text(f"{name}\n")
    return target


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run")
    network, state = train(run_dir)
    return run_dir, network, state


@pytest.mark.parametrize(
    "source",
    ["", "checkpoints/best", "checkpoints/best/model", "checkpoints/best/model.pdparams"],
)
def test_weights_are_found_from_a_run_a_folder_a_prefix_or_a_file(run, source):
    found = find_weights(run[0] / source)
    assert found.resolve() == (run[0] / "checkpoints/best/model.pdparams").resolve()


def test_weights_of_a_damaged_checkpoint_are_not_found(run, tmp_path):
    damaged = shutil.copytree(run[0] / "checkpoints" / "best", tmp_path / "best")
    file = damaged / "model.pdparams"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for source in (damaged, file):
        with pytest.raises(InputError, match=r"model\.pdparams: damaged"):
            find_weights(source)
    (damaged / "state.json").unlink()  # a file without a checkpoint has no checksum
    assert find_weights(file) == file.resolve()


def test_an_unknown_checkpoint_lists_those_that_are_there(run):
    with pytest.raises(InputError, match="best, epoch_0001, epoch_0002, latest"):
        Run(run[0]).find_checkpoint("epoch_0009")
    with pytest.raises(InputError):
        Run(run[0]).find_checkpoint("../checkpoints/best")
    assert Run(run[0]).find_checkpoint("best") == run[0] / "checkpoints" / "best"


def test_a_folder_without_checkpoints_or_weights_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match=rf"^{tmp_path}: no checkpoint 'best'; it has none$"):
        Run(tmp_path).find_checkpoint("best")
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no checkpoint 'best'; it has none$"):
        Run(tmp_path).find_checkpoint("best")
    (tmp_path / "w.txt").write_text("no weights")
    said = (
        r"no weights there; expected a run, a checkpoint folder, a prefix or a file \.pdparams or "
    )
    for source in (tmp_path, tmp_path / "w.txt", tmp_path / "no.safetensors"):
        with pytest.raises(InputError, match=rf"^{source}: {said}\.safetensors$"):
            find_weights(source)


SETTINGS = {"epochs": 1, "model": "mlp", "limit": 64}


def test_a_new_run_has_its_settings_and_a_free_name(tmp_path):
    config = TrainConfig(**SETTINGS, output_dir=str(tmp_path))
    first, second = Run.create(config), Run.create(config)
    assert [first.name, second.name] == ["mlp-mnist-001", "mlp-mnist-002"]
    assert Run.open(first.path).config == dataclasses.replace(
        config, output_dir=TrainConfig().output_dir, preprocess="digit"
    )
    assert "python" in json.loads((first.path / "versions.json").read_text())
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_name_that_is_taken_is_refused_or_replaced(tmp_path):
    config = TrainConfig(**SETTINGS, output_dir=str(tmp_path), name="a")
    run = Run.create(config)
    run.history_file.write_text("old")
    with pytest.raises(InputError, match="a exists; choose another --name, --overwrite it"):
        Run.create(config)
    Run.create(dataclasses.replace(config, overwrite=True))
    assert run.config_file.exists() and not run.history_file.exists()
    with run.lock(), pytest.raises(InputError, match="in use by another process"):
        Run.create(dataclasses.replace(config, overwrite=True))
    source = dataclasses.replace(config, overwrite=True, init_from=str(run.checkpoints / "best"))
    with pytest.raises(InputError, match="--overwrite would delete"):
        Run.create(source)


def test_a_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not a run \(it has no config\.yaml\); expected output/"):
        Run.open(tmp_path)
    (tmp_path / "config.yaml").write_text("epochs: 0\n")
    with pytest.raises(InputError, match=r"config\.yaml: epochs is 0; expected"):
        Run.open(tmp_path)


def test_opening_a_run_does_not_import_paddle(tmp_path):
    run = Run.create(TrainConfig(**SETTINGS, output_dir=str(tmp_path)))
    code = "import sys; from lenet_paddle import Run; Run.open(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, run.path], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "lenet_paddle.run_folder" in done.stdout.split() and "paddle" not in done.stdout.split()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file or directory; has this run trained an epoch"),
        ("epoch,step\n", "no epoch yet"),
        ("epoch,step\n1,x\n", "damaged; expected rows of numbers"),
        ("epoch,step\n1,2\n", "damaged; expected the columns that a training writes"),
    ],
)
def test_a_history_that_cannot_be_read_is_one_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        Run(tmp_path).read_history()


def test_the_history_and_the_network_are_those_of_the_training(run):
    run_dir, network, state = run
    assert Run(run_dir).read_history() == [pytest.approx(row) for row in state.history]
    own = Run(run_dir)
    own.config = TrainConfig(model="mlp", channels=1, image_size=28)
    loaded, classes = own.load_network("latest")
    assert classes == ("top", "middle", "bottom") and not loaded.training
    for name, weight in weights_of(network).items():
        np.testing.assert_array_equal(weights_of(loaded)[name], weight)


@pytest.mark.parametrize("links", ["links", "files", "folders"])
def test_readers_know_links_and_what_stands_for_them(run, tmp_path, links):
    copy = copy_with(run[0], tmp_path / "copy", links)
    newest, best = "epoch_0002", (run[0] / "checkpoints" / "best").readlink().name
    for name, meant in (("latest", newest), ("best", best)):
        assert Run(copy).find_checkpoint(name).resolve() == copy / "checkpoints" / meant
        weights = find_weights(copy / "checkpoints" / name)
        assert weights.read_bytes() == (copy / f"checkpoints/{meant}/model.pdparams").read_bytes()
    assert find_weights(copy) == copy / "checkpoints" / best / "model.pdparams"


@pytest.mark.parametrize("links", ["files", "folders"])
def test_restoring_a_copy_gives_it_its_links_back_and_loses_no_checkpoint(run, tmp_path, links):
    folder = copy_with(run[0], tmp_path / "copy", links) / "checkpoints"
    if links == "folders":  # a copy of the links alone
        shutil.rmtree(folder / "epoch_0002")
    restore(Run(folder.parent), build_model("mlp", 3))
    for name in ("best", "latest"):
        assert (folder / name).readlink() == (run[0] / "checkpoints" / name).readlink()
    assert newest_checkpoint(folder)[0] == folder / "epoch_0002"
    assert not list(folder.glob(".*"))


def test_an_intact_copy_takes_the_place_of_a_damaged_original(run, tmp_path):
    folder = copy_with(run[0], tmp_path / "copy", "folders") / "checkpoints"
    (folder / "epoch_0002" / "model.pdparams").write_bytes(b"cut off")
    restore(Run(folder.parent), build_model("mlp", 3))
    path, state = newest_checkpoint(folder)
    assert (path.name, state.epoch) == ("epoch_0002", 2)


def test_where_links_cannot_be_made_a_training_writes_files_of_one_line(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    _, state = train(tmp_path)
    folder = tmp_path / "checkpoints"
    assert (folder / "latest").read_text() == "epoch_0002\n"
    assert Run(tmp_path).find_checkpoint("best") == folder / epoch_name(state.best_epoch)
    restored = restore(Run(tmp_path), build_model("mlp", 3))[0]
    assert restored == state
    assert {p.name for p in folder.iterdir()} == {"best", "latest", "epoch_0001", "epoch_0002"}


def test_a_checkpoint_that_leads_out_of_the_run_is_refused(run, tmp_path):
    copy = copy_with(run[0], tmp_path / "copy", "links")
    (copy / "checkpoints" / "best").unlink()
    (copy / "checkpoints" / "best").symlink_to(run[0] / "checkpoints" / "epoch_0001")
    for find in (lambda: Run(copy).find_checkpoint("best"), lambda: find_weights(copy)):
        with pytest.raises(InputError, match=r"copy/checkpoints/best leads out of the run, to /"):
            find()
    (tmp_path / "elsewhere").symlink_to(copy)  # a linked run, or linked checkpoints, are the same
    assert Run(tmp_path / "elsewhere").find_checkpoint("latest").is_dir()


@pytest.mark.parametrize("links", ["links", "files"])
def test_a_link_that_names_nothing_is_said_and_not_listed(run, tmp_path, links):
    copy = copy_with(run[0], tmp_path / "copy", links)
    (copy / "checkpoints" / "latest").unlink()
    best = (run[0] / "checkpoints" / "best").readlink()
    (copy / "checkpoints" / best).rename(tmp_path / "moved")
    rest = ({"epoch_0001", "epoch_0002"} - {best.name}).pop()
    said = rf"no checkpoint 'best' \(that names {best}, which is not there\); it has {rest}$"
    with pytest.raises(InputError, match=said):
        Run(copy).find_checkpoint("best")


def test_a_link_that_names_a_checkpoint_without_weights_says_so(run, tmp_path):
    copy = copy_with(run[0], tmp_path / "copy", "links")
    (copy / "checkpoints" / "epoch_0002" / "model.pdparams").unlink()
    said = r"no checkpoint 'latest' \(that names epoch_0002, which has no weights\)"
    with pytest.raises(InputError, match=said):
        Run(copy).find_checkpoint("latest")


@pytest.mark.parametrize(
    ("inside", "meant"),
    [
        ("checkpoints", "best"),
        ("checkpoints/latest", "latest"),
        ("checkpoints/epoch_0001/", "epoch_0001"),
        ("checkpoints/latest/model.pdparams", "latest"),
    ],
)
def test_a_checkpoint_stands_for_the_run_around_it(run, monkeypatch, inside, meant):
    copy = Run(run[0])
    copy.config_file.write_text(dump_config(TrainConfig(model="mlp")))
    found = Run.open(run[0] / inside)
    assert found.path == run[0]
    assert found.find_checkpoint() == copy.find_checkpoint(meant)
    monkeypatch.chdir(run[0] / "checkpoints")
    assert Run.open("latest").find_checkpoint() == copy.find_checkpoint("latest")


def test_a_file_in_place_of_a_fine_tunings_final_run_is_followed(tmp_path):
    run = Run.create(TrainConfig(**SETTINGS, output_dir=str(tmp_path / "stages"), name="01-fog"))
    (tmp_path / "final").write_text("stages/01-fog\n")
    assert (
        Run.open(tmp_path / "final").path == run.path and Run(tmp_path / "final").name == "01-fog"
    )
    (tmp_path / "final").write_text("stages/02-none\n")
    with pytest.raises(InputError, match="not a run"):
        Run.open(tmp_path / "final")
