"""Several seeds and their table; finished runs are not trained again."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import statistics

import pytest
import yaml
from tools_help import SMALL, assert_refused, tool

from lenet_paddle import InputError, TrainConfig, train_and_evaluate
from lenet_paddle.files import format_csv
from lenet_paddle.run_folder import Run
from lenet_paddle.workflows.seeds import (
    format_markdown,
    run_seeds,
    summarise_rows,
)

ROWS = [
    {
        **{"seed": 0, "epochs": 5, "val_accuracy": 0.98},
        **{"test_accuracy": 0.97, "test_loss": 0.1, "seconds": 30.26},
    },
    {
        **{"seed": 7, "epochs": 4, "val_accuracy": 0.96},
        **{"test_accuracy": 0.975, "test_loss": 0.2, "seconds": 31.0},
    },
]
SETTINGS = {"data_dir": SMALL[1], "val_size": 300, "limit": 256, "epochs": 2, "model": "mlp"}


def test_the_table_ends_with_mean_and_sample_standard_deviation():
    mean, deviation = summarise_rows(ROWS)
    assert mean["test_accuracy"] == pytest.approx(0.9725)
    assert deviation["test_accuracy"] == pytest.approx(0.005 / 2**0.5)  # n - 1
    assert format_markdown(ROWS) == (
        "| seed | epochs | val accuracy | test accuracy | test loss | seconds |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| 0 | 5 | 0.9800 | 0.9700 | 0.1000 | 30.3 |\n"
        "| 7 | 4 | 0.9600 | 0.9750 | 0.2000 | 31.0 |\n"
        "| mean | 4 | 0.9700 | 0.9725 | 0.1500 | 30.6 |\n"
        "| standard deviation | 1 | 0.0141 | 0.0035 | 0.0707 | 0.5 |\n"
    )
    rows = list(csv.DictReader(format_csv([*ROWS, *summarise_rows(ROWS)]).splitlines()))
    assert [row["seed"] for row in rows] == ["0", "7", "mean", "standard deviation"]
    assert float(rows[1]["test_accuracy"]) == 0.975


def test_one_seed_has_no_deviation_and_no_validation_no_accuracy():
    row = {**ROWS[0], "val_accuracy": None}
    mean, deviation = summarise_rows([row])
    assert mean["val_accuracy"] is None and deviation["test_accuracy"] is None
    assert format_markdown([row]).splitlines()[2] == "| 0 | 5 |  | 0.9700 | 0.1000 | 30.3 |"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two seeds of a small recipe, by the tool; an old run of the first is in the way of none."""
    folder = tmp_path_factory.mktemp("seeds")
    (folder / "my.recipe.yaml").write_text(yaml.safe_dump({**SETTINGS, "ema": 0.9}))
    arguments = ["--config", folder / "my.recipe.yaml", "--output-dir", folder / "output"]
    result = tool("train", *arguments, "--seeds", "0,3")
    assert result.returncode == 0, result.stderr
    return folder, result


def results(output):
    for seed in (0, 3):
        yield json.loads((output / f"my-recipe-seed-{seed}" / "metrics.json").read_text())


def test_each_seed_is_a_run_of_its_own_and_the_table_tells_their_results(done):
    folder, result = done
    output = folder / "output"
    assert sorted(p.name for p in output.iterdir()) == [
        *("my-recipe", "my-recipe-seed-0", "my-recipe-seed-3")
    ]
    rows = list(csv.DictReader((output / "my-recipe" / "seeds.csv").read_text().splitlines()))
    accuracies = [metrics["accuracy"] for metrics in results(output)]
    assert [float(row["test_accuracy"]) for row in rows[:2]] == accuracies
    assert float(rows[2]["test_accuracy"]) == pytest.approx(statistics.fmean(accuracies))
    assert [row["epochs"] for row in rows[:2]] == ["2", "2"]
    assert (output / "my-recipe" / "seeds.md").read_text() in result.stdout
    assert accuracies[0] != accuracies[1]


