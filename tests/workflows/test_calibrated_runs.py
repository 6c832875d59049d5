"""A run is calibrated on its validation images, and all that answers for it is."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from training_help import write_bars

from lenet_paddle import InputError, Predictor, TrainConfig
from lenet_paddle.data.load import load_data
from lenet_paddle.evaluation.calibration import fit_calibration
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.run_folder import Run
from lenet_paddle.workflows.evaluate import evaluate_run
from lenet_paddle.workflows.export import export_run
from lenet_paddle.workflows.predict import predict_pictures
from lenet_paddle.workflows.train import train_and_evaluate


def train(folder, **settings):
    given = {"model": "mlp", "dataset": "mnist", "epochs": 1, "limit": 2000, "val_size": 500}
    config = TrainConfig(**{**given, "output_dir": str(folder), "name": "run", **settings})
    return Run.open(train_and_evaluate(config)["run_dir"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("calibrated"))


@pytest.fixture
def run(trained, tmp_path):
    """A copy to change."""
    shutil.copytree(trained.path, tmp_path / "run", symlinks=True)
    return Run.open(tmp_path / "run")


def test_a_run_is_calibrated_on_its_validation_images(trained):
    network, classes = trained.load_network()
    [val_set] = load_data(trained.config, "val", classes=classes)
    expected = fit_calibration(predict_logits(network, val_set), val_set.labels)
    assert trained.read_calibration() == expected
    assert expected.num_images == 500


def test_the_report_has_both_the_networks_own_and_the_calibrated_metrics(trained, run):
    result = json.loads(trained.metrics_file().read_text())
    calibrated, calibration = result["calibrated"], trained.read_calibration()
    assert calibrated["temperature"] == calibration.temperature
    assert calibrated["threshold"] == calibration.threshold
    assert calibrated["loss"] < result["loss"] + 0.01
    assert 0 < calibrated["refused"] < 0.1
    assert calibrated["answered_accuracy"] > result["accuracy"]
    evaluated = evaluate_run(run.path)
    run.calibration_file.unlink()
    without = evaluate_run(run.path)
    assert "calibrated" not in without
    assert {**without, "calibrated": evaluated["calibrated"]} == evaluated


def test_the_run_its_export_and_its_card_agree(run, rng):
    images = rng.integers(0, 256, (5, 28, 28)).astype(np.uint8)
    of_run, exported = Predictor.from_run(run.path), Predictor(run.inference)
    assert of_run.calibration == exported.calibration == run.read_calibration()
    np.testing.assert_allclose(
        of_run.predict_logits(images), exported.predict_logits(images), atol=1e-5
    )
    network, _ = run.load_network()
    raw = predict_logits(network, load_data(run.config, "test")[0].take(slice(0, 5)))
    again = of_run.predict_logits(load_data(run.config, "test")[0].images[:5])
    np.testing.assert_allclose(again * of_run.calibration.temperature, raw, atol=1e-4)
    folder, _ = export_run(run.path)
    assert Predictor(folder).calibration == of_run.calibration
    card = (folder / "model_card.md").read_text()
    assert f"temperature {of_run.calibration.temperature:.4f}" in card
    assert "cannot reject" not in card


def test_a_checkpoint_that_was_not_calibrated_has_no_calibration(tmp_path, caplog):
    caplog.set_level("INFO")
    run = train(tmp_path, epochs=2)
    temperature = run.read_calibration().temperature
    assert f"calibrated on 500 validation images: temperature {temperature:.4f}" in caplog.text
    names = {path.name for path in run.checkpoints.glob("epoch_*")}
    best = run.find_checkpoint("best").resolve().name
    [other] = names - {best}
    assert run.read_calibration(best) is not None
    assert run.read_calibration(other) is None
    assert Predictor.from_run(run.path, other).calibration is None


def test_a_run_without_validation_images_says_that_it_is_not_calibrated(tmp_path, caplog):
    caplog.set_level("INFO")
    run = train(tmp_path, val_size=0)
    assert run.read_calibration() is None
    assert not run.calibration_file.exists()
    assert "not calibrated: val_size 0" in caplog.text
    assert "calibration" not in yaml.safe_load((run.inference / "inference.yml").read_text())
    assert Predictor(run.inference).calibration is None
    text, _ = predict_pictures([], str(run), None, style="json")
    assert [row["is_digit"] for row in json.loads(text)] == [None] * 4


def test_other_data_than_digits_are_calibrated_without_a_threshold(tmp_path, caplog):
    caplog.set_level("INFO")
    data = write_bars(tmp_path)
    run = train(tmp_path, dataset="npz", data_dir=str(data), limit=None, val_size=60, epochs=2)
    assert run.read_calibration().threshold is None
    assert "unclear" not in caplog.text and "temperature" in caplog.text
    answer = Predictor(run.inference).answer("", np.full((28, 28), 200, np.uint8))
    assert answer.is_digit is None


def test_unclear_pictures_are_said_to_be_so(run, tmp_path):
    values = json.loads(run.calibration_file.read_text())
    run.calibration_file.write_text(json.dumps({**values, "threshold": 1000}))  # all are unclear
    digit = load_data(run.config, "test")[0].images[0]
    names = [str(tmp_path / name) for name in ("digit.png", "sheet.png")]
    for name, picture in zip(names, (digit, np.full((28, 28), 255, np.uint8)), strict=True):
        Image.fromarray(picture).save(name)
    table, _ = predict_pictures(names, str(run), None, top_k=2)
    assert re.search(r"digit\.png +unclear  perhaps \d 0\.\d{4}, \d 0\.\d{4}\n", table)
    assert re.search(r"sheet\.png +nothing written\n", table)
    rows = json.loads(predict_pictures(names, str(run), None, style="json")[0])
    assert [row["is_digit"] for row in rows] == [False, False]
    assert rows[0]["class"] is not None and rows[0]["probability"] > 0.1
    assert list(rows[0]) == ["file", "class", "probability", "top_k", "is_digit"]
    lines = predict_pictures(names, str(run), None, style="csv")[0].splitlines()
    assert lines[0] == "file,class,probability,top_k,is_digit"
    assert [line.rpartition(",")[2] for line in lines[1:]] == ["false", "false"]
    run.calibration_file.write_text(json.dumps({**values, "threshold": -1000}))
    assert Predictor.from_run(run.path).answer("", digit).is_digit is True
    assert " unclear " not in predict_pictures(names, str(run), None)[0]


HOSTILE = ["", "[", "[1]", "null", '"text"', "1e999", "{}", '{"temperature": NaN}', "[" * 100_000]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
def test_a_hostile_calibration_file_ends_in_one_line(run, text):
    run.calibration_file.write_text(text)
    for use in (run.read_calibration, lambda: Predictor.from_run(run.path)):
        with pytest.raises(InputError, match=r"calibration\.json: ") as caught:
            use()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [float("nan"), 0, -2, "2", 1e300, None, [1]], ids=repr)
def test_a_hostile_temperature_of_an_export_ends_in_one_line(run, value):
    path = run.inference / "inference.yml"
    description = yaml.safe_load(path.read_text())
    description["calibration"]["temperature"] = value
    path.write_text(yaml.safe_dump(description))
    with pytest.raises(InputError, match=r"inference\.yml: calibration: temperature is"):
        Predictor(run.inference)


def test_resuming_a_finished_run_calibrates_it_once_more_to_the_same(run):
    before = run.calibration_file.read_text()
    written = (run.inference / "inference.yml").stat().st_mtime_ns
    train_and_evaluate(TrainConfig(resume=str(run)))
    assert run.calibration_file.read_text() == before
    assert (run.inference / "inference.yml").stat().st_mtime_ns == written
    run.calibration_file.unlink()  # an older run
    train_and_evaluate(TrainConfig(resume=str(run)))
    assert run.calibration_file.read_text() == before
