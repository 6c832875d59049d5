"""Temperature and threshold from validation logits."""

import numpy as np
import pytest

from lenet_paddle import InputError
from lenet_paddle.evaluation.calibration import (
    Calibration,
    fit_calibration,
    fit_temperature,
    fit_threshold,
    read_calibration,
)
from lenet_paddle.evaluation.metrics import (
    compute_calibration,
    compute_losses,
    compute_probs,
)

GOOD = {"temperature": 1.5, "threshold": 4.25, "num_images": 5000}


def sample(num_images, sharpness, seed=0):
    """Labels drawn from the softmax of logits, which are then made too sharp or too flat."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (num_images, 10))
    chosen = compute_probs(logits).cumsum(1) > rng.random((num_images, 1))
    return (sharpness * logits).astype(np.float32), chosen.argmax(1)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_temperature_is_that_of_the_lowest_loss(sharpness):
    logits, labels = sample(3000, sharpness)
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 2001))
    losses = [compute_losses(logits / t, labels).mean() for t in grid]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=0.003)
    assert found == pytest.approx(sharpness, rel=0.1)


def test_temperature_equals_a_reference_minimisation():
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = sample(1000, 1.7)
    best = optimize.minimize_scalar(
        lambda t: compute_losses(logits / t, labels).mean(), bounds=(0.1, 10), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    assert fit_temperature(logits, labels) == pytest.approx(best.x, rel=1e-5)


def test_calibration_error_falls_on_over_confident_logits():
    logits, labels = sample(4000, 3.0)
    others, true = sample(4000, 3.0, seed=1)
    before = compute_calibration(compute_probs(others), true)[0]
    after = fit_calibration(logits, labels).summarise(others, true)
    assert before > 0.1
    assert after["calibration_error"] < 0.02
    assert np.abs(after["gaps"]).sum() == pytest.approx(after["calibration_error"])
    assert after["loss"] < compute_losses(others, true).mean()


def test_temperature_is_1_where_every_answer_is_right():
    logits = np.eye(10, dtype=np.float32)
    assert fit_temperature(logits, np.arange(10)) == 1
    assert fit_temperature(logits, (np.arange(10) + 1) % 10) == pytest.approx(10)  # the highest


def test_threshold_refuses_one_percent_of_the_validation_images():
    scores = np.random.default_rng(0).normal(size=5000)
    assert (scores < fit_threshold(scores)).sum() == 50
    assert (scores[:99] < fit_threshold(scores[:99])).sum() == 0
    logits, labels = sample(1000, 2)
    calibration = fit_calibration(logits, labels)
    assert calibration.accepts(calibration.scale(logits)).sum() == 990
    assert calibration.num_images == 1000


def test_answers_of_a_class_are_the_same_before_and_after():
    logits, labels = sample(500, 2)
    scaled = fit_calibration(logits, labels).scale(logits)
    assert scaled.dtype == np.float32
    assert (scaled.argmax(1) == logits.argmax(1)).all()


@pytest.mark.parametrize("preprocess, num_classes", [("resize", 10), ("digit", 47)])
def test_pictures_that_are_no_digits_have_no_threshold(preprocess, num_classes):
    logits = np.random.default_rng(0).normal(size=(200, num_classes))
    labels = np.arange(200) % num_classes
    calibration = fit_calibration(logits, labels, preprocess)
    assert calibration.threshold is None
    assert calibration.accepts(logits).all()
    result = calibration.summarise(logits, labels)
    assert result["refused"] is result["answered_accuracy"] is None


def test_summary_counts_the_refused_and_the_accuracy_of_the_others():
    logits = np.array([[8, 0], [6, 0], [0, 4], [0, 1]], np.float32)
    found = Calibration(2, 2, 100).summarise(logits, np.array([0, 1, 1, 0]))
    assert found["refused"] == 0.25
    assert found["answered_accuracy"] == pytest.approx(2 / 3)
    assert Calibration(2, 9, 100).summarise(logits, np.array([0] * 4))["answered_accuracy"] is None


def test_logits_that_are_not_finite_are_not_calibrated():
    assert fit_calibration(np.array([[np.nan, 1.0]]), np.array([0])) is None


def test_the_huge_logits_of_a_diverging_training_are_not_calibrated():
    logits = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    assert fit_calibration(logits * 1e30, np.zeros(50, int)) is None
    assert fit_calibration(logits * 1e4, np.zeros(50, int)) is not None


def test_calibration_is_read_as_it_was_written():
    calibration = Calibration(**GOOD)
    values = {"checkpoint": "epoch_0001", **calibration.to_dict()}
    assert read_calibration(values, "x") == calibration


HOSTILE = [
    *({**GOOD, "temperature": value} for value in (float("nan"), 0, -1, 1e9, "2", None, True)),
    *({**GOOD, "threshold": value} for value in (float("nan"), float("inf"), "low", [1], 10**400)),
    *({**GOOD, "num_images": value} for value in (0, -5, 1.5, None)),
    *({k: v for k, v in GOOD.items() if k != name} for name in GOOD),
    *([], "text", 3, None),
]


@pytest.mark.parametrize("values", HOSTILE, ids=repr)
def test_a_hostile_calibration_is_refused_in_one_line(values):
    with pytest.raises(InputError, match=r"^some\.yml: ") as caught:
        read_calibration(values, "some.yml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