def test_a_seeds_run_equals_the_run_with_that_seed_alone(done):
    seeds_run, alone = (
        done[0] / name / "checkpoints" / "latest" for name in ("output/my-recipe-seed-3", "alone/a")
    )
    train_and_evaluate(config_of(done[0] / "alone", seeds=None, seed=3, name="a"))
    for name in ("model.pdparams", "raw.pdparams", "model.pdopt"):
        assert (seeds_run / name).read_bytes() == (alone / name).read_bytes(), name


def config_of(folder, **settings):
    own = {"ema": 0.9, "seeds": "0,3", "name": "my-recipe", "output_dir": str(folder)}
    return TrainConfig(**{**SETTINGS, **own, **settings})


def test_repeated_it_trains_only_what_is_missing_and_ends_the_same(done, tmp_path, monkeypatch):
    shutil.copytree(done[0] / "output", tmp_path / "output", symlinks=True)
    output = tmp_path / "output"
    table = (output / "my-recipe" / "seeds.csv").read_text().splitlines()
    broken = output / "my-recipe-seed-3"  # as if it had been killed in its second epoch
    shutil.rmtree(broken / "checkpoints" / "epoch_0002")
    shutil.rmtree(broken / "inference")
    (broken / "metrics.json").unlink()
    trained = []
    import lenet_paddle.workflows.seeds as module

    real = module.train_and_evaluate

    def spy(config):
        trained.append((config.name, config.resume))
        return real(config)

    monkeypatch.setattr(module, "train_and_evaluate", spy)
    run_seeds(config_of(output))
    assert trained == [(None, str(broken))]
    again = (output / "my-recipe" / "seeds.csv").read_text().splitlines()
    cells = [[line.split(",")[:5] for line in lines[:3]] for lines in (table, again)]
    assert cells[0] == cells[1]  # all but the seconds


def test_an_evaluation_of_another_checkpoint_is_not_taken_for_the_result(done, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(done[0] / "output" / "my-recipe-seed-0", run, symlinks=True)
    assert Run(run).read_result() is not None
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "checkpoint": "epoch_0009"}))
    assert Run(run).read_result() is None
    (run / "metrics.json").write_text("{")
    assert Run(run).read_result() is None


def test_a_run_that_was_only_evaluated_and_exported_is_not_finished(done, tmp_path):
    folder, _ = done
    shutil.copytree(folder / "output" / "my-recipe-seed-0", run := tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert Run(run).read_result() is not None
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "epochs": config["epochs"] + 1}))
    assert Run(run).read_result() is None


def test_runs_of_other_settings_are_refused_by_name(done):
    output = done[0] / "output"
    with pytest.raises(InputError, match=r"seed-0 was made with other settings \(epochs 2, now 3"):
        run_seeds(config_of(output, epochs=3))
    with pytest.raises(InputError, match=r"seed-0 is not a folder of tables; choose another"):
        run_seeds(dataclasses.replace(config_of(output), name="my-recipe-seed-0"))


def test_the_second_act_of_each_seed_starts_from_its_own_first(done, tmp_path):
    source = str(done[0] / "output" / "my-recipe-seed-{seed}")
    settings = {"init_from": source, "name": "second", "learning_rate": 1e-9, "ema": 0.0}
    config = config_of(tmp_path, epochs=1, limit=64, **settings)
    run_seeds(config)
    for seed, first in zip((0, 3), results(done[0] / "output"), strict=True):
        second = json.loads((tmp_path / f"second-seed-{seed}" / "metrics.json").read_text())
        assert second["accuracy"] == first["accuracy"]
    run_seeds(config)  # both are finished, and their settings are found to be these


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0,x"], ["seeds is '0,x'", "as 0,1,2"]),
        (["--seeds", "0", "--resume", "a"], ["leave out --seeds"]),
        (["--seeds", "0", "--name", "a", "--overwrite"], ["leave out overwrite"]),
        (["--seeds", "0,1", "--init-from", "nowhere-{seed}"], ["nowhere-0: no weights there"]),
    ],
)
def test_wrong_seeds_are_one_line_and_leave_nothing(tmp_path, arguments, words):
    assert_refused(tool("train", *arguments, "--output-dir", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()
