"""Runs on own folders: what is evaluated, and the order of the classes of old and new runs."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tools_help import assert_refused, tool

from lenet_paddle import Run, TrainConfig, load_dataset, train_and_evaluate
from lenet_paddle.config import FinetuneConfig
from lenet_paddle.data.load import load_test_set
from lenet_paddle.evaluation.forgetting import read_matrix
from lenet_paddle.workflows.evaluate import evaluate_run
from lenet_paddle.workflows.finetune import finetune

TEXT_ORDER = ("1", "10", "2")  # of version 0.1.0
DIGITS = {"1": 1, "10": 0, "2": 2}


def write_digits(folder: Path, count: int, first: int = 0, names: Any = TEXT_ORDER) -> Path:
    """Write MNIST digits into folders that are called like numbers, unsorted as text."""
    test = load_dataset("mnist", "test")
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in np.flatnonzero(test.labels == DIGITS[name])[first : first + count]:
            Image.fromarray(test.images[i]).save(folder / name / f"{i:05d}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder; train a run on it now, and one in the order of version 0.1.0."""
    place = tmp_path_factory.mktemp("place")
    data = write_digits(place / "data", 60)
    for name, classes in (("new", None), ("old", TEXT_ORDER)):
        train_and_evaluate(_config(place, data, name), classes=classes)
    config = place / "output" / "old" / "config.yaml"
    kept = [
        line
        for line in config.read_text().splitlines(keepends=True)
        if not line.startswith(("scale:", "skip_unreadable:"))  # which it did not know
    ]
    config.write_text("".join(kept))
    return place


def _config(place: Path, data: Path, name: str, **settings: Any) -> TrainConfig:
    own: dict[str, Any] = {"dataset": "folder", "data_dir": str(data), "epochs": 3, "model": "mlp"}
    own |= {"batch_size": 16, "output_dir": str(place / "output"), "name": name}
    return TrainConfig(**own | settings)


def test_a_new_run_has_its_classes_in_natural_order(place: Path) -> None:
    _, classes = Run(place / "output" / "new").load_network()
    assert classes == ("1", "2", "10")
    assert Run(place / "output" / "old").load_network()[1] == TEXT_ORDER


@pytest.mark.parametrize("name", ["new", "old"])
def test_a_run_is_tested_on_its_own_images_in_its_own_order(place: Path, name: str) -> None:
    before = json.loads((place / "output" / name / "metrics.json").read_text())
    assert before["num_images"] == 18 and before["accuracy"] > 0.8
    assert evaluate_run(place / "output" / name, device="cpu") == before


def test_an_old_run_resumes_bit_for_bit(place: Path) -> None:
    whole = place / "output" / "old"
    run = shutil.copytree(whole, place / "output" / "cut", symlinks=True)
    shutil.rmtree(run / "checkpoints" / "epoch_0003")
    train_and_evaluate(TrainConfig(resume=str(run)))
    weights = [r / "checkpoints" / "epoch_0003" / "model.pdparams" for r in (whole, run)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_is_not_resumed_on_other_classes(place: Path) -> None:
    run = shutil.copytree(place / "output" / "old", place / "output" / "even", symlinks=True)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("val_size: 5000", "val_size: 12"))
    other = write_digits(place / "renamed", 20)
    (other / "10").rename(other / "ten")
    done = tool("train", "--resume", place / "output" / "even", "--data-dir", other)
    assert_refused(done, "renamed: has the classes 1, 2, ten", "was trained on 1, 10, 2")


