"""The report on MNIST-C: figures worked by hand, the files it writes, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from tools_help import assert_refused, tool

from lenet_paddle import TrainConfig, build_model, load_dataset, train_and_evaluate
from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import CORRUPTIONS, IDENTITY
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.evaluate import evaluate_corruptions, predict_logits
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.evaluation.robustness import (
    compute_error_ratio,
    format_report,
    list_rows,
    summarise_corruption,
    summarise_corruptions,
)
from lenet_paddle.figures.results.robustness import plot_corruptions, plot_worst_mistakes
from lenet_paddle.figures.style import render
from lenet_paddle.figures.words import language
from lenet_paddle.files import format_csv
from lenet_paddle.run_folder import Run
from lenet_paddle.workflows import robustness as module
from lenet_paddle.workflows.evaluate import evaluate_any

DIGITS = tuple("0123456789")


def result_of(num_mistakes: int, num_images: int = 10, loss: float = 1.0) -> dict[str, Any]:
    return {
        "num_images": num_images,
        "num_mistakes": num_mistakes,
        "accuracy": 1 - num_mistakes / num_images,
        "loss": loss,
        "hardest_class": "7",
        "hardest_accuracy": 0.25,
        "worst": [{"index": 3, "label": "7", "predicted": "1", "probability": 0.9}],
    }


# The figures


def test_the_figures_of_a_corruption_are_those_worked_by_hand() -> None:
    # softmax of (ln 3, 0, 0) is 3/5, 1/5, 1/5; class 2 has no image
    answer_0, answer_1 = np.log([[3.0, 1, 1], [1, 3, 1]])
    sure_of_1 = np.log([1.0, 8, 1])
    logits, labels = np.stack([answer_0, answer_0, answer_1, sure_of_1]), np.array([0, 1, 0, 0])
    found = summarise_corruption(logits, labels, ("a", "b", "c"))
    losses = -np.log([3 / 5, 1 / 5, 1 / 5, 1 / 10])
    assert found["loss"] == pytest.approx(losses.mean())
    assert (found["num_images"], found["num_mistakes"], found["accuracy"]) == (4, 3, 1 / 4)
    assert (found["hardest_class"], found["hardest_accuracy"]) == ("b", 0.0)
    assert [m["index"] for m in found["worst"]] == [3, 1, 2]  # equal losses: the earlier first
    assert found["worst"][0] == {
        **{"index": 3, "label": "a", "predicted": "b"},
        "probability": pytest.approx(8 / 10),
    }
    assert json.loads(json.dumps(found)) == found


def test_a_calibrated_report_says_what_is_refused_and_how_right_the_others_are() -> None:
    logits = np.array([[6.0, 0], [2, 0], [0, 6], [0, 6]])
    labels, calibration = np.array([0, 1, 1, 0]), Calibration(2.0, 2.0, 100)
    results = {
        name: summarise_corruption(logits, given, ("a", "b"), calibration=calibration)
        for name, given in (("fog", labels), ("stripe", np.array([0, 0, 1, 1])))
    }
    assert results["fog"]["calibrated"]["refused"] == 0.25
    assert results["fog"]["calibrated"]["answered_accuracy"] == pytest.approx(2 / 3)
    without = summarise_corruption(logits, labels, ("a", "b"))
    assert {**without, "calibrated": results["fog"]["calibrated"]} == results["fog"]
    report = summarise_corruptions(results)
    assert report["mean_refused"] == 0.25
    assert report["mean_answered_accuracy"] == pytest.approx(5 / 6)
    errors = [row["calibrated"]["calibration_error"] for row in results.values()]
    assert report["mean_calibration_error"] == pytest.approx(sum(errors) / 2)
    both = calibration.summarise(np.tile(logits, (2, 1)), np.append([0, 0, 1, 1], labels))
    assert report["calibration_error"] == pytest.approx(both["calibration_error"])
    assert f"{report['calibration_error']:.4f} of all corruptions together" in format_report(report)
    [_, fog, mean] = list_rows(report)
    assert fog["loss"] == without["loss"] and fog["refused"] == mean["refused"] == 0.25
    text = format_report(report)
    assert "unclear" in text and "of the others" in text and "0.8333" in text
    plain = list_rows(summarise_corruptions({"fog": without}))
    assert "refused" not in plain[0]


def test_of_equally_hard_classes_the_first_is_named_and_few_mistakes_are_kept() -> None:
    logits, labels = np.tile([0.0, 0.0, 1.0], (6, 1)), np.array([1, 0, 1, 0, 1, 2])
    found = summarise_corruption(logits, labels, ("a", "b", "c"), num_worst=2)
    assert found["hardest_class"] == "a" and len(found["worst"]) == 2


def test_the_mean_corruption_error_is_that_worked_by_hand() -> None:
    results = {"fog": result_of(3), "stripe": result_of(1), IDENTITY: result_of(1)}
    baseline = {"fog": result_of(4), "stripe": result_of(5), IDENTITY: result_of(2)}
    report = summarise_corruptions(results, baseline)
    ratios = {name: row["error_ratio"] for name, row in report["corruptions"].items()}
    assert ratios == {"stripe": 1 / 5, "fog": 3 / 4, IDENTITY: 1 / 2}
    assert report["mce"] == (1 / 5 + 3 / 4) / 2 and report["mce_without"] == []
    assert report["baseline_mean_accuracy"] == pytest.approx((0.6 + 0.5) / 2)


def test_where_the_baseline_makes_no_mistake_there_is_no_ratio_and_the_table_says_so() -> None:
    assert compute_error_ratio(2, 0) is None and compute_error_ratio(0, 0) is None
    results = {"fog": result_of(3), "stripe": result_of(1)}
    baseline = {"fog": result_of(4), "stripe": result_of(0)}
    report = summarise_corruptions(results, baseline)
    assert report["mce"] == 3 / 4 and report["mce_without"] == ["stripe"]
    assert "no ratio: stripe: the baseline makes no mistake there" in format_report(report)
    perfect = summarise_corruptions(results, {name: result_of(0) for name in results})
    assert perfect["mce"] is None and "mCE: no ratio" in format_report(perfect)


def test_a_network_compared_with_itself_has_an_mce_of_1() -> None:
    results = {name: result_of(i + 1, 40) for i, name in enumerate(CORRUPTIONS)}
    assert summarise_corruptions(results, results)["mce"] == 1


def test_the_mean_counts_each_corruption_alike_and_leaves_out_the_clean_images() -> None:
    results = {
        "fog": result_of(5, 10, loss=2.0),
        "stripe": result_of(0, 1000, loss=0.5),
        IDENTITY: result_of(0, 10, loss=0.0),
    }
    report = summarise_corruptions(results)
    assert report["mean_accuracy"] == 0.75 and report["mean_loss"] == 1.25
    assert (report["clean_accuracy"], report["clean_loss"]) == (1.0, 0.0)
    assert "mce" not in report


def test_missing_corruptions_are_named_and_the_mean_says_over_how_many_it_is() -> None:
    report = summarise_corruptions({"fog": result_of(5), "shear": result_of(1)})
    assert report["num_corruptions"] == 2 and report["clean_accuracy"] is None
    assert report["missing"] == [name for name in CORRUPTIONS if name not in ("fog", "shear")]
    text = format_report(report)
    assert "mean over 2 of 15" in text and f"missing: {', '.join(report['missing'])}" in text
    assert "there is no folder identity" in text
    full = summarise_corruptions({name: result_of(1) for name in (*CORRUPTIONS, IDENTITY)})
    text = format_report(full)
    assert "mean over 15" in text and "of 15" not in text and "missing" not in text


def test_the_rows_are_in_the_papers_order_then_the_mean_then_the_clean_images() -> None:
    results = {name: result_of(2) for name in (IDENTITY, *reversed(CORRUPTIONS))}
    rows = list_rows(summarise_corruptions(results, results))
    assert [row["corruption"] for row in rows] == [*CORRUPTIONS, "mean over 15", IDENTITY]
    assert rows[15]["error_ratio"] == 1 and rows[15]["hardest_class"] is None


def test_the_csv_holds_all_digits() -> None:
    report = summarise_corruptions({"fog": result_of(1, 3), "shear": result_of(1)})
    rows = list(csv.DictReader(format_csv(list_rows(report)).splitlines()))
    assert float({row["corruption"]: row for row in rows}["fog"]["accuracy"]) == 1 - 1 / 3
    assert "baseline_accuracy" not in rows[0]


# A network over the sets


class CountedImages:
    """Images that note how many are asked for at once."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.most = images, 0
        self.shape, self.ndim, self.dtype = images.shape, images.ndim, images.dtype

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        self.most = max(self.most, len(np.atleast_1d(chosen)))
        return self.images[chosen]


