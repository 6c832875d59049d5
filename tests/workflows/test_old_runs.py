"""Runs, exports and fine-tunings made by version 0.1.0, before the folders were rearranged, still
work; see tests/samples/README.md."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from tools_help import ROOT, SMALL, tool

from lenet_paddle import Predictor, Run, TrainConfig, load_dataset, train_and_evaluate
from lenet_paddle.workflows.evaluate import evaluate_run
from lenet_paddle.workflows.export import export_run

SAMPLES = ROOT / "tests" / "samples"
OLD = SAMPLES / "old_layout"


@pytest.fixture(scope="session")
def mnist_c(tmp_path_factory):
    """The sample of MNIST-C as the published folders."""
    folder = tmp_path_factory.mktemp("sample") / "mnist_c"
    labels = {
        part: load_dataset("mnist", part, val_size=0).labels[:200] for part in ("test", "train")
    }
    with np.load(SAMPLES / "mnist_c_sample.npz") as sample:
        for name in sample.files:
            (folder / name).mkdir(parents=True)
            for part, images in zip(("test", "train"), np.split(sample[name], 2), strict=True):
                np.save(folder / name / f"{part}_images.npy", images[..., None])
                np.save(folder / name / f"{part}_labels.npy", labels[part])
    return folder


@pytest.fixture
def old(tmp_path, mnist_c):
    """Copies whose paths lead to this machine's data."""
    folder = shutil.copytree(OLD, tmp_path / "output", symlinks=True)
    paths = {"@OUT@": folder, "@MNIST@": SMALL[1], "@MNIST_C@": mnist_c}
    for file in folder.rglob("*.yaml"):
        text = file.read_text()
        for mark, path in paths.items():
            text = text.replace(mark, str(path))
        file.write_text(text)
    return folder


def read_rows(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def expected_metrics():
    """The accuracy that the export noted, on the 300 test images."""
    return Predictor(OLD / "run" / "inference").description["test_accuracy"]


def test_its_settings_are_read_and_all_kept(old):
    config = Run.open(old / "run").config
    chosen = {"limit": 640, "epochs": 3, "augment": "light", "schedule": "cosine", "seed": 3}
    assert {name: getattr(config, name) for name in chosen} == chosen
    keys = [line.split(":")[0] for line in (old / "run" / "config.yaml").read_text().splitlines()]
    assert set(keys) <= set(config.to_dict())


def test_a_recipe_is_its_settings_as_a_config_file(old, tmp_path):
    done = tool(
        *("train", "--config", old / "run" / "config.yaml", "--epochs", "1", "--limit", "64"),
        *("--output-dir", tmp_path / "new", "--name", "again"),
    )
    assert done.returncode == 0, done.stderr
    config, before = (Run.open(folder).config for folder in (tmp_path / "new/again", old / "run"))
    assert config == dataclasses.replace(before, epochs=1, limit=64)


def test_it_is_evaluated(old):
    result = evaluate_run(old / "run", "epoch_0002")
    assert result["checkpoint"] == "epoch_0002"
    assert result["accuracy"] == pytest.approx(expected_metrics(), abs=1 / 300)


def test_its_checkpoint_and_its_export_answer_alike(old):
    images = load_dataset("mnist", "test").take(slice(0, 50)).images
    expected = Predictor.from_run(old / "run").predict(images)
    for engine in ("paddle", "onnx"):
        predictor = Predictor(old / "run" / "inference", engine)
        assert predictor.classes == tuple("0123456789")
        np.testing.assert_allclose(predictor.predict(images), expected, atol=1e-5)
    _, maps = Predictor(old / "run" / "inference", "onnx").run_with_maps(images[:1])
    assert [name for name in maps] == ["feature_1", "feature_2"]


def test_it_is_exported_over_its_old_export(old):
    folder, rows = export_run(old / "run", "latest", ["paddle", "onnx"])
    assert folder == old / "run" / "inference" and len(rows) >= 1
    assert {"model.onnx", "inference.yml", "model_card.md"} <= {p.name for p in folder.iterdir()}


def test_it_predicts_by_the_tool(old):
    done = tool("predict", "--run", old / "run", "--format", "json", cwd=old)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 4


def test_resumed_it_ends_as_it_did_then(old):
    result = train_and_evaluate(TrainConfig(resume=str(old / "run")))
    rows, then = (read_rows(p / "history.csv") for p in (old / "run", OLD / "expected"))
    assert set(then[0]) <= set(rows[0])  # a column may have come since
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in then] == ["1", "2", "3"]
    for row, expected in zip(rows, then, strict=True):
        assert float(row["val_loss"]) == pytest.approx(float(expected["val_loss"]), abs=1e-4)
    for row, expected in zip(rows[:2], then[:2], strict=True):  # to the last digit: carried over
        assert row == {name: expected.get(name, "") for name in row}
    assert Run.open(old / "run").read_result()["test_accuracy"] == result["accuracy"]


def test_its_fine_tuning_resumed_ends_with_the_same_matrix(old, mnist_c):
    done = tool("finetune", "--resume", old / "tuning", "--data-dir", mnist_c)
    assert done.returncode == 0, done.stderr
    rows, then = (read_rows(p / "matrix.csv") for p in (old / "tuning", OLD / "expected"))
    assert [row["stage"] for row in rows] == ["before", "01-fog", "02-stripe"]
    assert list(rows[0]) == list(then[0])
    for row, expected in zip(rows, then, strict=True):
        for name in list(row)[1:]:
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=0.02), name
    assert (old / "tuning" / "final").resolve().name == "02-stripe"
    config = Run.open(old / "tuning" / "stages" / "02-stripe").config
    assert (config.corruption, config.freeze) == ("stripe", "1")


def test_a_run_whose_history_lacks_a_column_is_resumed_and_drawn(old, monkeypatch):
    """As when a column has come to the history since."""
    from lenet_paddle.figures.options import VisualizeConfig
    from lenet_paddle.figures.results.curves import draw_curves
    from lenet_paddle.training.recorder import Recorder

    real = Recorder.on_eval_end

    def with_new_column(self, logs=None):
        real(self, logs)
        self.state.history[-1]["gradient_norm"] = 0.5

    monkeypatch.setattr(Recorder, "on_eval_end", with_new_column)
    train_and_evaluate(TrainConfig(resume=str(old / "run")))
    rows = read_rows(old / "run" / "history.csv")
    assert [row["gradient_norm"] for row in rows] == ["", "", "0.5"]
    run = Run.open(old / "run")
    assert ["gradient_norm" in row for row in run.read_history()] == [False, False, True]
    assert "curves" in draw_curves(VisualizeConfig("curves", run=[str(run)]))
    assert run.read_result()["epochs"] == 3
    assert train_and_evaluate(TrainConfig(resume=str(run)))["checkpoint"]  # and read once more