@pytest.mark.parametrize("name", ["new", "old"])
def test_all_of_ones_own_pictures_are_tested_and_a_part_of_the_classes_is_enough(
    place: Path, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, other = place / "output" / name, write_digits(tmp_path / "other", 30, 100)
    result = evaluate_run(run, data_dir=str(other), device="cpu")
    assert result["num_images"] == 90 and result["accuracy"] > 0.8
    shutil.rmtree(other / "1")
    with caplog.at_level(logging.WARNING, "lenet_paddle"):
        part = evaluate_run(run, data_dir=str(other), device="cpu")
    assert "has 2 of the run's 3 classes; no image of 1" in caplog.text
    assert part["num_images"] == 60 and part["accuracy"] > 0.8
    assert [row["support"] for row in part["per_class"].values()].count(0) == 1
    assert part["per_class"]["1"]["support"] == 0


def test_names_of_a_run_and_of_a_folder_are_the_same_in_both_forms_of_unicode(
    place: Path, tmp_path: Path
) -> None:
    other = write_digits(tmp_path / "other", 5, names=("1", "2"))
    (other / "1").rename(other / "caf\u00e9")
    config = _config(place, other, "other")
    test_set = load_test_set(config, ("2", "x", "cafe\u0301"), whole=True)
    assert test_set.classes == ("2", "x", "cafe\u0301")
    assert np.bincount(test_set.labels).tolist() == [5, 0, 5]


def test_the_very_tree_of_the_training_gives_its_held_out_tenth_by_any_path(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    run = place / "output" / "new"
    result = evaluate_run(run, dataset="folder", data_dir="output/../data", device="cpu")
    own = json.loads((run / "metrics.json").read_text())
    assert result["num_images"] == 18 and result["accuracy"] == own["accuracy"]


@pytest.mark.slow
def test_a_run_on_mnist_is_tested_on_all_of_a_folder_of_some_digits(tmp_path: Path) -> None:
    data = write_digits(tmp_path / "data", 10, names=("1", "2"))
    (data / "1" / "bad.png").write_bytes(b"")
    config = TrainConfig(model="mlp", epochs=1, limit=64, output_dir=str(tmp_path), name="mnist")
    run = train_and_evaluate(config)["run_dir"]
    command = ("evaluate", "--run", run, "--dataset", "folder", "--data-dir", data)
    done = tool(*command)
    assert_refused(done, "1 of 21 pictures cannot be read", "bad.png", "--skip-unreadable")
    done = tool(*command, "--skip-unreadable", "--json")
    assert json.loads(done.stdout)["num_images"] == 20
    assert "has 2 of the run's 10 classes; no image of 0, 3, 4, 5, 6, 7, 8, 9" in done.stderr


def test_fine_tuning_keeps_the_order_of_the_run_it_starts_from(place: Path) -> None:
    """Else the outputs would change their meaning, and the accuracy before would be chance."""
    data = write_digits(place / "more", 60, 200)
    config = FinetuneConfig(
        **{"init_from": str(place / "output" / "old"), "dataset": "folder", "name": "tuned"},
        **{"data_dir": str(data), "epochs": 1, "output_dir": str(place / "output")},
    )
    folder = finetune(config)
    final = Run(folder / "final")
    assert final.load_network()[1] == TEXT_ORDER
    matrix = read_matrix(folder / "matrix.csv", ["folder before", "folder"])
    assert len(matrix) == 2 and min(v for row in matrix.values() for v in row.values()) > 0.8


def test_scale_is_kept_with_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Images of 0..16 are learnt, and evaluated, with the factor that the warning names."""
    digits = load_dataset("mnist", "test").take(slice(0, 400))
    images = (digits.images.astype(int) * 16 // 255).astype(np.uint8)
    x, y = (images[:300], images[300:]), (digits.labels[:300], digits.labels[300:])
    np.savez(tmp_path / "a.npz", x_train=x[0], y_train=y[0], x_test=x[1], y_test=y[1])
    common = {"dataset": "npz", "data_dir": str(tmp_path / "a.npz"), "output_dir": str(tmp_path)}
    common |= {"model": "mlp", "epochs": 4, "batch_size": 16}
    with caplog.at_level(logging.WARNING, "lenet_paddle"):
        dark = train_and_evaluate(TrainConfig(**common, name="dark"))  # type: ignore[arg-type]
    assert "go up to 16 of 255" in caplog.text and "--scale 15.9375" in caplog.text
    config = TrainConfig(**common, name="scaled", scale=15.9375)  # type: ignore[arg-type]
    scaled = train_and_evaluate(config)
    assert scaled["accuracy"] > dark["accuracy"] + 0.3
    again = evaluate_run(tmp_path / "scaled", device="cpu")
    assert again["accuracy"] == scaled["accuracy"]
