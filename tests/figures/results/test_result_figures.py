"""Figures of data, of training and of evaluations: what they show is what was measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from figures_help import draw, texts_of
from matplotlib.figure import Figure

from lenet_paddle import load_dataset
from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import CORRUPTIONS
from lenet_paddle.data.mnist_c import write_mnist_c
from lenet_paddle.data.transforms import Augmentation
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.metrics import compute_calibration
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.results.calibration import plot_calibration
from lenet_paddle.figures.results.curves import plot_curves
from lenet_paddle.figures.results.embedding import plot_embedding
from lenet_paddle.figures.results.samples import measure_pixels, plot_samples
from lenet_paddle.figures.visualize import visualize
from lenet_paddle.settings import read_yaml


def test_augment_shows_each_original_above_its_variants() -> None:
    image = _pixels(draw("augment", images=["3", "17"])["augment"])
    originals = load_dataset("mnist", "test").images[[3, 17]]
    np.testing.assert_array_equal(image[:28, :28], originals[0])
    np.testing.assert_array_equal(image[:28, 31:59], originals[1])
    light = Augmentation(augment="light")(originals, np.random.default_rng(1))
    np.testing.assert_array_equal(image[31:59, :28], light[0])


def test_augment_draws_a_small_set_whole(tmp_path: Path) -> None:
    few = load_dataset("mnist", "test").take(slice(0, 8))
    arrays = {
        f"{k}_{s}": v
        for s in ("train", "test")
        for k, v in zip("xy", (few.images, np.arange(8)), strict=True)
    }
    np.savez(tmp_path / "few.npz", **arrays)
    drawn = draw("augment", dataset="npz", data_dir=str(tmp_path / "few.npz"))
    assert set(drawn) == {"augment", "augment-ranges"}


def test_augment_shows_the_pictures_that_are_no_digits_of_a_run_with_them(
    run: str, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(run, tmp_path / "own"))
    settings = read_yaml(own / "config.yaml")
    for outliers in (0.0, 0.2):
        changed = {**settings, "augment": "light", "outliers": outliers}
        (own / "config.yaml").write_text(yaml.safe_dump(changed))
        figure = draw("augment", run=[str(own)], images=["3", "17"])["augment"]
        assert ("no digits" in texts_of(figure)) == bool(outliers)
        assert len(_pixels(figure)) == 31 * (6 if outliers else 5) - 3


def _pixels(figure: Figure) -> np.ndarray:
    """The pixels of the figure's one image."""
    [axes] = figure.axes
    return np.asarray(axes.images[0].get_array())


def test_samples_count_what_the_set_holds(run: str) -> None:
    text = texts_of(draw("samples", run=[run])["samples"])
    assert "64 of 640 training images" in text
    images = np.zeros((4, 28, 28), np.uint8)
    images[3] = 200
    figure = plot_samples(images, np.array([0, 0, 0, 1]), ("a", "b"), np.array([0, 3]))
    text = texts_of(figure)
    assert "class balance: 1 to 3" in text
    assert "mean 50.0, deviation 86.6, 75% are 0" in text


@pytest.mark.parametrize("most", [60, 256])
def test_counts_of_values_have_plain_numbers_also_within_one_power_of_ten(most: int) -> None:
    images = np.random.default_rng(0).integers(0, most, (20, 32, 32, 3)).astype(np.uint8)
    figure = plot_samples(images, np.arange(20) % 2, ("a", "b"), np.array([0, 3]))
    figure.canvas.draw()
    [pixels] = [axes for axes in figure.axes if axes.get_yscale() == "log"]
    minor = [label.get_text() for label in pixels.get_yticklabels(which="minor")]
    assert all(re.fullmatch(r"[0-9,]*", text) for text in minor) and any(minor)


def _rows(train: list[float], val: list[float]) -> list[dict[str, float]]:
    return [
        {
            "epoch": n + 1,
            "train_loss": t,
            "val_loss": v,
            "train_accuracy": 1 - t / 10,
            "val_accuracy": 1 - v / 10,
        }
        for n, (t, v) in enumerate(zip(train, val, strict=True))
    ]


def test_the_overfitting_gap_starts_at_the_lowest_val_loss() -> None:
    figure = plot_curves({"a": _rows([3, 2, 1, 0.5], [3, 2, 2.5, 3])})
    loss, _ = figure.axes
    [band] = loss.collections
    assert band.get_paths()[0].vertices[:, 0].min() == 2  # the epoch
    assert "overfitting gap, 2.500 at the end" in texts_of(figure)


def test_no_gap_is_marked_where_the_val_loss_still_falls() -> None:
    figure = plot_curves({"a": _rows([3, 2, 1], [3, 2.5, 2])})
    assert not figure.axes[0].collections


def test_curves_compare_runs_of_one_name(run: str) -> None:
    [figure] = draw("curves", run=[run, run]).values()
    assert len(figure.axes[0].lines) >= 2
    other = {"first": _rows([2, 1], [2, 1]), "second": _rows([3, 1], [3, 2])}
    text = texts_of(plot_curves(other))
    assert all(f"{name}, {split}" in text for name in other for split in ("train", "val"))