def test_the_loss_weighs_a_partial_batch_by_its_images(rng: np.random.Generator) -> None:
    paddle.seed(0)
    network = build_model("mlp", 10)
    images = rng.integers(0, 256, (50, 28, 28)).astype(np.uint8)
    image_set = ImageSet(images, rng.integers(0, 10, 50), DIGITS)
    found = evaluate_corruptions(network, {"fog": image_set}, batch_size=32)["fog"]
    logits = paddle.to_tensor(predict_logits(network, image_set, batch_size=50))
    expected = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(image_set.labels))
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_images_are_read_a_batch_at_a_time(rng: np.random.Generator) -> None:
    images: Any = CountedImages(rng.integers(0, 256, (50, 28, 28)).astype(np.uint8))
    sets = {"fog": ImageSet(images, np.arange(50) % 10, DIGITS)}
    evaluate_corruptions(build_model("mlp", 10), sets, batch_size=16)
    assert images.most == 16


# The pictures


@pytest.mark.parametrize("with_baseline", [False, True])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_chart_puts_the_hardest_first_and_names_the_means(
    lang: str, with_baseline: bool
) -> None:
    results = {"fog": result_of(5), "shear": result_of(7), IDENTITY: result_of(1)}
    report = summarise_corruptions(results, results if with_baseline else None)
    with language(lang):
        figure = plot_corruptions(report, "mine", "other" if with_baseline else None)
        assert render(figure).std() > 0
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["shear", "fog", {"en": "clean", "zh": "无失真"}[lang]]
    widths = [round(bar.get_width(), 6) for bar in figure.axes[0].patches]
    assert widths == [0.3, 0.5, 0.9] * (1 + with_baseline)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    mean = {"en": "mean over 2 of 15", "zh": "15 种失真中 2 种的平均"}[lang]
    assert legend[0] == f"mine ({mean}: 0.4000)" and len(legend) == 1 + with_baseline
    assert {line.get_xdata()[0] for line in figure.axes[0].get_lines()} == {0.4}


