"""Runs on pictures in colour and of other sizes, from the data to the answers."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from marks import slow
from refusal_help import refusal
from training_help import weights_of

from lenet_paddle import Run, TrainConfig, load_dataset, train_and_evaluate
from lenet_paddle.config import FinetuneConfig
from lenet_paddle.data.form import Form
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.workflows.evaluate import evaluate_run
from lenet_paddle.workflows.finetune import finetune
from lenet_paddle.workflows.seeds import run_seeds

CLASSES = 3


def _colour(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST digits in red, green or blue of equal brightness; the colour is the class."""
    rng = np.random.default_rng(len(part))
    digits = load_dataset("mnist", part).images[:count].astype(np.float32)
    labels = rng.integers(0, CLASSES, count)
    colours = np.array([(250, 0, 0), (0, 127, 0), (52, 52, 255)]) / 255  # of one brightness
    return np.rint(digits[..., None] * colours[labels][:, None, None]).astype(np.uint8), labels


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write colour.npz, 28x28x3; grey.npz has the same labels and no colour."""
    folder = tmp_path_factory.mktemp("coloured")
    (x_train, y_train), (x_test, y_test) = _colour("train", 900), _colour("test", 300)
    labels = {"y_train": y_train, "y_test": y_test}
    np.savez(folder / "colour.npz", x_train=x_train, x_test=x_test, **labels)
    np.savez(folder / "grey.npz", x_train=x_train.max(-1), x_test=x_test.max(-1), **labels)
    return folder


def _config(folder: Path, name: str, **settings: Any) -> TrainConfig:
    own: dict[str, Any] = {"dataset": "npz", "data_dir": str(folder / "colour.npz"), "epochs": 3}
    own |= {"model": "lenet_relu", "batch_size": 32, "output_dir": str(folder / "output")}
    return TrainConfig(**own | {"name": name} | settings)


def test_classes_that_differ_in_colour_alone_are_learnt_in_colour_and_not_in_grey(
    coloured: Path,
) -> None:
    colour = train_and_evaluate(_config(coloured, "colour", epochs=6))
    grey = train_and_evaluate(_config(coloured, "grey", channels=1))
    assert colour["accuracy"] >= 0.99
    assert grey["accuracy"] < 0.5
    forms = [Run(result["run_dir"]).config.form for result in (colour, grey)]
    assert forms == [Form(3, 28), Form(1, 28)]


@pytest.mark.parametrize(
    "model", [slow("lenet5"), "lenet_builtin", slow("cnn_regularized"), slow("vision:resnet18")]
)
def test_a_run_of_32_pixels_in_colour_resumes_bit_for_bit(coloured: Path, model: str) -> None:
    settings = {"image_size": 32, "limit": 128, "model": model}
    name = model.replace(":", "-")
    whole = train_and_evaluate(_config(coloured, f"{name}-whole", epochs=2, **settings))
    half = train_and_evaluate(_config(coloured, f"{name}-half", epochs=1, **settings))
    train_and_evaluate(TrainConfig(resume=half["run_dir"], epochs=2))
    networks = [Run(result["run_dir"]).load_network("latest")[0] for result in (whole, half)]
    weights = [weights_of(network) for network in networks]
    for key, weight in weights[0].items():
        np.testing.assert_array_equal(weight, weights[1][key])


@pytest.fixture(scope="module")
def run(coloured: Path) -> Run:
    return Run(train_and_evaluate(_config(coloured, "run", image_size=40, epochs=2))["run_dir"])


def test_the_run_keeps_its_form_and_every_way_in_prepares_pictures_alike(run: Run) -> None:
    saved = yaml.safe_load(run.config_file.read_text())
    assert (saved["channels"], saved["image_size"]) == (3, 40)
    described = yaml.safe_load((run.inference / "inference.yml").read_text())
    assert described["input"]["shape"] == [-1, 3, 40, 40] and described["image_size"] == 40
    picture = np.zeros((90, 60, 3), np.uint8)
    picture[20:70, 20:40] = (10, 240, 10)
    answers = [
        predictor.answer("a", picture, top_k=3)
        for predictor in (Predictor.from_run(run.path), Predictor(run.inference))
    ]
    assert answers[0].seen.shape == (40, 40, 3)
    np.testing.assert_array_equal(answers[0].seen, answers[1].seen)
    for (one, p), (other, q) in zip(answers[0].top_k, answers[1].top_k, strict=True):
        assert one == other and p == pytest.approx(q, abs=1e-5)
    np.testing.assert_equal(evaluate_run(run.path)["num_images"], 300)


def test_a_colour_run_refuses_grey_pictures_for_its_test(run: Run, coloured: Path) -> None:
    message = refusal(
        lambda: evaluate_run(run.path, dataset="npz", data_dir=str(coloured / "grey.npz"))
    )
    assert "the images are grey, 28x28; expected colour" in message
    assert "train with --channels 1" in message  # evaluate has no such flag


def test_weights_for_pictures_of_another_form_are_refused_with_both_forms(
    run: Run, coloured: Path
) -> None:
    config = _config(coloured, "from-run", init_from=str(run), channels=1, image_size=28)
    message = refusal(lambda: train_and_evaluate(config))
    assert str(run) in message and "40x40 colour" in message and "28x28 grey" in message
    assert "--channels 3 --image-size 40" in message
    assert not (coloured / "output" / "from-run").exists()


def test_fine_tuning_refuses_another_form_than_the_runs(run: Run, coloured: Path) -> None:
    own: dict[str, Any] = {"init_from": str(run), "output_dir": str(coloured / "other-form")}
    own |= {"dataset": "npz", "data_dir": str(coloured / "colour.npz")}
    for name, value in (("channels", 1), ("image_size", 28)):
        message = refusal(lambda given={name: value}: finetune(FinetuneConfig(**own, **given)))
        assert f"{name} is {value}" in message and "40x40 colour" in message
    assert not (coloured / "other-form").exists()


def test_fine_tuning_keeps_the_form_of_the_run_it_starts_from(run: Run, coloured: Path) -> None:
    config = FinetuneConfig(
        init_from=str(run),
        dataset="npz",
        data_dir=str(coloured / "colour.npz"),
        epochs=1,
        output_dir=str(coloured / "output"),
    )
    assert Run(finetune(config) / "final").config.form == Form(3, 40)


def test_runs_with_several_seeds_are_kept_whatever_was_auto(coloured: Path) -> None:
    config = dataclasses.replace(_config(coloured, "many", epochs=1, limit=64), seeds="0,1")
    first = (run_seeds(config) / "seeds.csv").read_text()
    assert (run_seeds(config) / "seeds.csv").read_text() == first


def test_an_old_run_without_a_form_is_grey_28x28(run: Run, tmp_path: Path) -> None:
    settings = yaml.safe_load(run.config_file.read_text())
    for key in ("channels", "image_size"):
        del settings[key]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert Run(tmp_path).config.form == Form(1, 28)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dataset": "mnist", "channels": 3}, "preprocess digit makes grey pictures of 28x28"),
        ({"dataset": "mnist", "image_size": 32}, "preprocess digit makes grey pictures of 28x28"),
        ({"image_size": 27}, "expected auto, or a side of 28 to 224 pixels"),
        ({"image_size": 225}, "expected auto, or a side of 28 to 224 pixels"),
        ({"channels": 2}, "expected one of auto, 1, 3"),
        ({"channels": 4}, "expected one of auto, 1, 3"),
    ],
)
def test_a_form_that_cannot_be_is_one_line(settings: dict[str, Any], expected: str) -> None:
    own = {"dataset": "npz", "data_dir": "a.npz"} | settings
    assert expected in refusal(lambda: TrainConfig(**own))


def test_grey_arrays_do_not_become_colour(coloured: Path) -> None:
    config = _config(coloured, "none", data_dir=str(coloured / "grey.npz"), channels=3)
    assert "the images are grey, 28x28" in refusal(lambda: train_and_evaluate(config))
    assert not (coloured / "output" / "none").exists()


def test_other_sizes_of_arrays_are_scaled_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}_{part}": (
            rng.integers(0, 256, (60, 8, 8), np.uint8) if kind == "x" else np.arange(60) % 3
        )
        for kind in "xy"
        for part in ("train", "test")
    }
    np.savez(tmp_path / "small.npz", **arrays)
    with caplog.at_level(logging.WARNING, "lenet_paddle"):
        image_set = load_dataset("npz", "train", tmp_path / "small.npz", 0)
    assert image_set.form == Form(1, 28)
    said = [record.getMessage() for record in caplog.records]
    assert sum("images of 8x8 are scaled to 28x28" in line for line in said) == 1


def test_two_classes_are_reported_as_a_detector(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (x_train, y_train), (x_test, y_test) = _colour("train", 300), _colour("test", 90)
    np.savez(
        tmp_path / "colour.npz",
        x_train=x_train[y_train < 2],
        y_train=y_train[y_train < 2],
        x_test=x_test[y_test < 2],
        y_test=y_test[y_test < 2],
    )
    with caplog.at_level(logging.INFO, "lenet_paddle"):
        result = train_and_evaluate(_config(tmp_path, "two", epochs=8))
    assert result["binary"]["roc_auc"] == pytest.approx(1, abs=0.02)
    assert "1, at a probability above 0.5: precision" in caplog.text
    assert (Run(result["run_dir"]).figures / "roc.png").is_file()


def test_a_new_seed_gets_the_form_of_the_runs_that_are_there(coloured: Path) -> None:
    config = _config(coloured, "more", epochs=1, limit=64)
    run_seeds(dataclasses.replace(config, seeds="0", channels=1))
    run_seeds(dataclasses.replace(config, seeds="0,1"))
    assert Run(coloured / "output" / "more-seed-1").config.form == Form(1, 28)
    with_colour = dataclasses.replace(config, seeds="2,0")
    assert "other settings (channels 1, now 3)" in refusal(lambda: run_seeds(with_colour))