def test_the_curves_of_a_run_that_goes_on_from_another_go_on_where_that_ended(
    run: str, tmp_path: Path
) -> None:
    second, third = tmp_path / "second", tmp_path / "third"
    for path, source in ((second, Path(run)), (third, second)):
        shutil.copytree(run, path)
        settings = yaml.safe_load((path / "config.yaml").read_text())
        settings["init_from"] = str(source / "checkpoints" / "epoch_0002" / "model.pdparams")
        (path / "config.yaml").write_text(yaml.safe_dump(settings))
    figure = draw("curves", run=[str(third), run, str(second)])["curves"]
    starts = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert starts == [5, 1, 3]
    figure = draw("curves", run=[str(second)])["curves"]  # alone it begins at 1
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2]


def test_titles_name_the_model_and_the_data_not_the_folder(run: str) -> None:
    for what in ("curves", "filters", "confusion"):
        title = draw(what, run=[run])[what].get_suptitle()
        assert "lenet_builtin on mnist" in title + texts_of(draw(what, run=[run])[what]), what


def test_the_reliability_diagram_shows_the_bins_and_the_error(rng: np.random.Generator) -> None:
    probs = rng.dirichlet(np.full(4, 0.5), 300)
    error, bins = compute_calibration(probs, rng.integers(0, 4, 300))
    figure = plot_calibration(error, bins)
    bars = figure.axes[0].containers[0]
    used = bins["count"] > 0
    np.testing.assert_allclose([bar.get_height() for bar in bars], bins["accuracy"][used])
    tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].containers[1]]
    np.testing.assert_allclose(tops, bins["confidence"][used])
    assert f"{error:.4f}" in texts_of(figure)


def test_confusion_and_mistakes_are_those_of_the_evaluation(run: str) -> None:
    metrics = json.loads((Path(run) / "metrics.json").read_text())
    matrix = np.array(metrics["confusion_matrix"])
    figure = draw("confusion", run=[run])["confusion"]
    numbers = [int(text.get_text()) for text in figure.axes[0].texts]
    assert numbers == matrix[matrix > 0].tolist()
    wrong = matrix.sum() - np.trace(matrix)
    assert f"of {wrong} mistakes in 300 images" in texts_of(draw("mistakes", run=[run])["mistakes"])


def test_the_pixels_of_a_set_are_measured_slice_by_slice(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (5000, 6, 5)).astype(np.uint8)
    counts, mean, deviation = measure_pixels(images)
    np.testing.assert_array_equal(counts, np.bincount(images.ravel(), minlength=256))
    np.testing.assert_allclose(mean, images.mean(axis=0))
    np.testing.assert_allclose(deviation, images.std(axis=0))


def test_samples_of_memory_mapped_arrays_are_drawn(tmp_path: Path) -> None:
    digits = load_dataset("mnist", "test").take(slice(0, 200))
    for name, array in (("x", digits.images), ("y", digits.labels)):
        np.save(tmp_path / f"{name}_train.npy", array)
        np.save(tmp_path / f"{name}_test.npy", array)
    out = tmp_path / "a.png"
    config = VisualizeConfig("samples", dataset="npz", data_dir=str(tmp_path), out=str(out))
    assert visualize(config) == [out] and out.is_file()


def test_corruptions_are_drawn_of_chosen_digits_or_as_a_folder_has_them(tmp_path: Path) -> None:
    digits = load_dataset("mnist", "test").take(slice(0, 5))
    names = ("fog", "canny_edges", "identity")
    write_mnist_c(tmp_path, names, limit=5, parts=["test"])
    folder = {"dataset": "mnist_c", "data_dir": str(tmp_path), "images": ["4", "1"]}
    shown = draw("corruptions", **folder)["corruptions"].axes[0].images[0].get_array()
    for row, name in enumerate(names):
        corrupted = corrupt(digits.images, name)
        for col, position in enumerate((4, 1)):
            part = shown[31 * row : 31 * row + 28, 31 * col : 31 * col + 28]
            np.testing.assert_array_equal(part, corrupted[position])
    texts = texts_of(draw("corruptions", images=["4", "1"])["corruptions"])
    assert [name for name in CORRUPTIONS if name.replace("_", " ") not in texts] == []
    with pytest.raises(InputError, match="'5'; expected positions of test images, 0 to 4"):
        draw("corruptions", **{**folder, "images": ["5"]})


def test_the_figure_shows_each_accuracy_and_names_each_cloud():
    labels = np.repeat([0, 1, 2], 60)
    places = np.random.default_rng(0).normal(size=(180, 2))
    names = ["ankle boot", "bag", "coat"]
    figure = plot_embedding({"PCA": places, "again": places}, labels, names, {"own": 0.98765})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == [*names, *names, "0.9877"]
    assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections) == 180