def test_the_sheet_shows_each_mistake_under_its_corruption() -> None:
    results = {"fog": result_of(5), "shear": {**result_of(0), "worst": []}, "zigzag": result_of(1)}
    report = summarise_corruptions(results)
    images = {
        name: np.full((len(row["worst"]), 28, 28), i, np.uint8)
        for i, (name, row) in enumerate(report["corruptions"].items())
    }
    with language("zh"):
        figure = plot_worst_mistakes(report, images, "mine")
        assert render(figure).std() > 0
    shown = {a.get_ylabel().split("\n")[0]: a for a in figure.axes if a.get_ylabel()}
    assert list(shown) == ["shear", "fog", "zigzag"]
    assert shown["fog"].get_title() == "7 → 1\np = 0.90"
    assert (shown["fog"].get_images()[0].get_array() == images["fog"][0]).all()
    assert not shown["shear"].get_images()


# The tool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data: the folder of a mnist_c of 40 images each; runs a, b of its digits, c of three classes.

    An image of class i has a bar in row 2 i; a corruption shifts it or adds noise.
    """
    path = tmp_path_factory.mktemp("robustness")
    rng = np.random.default_rng(0)
    clean, labels = np.zeros((40, 28, 28), np.uint8), np.arange(40) % 10
    clean[np.arange(40), 4 + 2 * labels, 4:24] = 250
    corrupted = {
        IDENTITY: clean,
        "fog": np.maximum(clean, rng.integers(0, 250, clean.shape)).astype(np.uint8),
        "translate": np.roll(clean, 1, axis=1),
    }
    for name, images in corrupted.items():
        target = path / "data" / "mnist_c" / name
        target.mkdir(parents=True)
        for part in ("train", "test"):
            np.save(target / f"{part}_images.npy", images[..., None])
            np.save(target / f"{part}_labels.npy", labels)
    for name, num_classes in (("a", 10), ("b", 10), ("c", 3)):
        x, y = np.tile(clean[:num_classes], (20, 1, 1)), np.tile(labels[:num_classes], 20)
        np.savez(path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
        config = TrainConfig(
            **{"model": "mlp", "dataset": "npz", "data_dir": str(path / f"{name}.npz")},
            **{"epochs": 3, "batch_size": 16, "seed": ord(name)},
            **{"output_dir": str(path), "name": name},
        )
        train_and_evaluate(config)
    return path


def test_the_report_is_printed_as_json_alone_and_written_into_the_run(folder: Path) -> None:
    run = folder / "a"
    before = {p for p in run.rglob("*") if p.is_file()}
    arguments = ["--run", run, "--dataset", "mnist_c", "--data-dir", folder / "data"]
    done = tool("evaluate", *arguments, "--baseline", folder / "b", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((run / "metrics-mnist_c.json").read_text())
    assert list(report["corruptions"]) == ["translate", "fog", IDENTITY]
    best = (folder / "b" / "checkpoints" / "best").readlink().name
    assert report["baseline"] == {"run": "b", "model": "mlp", "checkpoint": best}
    after = {p for p in run.rglob("*") if p.is_file()}
    assert {str(p.relative_to(run)) for p in after - before} == {
        *("metrics-mnist_c.json", "mnist_c.csv", "figures/mnist_c.png"),
        "figures/mnist_c-mistakes.png",
    }
    with (run / "mnist_c.csv").open() as file:
        rows = {row["corruption"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["translate", "fog", "mean over 2 of 15", IDENTITY]
    assert float(rows["mean over 2 of 15"]["accuracy"]) == report["mean_accuracy"]
    for name, row in report["corruptions"].items():
        assert float(rows[name]["baseline_accuracy"]) == row["baseline_accuracy"]


def test_the_baseline_is_evaluated_on_the_same_images(folder: Path) -> None:
    data_dir = str(folder / "data" / "mnist_c")
    own = module.evaluate_robustness(folder / "b", data_dir=data_dir)
    beside = module.evaluate_robustness(folder / "a", data_dir=data_dir, baseline=folder / "b")
    for name, row in beside["corruptions"].items():
        assert row["baseline_accuracy"] == own["corruptions"][name]["accuracy"]
    assert own["clean_accuracy"] > own["mean_accuracy"]  # it has learnt something


def test_the_printed_table_has_a_line_a_corruption(folder: Path) -> None:
    _, text = evaluate_any(folder / "b", dataset="mnist_c", data_dir=str(folder / "data"))
    first = [line.split(" ")[0] for line in text.splitlines()]
    assert first[:5] == ["corruption", "translate", "fog", "mean", IDENTITY]


def test_the_mapped_files_stay_on_the_disk_and_a_foreign_folder_is_named_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "data" / "mnist_c" / "frost").mkdir()
    with caplog.at_level("INFO"):
        sets = module.load_sets(folder / "data", DIGITS)
    for image_set in sets.values():
        assert isinstance(image_set.images, np.memmap)
    assert caplog.text.count("frost") == 1


def test_just_one_source_of_images_is_wanted(folder: Path) -> None:
    done = tool("evaluate", "--run", folder / "a", "--dataset", "mnist_c")
    assert_refused(done, "--data-dir", "--generated", "tools/corrupt.py", "got neither")
    with pytest.raises(InputError, match=r"--data-dir .* --generated .* got both"):
        module.evaluate_robustness(folder / "a", data_dir="x", generated=True)
    with pytest.raises(InputError, match="nowhere: is not a folder"):
        module.evaluate_robustness(folder / "a", data_dir="nowhere")


def test_flags_of_the_report_are_refused_for_other_data(folder: Path) -> None:
    with pytest.raises(InputError, match="--generated belongs to --dataset mnist_c"):
        evaluate_any(folder / "a", generated=True)
    with pytest.raises(
        InputError, match="scale 255 is for dataset npz and csv; dataset is mnist_c"
    ):
        evaluate_any(folder / "a", dataset="mnist_c", generated=True, scale=255)
    with pytest.raises(InputError, match="skip_unreadable True is for dataset folder"):
        evaluate_any(folder / "a", dataset="mnist_c", generated=True, skip_unreadable=True)
    with pytest.raises(InputError, match="--baseline belongs to --dataset mnist_c"):
        evaluate_any(folder / "a", dataset="mnist", baseline=folder / "b")


def test_other_classes_are_refused(folder: Path) -> None:
    data_dir = str(folder / "data")
    with pytest.raises(InputError, match="trained on 0, 1, 2: --generated"):
        module.evaluate_robustness(folder / "c", data_dir=data_dir)
    with pytest.raises(InputError, match="a baseline needs the run's classes"):
        module.evaluate_robustness(folder / "a", data_dir=data_dir, baseline=folder / "c")


def test_a_folder_with_clean_images_only_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "data" / "mnist_c" / IDENTITY, tmp_path / IDENTITY)
    with pytest.raises(InputError, match="holds identity only"):
        module.evaluate_robustness(folder / "a", data_dir=str(tmp_path))


def test_generated_are_the_runs_own_test_images_under_all_15(folder: Path) -> None:
    report = module.evaluate_robustness(folder / "c", generated=True, baseline=folder / "c")
    assert report["missing"] == [] and report["source"] == "npz, corrupted with seed 0"
    assert list(report["corruptions"]) == [*CORRUPTIONS, IDENTITY]
    run = Run.open(folder / "c")
    config, (network, _) = run.config, run.load_network()
    [own] = load_data(config, "test")
    for name in ("stripe", "fog", IDENTITY):
        image_set = dataclasses.replace(own, images=corrupt(own.images, name, seed=0))
        logits = predict_logits(network, image_set)
        losses = -np.log(compute_probs(logits)[np.arange(30), own.labels])
        assert report["corruptions"][name]["loss"] == pytest.approx(losses.mean())


def test_a_run_trained_on_mnist_c_gets_clean_digits_to_corrupt(folder: Path) -> None:
    settings = {"dataset": "mnist_c", "data_dir": str(folder / "data"), "corruption": "fog"}
    config = TrainConfig(
        **{"model": "mlp", "epochs": 1, "name": "d", "output_dir": str(folder), **settings}
    )
    train_and_evaluate(config)
    subject = module._Subject.load(folder / "d", "best")
    images, source = module._load_clean_set(subject)
    assert (images.images == load_dataset("mnist", "test").images).all()
    assert source == "mnist, corrupted with seed 0"


def test_without_scikit_image_generating_stops_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    monkeypatch.setattr(module, "Progress", None)  # is not reached
    with pytest.raises(InputError, match="scikit-image is not installed"):
        module.evaluate_robustness(folder / "c", generated=True)
