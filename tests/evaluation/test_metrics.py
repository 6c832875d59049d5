"""The figures of a classifier: worked by hand where small, against scikit-learn where large."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from lenet_paddle.evaluation import metrics


@pytest.fixture
def logits(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 3, (500, 6)).astype(np.float32)


@pytest.fixture
def labels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 6, 500)


# Six samples of three classes. true: 0 0 0 1 1 2, predicted: 0 1 0 1 1 1.
#            predicted 0  1  2
#   true 0            2  1  0
#   true 1            0  2  0
#   true 2            0  1  0
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDS = np.array([0, 1, 0, 1, 1, 1])
CONFUSION = [[2, 1, 0], [0, 2, 0], [0, 1, 0]]


def test_the_confusion_matrix_has_the_true_class_in_rows() -> None:
    assert metrics.count_confusion(PREDS, LABELS, 3).tolist() == CONFUSION
    assert metrics.compute_accuracy(PREDS, LABELS) == pytest.approx(4 / 6)


def test_per_class_figures_are_those_worked_by_hand() -> None:
    found = metrics.compute_per_class(np.array(CONFUSION))
    # precision: 2 of 2 said to be 0 are right; 2 of 4 said to be 1; nothing said to be 2
    assert found["precision"].tolist() == [1.0, 0.5, 0.0]
    # recall: 2 of 3, 2 of 2, 0 of 1
    assert found["recall"].tolist() == [2 / 3, 1.0, 0.0]
    # f1 = 2 * right / (true + predicted): 4 / 5, 4 / 6, 0 / 1
    assert found["f1"].tolist() == [4 / 5, 4 / 6, 0.0]
    assert found["support"].tolist() == [3, 2, 1]


def test_a_class_without_samples_and_predictions_has_only_zeros() -> None:
    found = metrics.compute_per_class(np.array([[3, 0], [0, 0]]))
    assert {name: column[1] for name, column in found.items()} == {
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "support": 0,
    }
    assert np.isfinite(np.array(list(found.values()))).all()


def test_probabilities_and_losses_are_those_worked_by_hand() -> None:
    # exp(0) : exp(ln 3) = 1 : 3, so p = 1/4, 3/4; the losses are -ln 3/4 and -ln 1/4
    logits = np.array([[0.0, np.log(3)], [0.0, np.log(3)]])
    np.testing.assert_allclose(metrics.compute_probs(logits), [[0.25, 0.75]] * 2)
    losses = metrics.compute_losses(logits, np.array([1, 0]))
    np.testing.assert_allclose(losses, [-np.log(0.75), -np.log(0.25)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_do_not_overflow(dtype: type) -> None:
    logits = np.array([[1e30, 0, -1e30], [-1e5, -1e5, -1e5], [1e4, 0, 0]], dtype)
    with np.errstate(all="raise", under="ignore"):
        probs = metrics.compute_probs(logits)
        losses = metrics.compute_losses(logits, np.array([0, 0, 1]))
    np.testing.assert_allclose(probs, [[1, 0, 0], [1 / 3] * 3, [1, 0, 0]])
    np.testing.assert_allclose(losses, [0, np.log(3), 1e4])  # the last: ln(e^10000 + 2) - 0


def test_probabilities_do_not_change_with_a_shift(logits: np.ndarray) -> None:
    probs = metrics.compute_probs(logits.astype(np.float64))
    np.testing.assert_allclose(metrics.compute_probs(logits.astype(np.float64) + 700), probs)
    np.testing.assert_allclose(probs.sum(axis=1), 1)


@pytest.mark.parametrize(("k", "expected"), [(1, 1 / 3), (2, 2 / 3), (3, 1.0)])
def test_top_k_counts_the_labels_among_the_k_highest(k: int, expected: float) -> None:
    scores = np.array([[3, 2, 1], [3, 2, 1], [3, 2, 1]])
    assert metrics.compute_top_k_accuracy(scores, np.array([0, 1, 2]), k) == expected


def test_of_equal_scores_the_lower_class_ranks_first_as_with_argmax() -> None:
    scores = np.array([[1.0, 1.0, 0.0]] * 3)
    hits = [
        [metrics.compute_top_k_accuracy(scores[:1], np.array([label]), k) for k in (1, 2, 3)]
        for label in range(3)
    ]
    assert hits == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def test_top_1_is_accuracy_even_where_scores_tie(rng: np.random.Generator) -> None:
    scores = rng.integers(0, 3, (300, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 300)
    accuracy = metrics.compute_accuracy(scores.argmax(axis=1), labels)
    assert metrics.compute_top_k_accuracy(scores, labels, 1) == accuracy


# Four samples of two classes with confidence and rightness
#   0.9 right, 0.8 wrong, 0.6 right, 0.6 right.
PROBS = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
TRUE = np.array([0, 0, 0, 1])


def test_calibration_is_that_worked_by_hand() -> None:
    # Bins of a fifth: (0.4, 0.6] holds 2 with accuracy 1, confidence 0.6; (0.6, 0.8] one, 0, 0.8;
    # (0.8, 1] one, 1, 0.9. The error: 2/4 * 0.4 + 1/4 * 0.8 + 1/4 * 0.1 = 0.425.
    error, bins = metrics.compute_calibration(PROBS, TRUE, num_bins=5)
    assert error == pytest.approx(0.425)
    assert bins["count"].tolist() == [0, 0, 2, 1, 1]
    np.testing.assert_allclose(bins["accuracy"], [0, 0, 1, 0, 1])
    np.testing.assert_allclose(bins["confidence"], [0, 0, 0.6, 0.8, 0.9])


def test_calibration_averages_within_a_bin() -> None:
    # One bin holds all: accuracy 3/4, confidence (0.9 + 0.8 + 0.6 + 0.6) / 4 = 0.725.
    assert metrics.compute_calibration(PROBS, TRUE, num_bins=1)[0] == pytest.approx(0.025)


def test_certain_and_right_is_perfectly_calibrated() -> None:
    error, bins = metrics.compute_calibration(np.eye(3), np.arange(3))
    assert error == 0
    assert bins["count"].tolist() == [0] * 14 + [3]


def test_a_flat_guess_among_many_classes_falls_into_the_first_bin() -> None:
    error, bins = metrics.compute_calibration(np.full((4, 20), 1 / 20), np.array([0, 1, 2, 3]))
    assert bins["count"].tolist() == [4] + [0] * 14
    assert error == pytest.approx(1 / 4 - 1 / 20)


def test_a_probability_that_rounding_lifts_above_1_falls_into_the_last_bin() -> None:
    above = np.nextafter(1.0, 2.0)
    bins = metrics.compute_calibration(np.array([[above, 0.0]]), np.array([0]))[1]
    assert bins["count"].tolist() == [0] * 14 + [1]


def test_a_network_that_answers_nan_has_no_calibration_and_does_not_crash() -> None:
    with np.errstate(invalid="ignore"):  # the cast of NaN to a bin's number
        error = metrics.compute_calibration(np.full((2, 3), np.nan), np.array([0, 1]))[0]
    assert np.isnan(error)


def test_the_figures_agree_with_scikit_learn(logits: np.ndarray, labels: np.ndarray) -> None:
    preds = logits.argmax(axis=1)
    confusion = metrics.count_confusion(preds, labels, 6)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(labels, preds))
    columns = metrics.compute_per_class(confusion)
    expected = reference.precision_recall_fscore_support(labels, preds, zero_division=0)
    for name, column in zip(["precision", "recall", "f1", "support"], expected, strict=True):
        np.testing.assert_allclose(columns[name], column, rtol=1e-12, err_msg=name)
    assert metrics.compute_accuracy(preds, labels) == reference.accuracy_score(labels, preds)
    probs = metrics.compute_probs(logits)
    loss = reference.log_loss(labels, probs)
    assert metrics.compute_losses(logits, labels).mean() == pytest.approx(loss, rel=1e-12)
    for k in (1, 2, 3, 5):
        assert metrics.compute_top_k_accuracy(logits, labels, k) == pytest.approx(
            reference.top_k_accuracy_score(labels, logits, k=k)
        )


def test_a_class_that_no_one_has_or_predicts_agrees_with_scikit_learn() -> None:
    labels, preds = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 1])
    columns = metrics.compute_per_class(metrics.count_confusion(preds, labels, 5))
    expected = reference.precision_recall_fscore_support(
        labels, preds, labels=range(5), zero_division=0
    )
    for name, column in zip(["precision", "recall", "f1", "support"], expected, strict=True):
        np.testing.assert_allclose(columns[name], column, err_msg=name)


def test_the_summary_holds_every_figure_and_survives_json(
    logits: np.ndarray, labels: np.ndarray
) -> None:
    classes = tuple("abcdef")
    summary = metrics.summarise(logits, labels, classes)
    assert json.loads(json.dumps(summary)) == summary
    preds = logits.argmax(axis=1)
    assert summary["num_images"] == 500
    assert summary["accuracy"] == summary["top_k"]["1"] == np.mean(preds == labels)
    assert list(summary["top_k"]) == ["1", "2", "3", "5"]
    assert summary["loss"] == pytest.approx(metrics.compute_losses(logits, labels).mean())
    assert summary["confusion_matrix"] == reference.confusion_matrix(labels, preds).tolist()
    assert list(summary["per_class"]) == list(classes)
    assert summary["per_class"]["c"]["recall"] == np.mean(preds[labels == 2] == 2)
    assert summary["per_class"]["c"]["support"] == (labels == 2).sum()
    error = metrics.compute_calibration(metrics.compute_probs(logits), labels)[0]
    assert summary["calibration_error"] == error


def test_the_summary_of_two_classes_has_no_empty_top_k() -> None:
    summary = metrics.summarise(np.array([[1.0, 0.0]]), np.array([0]), ("no", "yes"))
    assert summary["top_k"] == {"1": 1.0}


def test_two_classes_have_the_metrics_of_a_detector_as_in_scikit_learn(
    rng: np.random.Generator,
) -> None:
    labels = rng.integers(0, 2, 300)
    logits = np.stack([np.zeros(300), labels + rng.normal(-0.5, 1.5, 300)], axis=1)
    found = metrics.summarise(logits, labels, ("no", "yes"))["binary"]
    scores = metrics.compute_probs(logits)[:, 1]
    preds = scores > 0.5
    assert found.pop("positive") == "yes" and found.pop("threshold") == 0.5
    assert found == pytest.approx(
        {
            "precision": reference.precision_score(labels, preds),
            "recall": reference.recall_score(labels, preds),
            "specificity": reference.recall_score(labels, preds, pos_label=0),
            "f1": reference.f1_score(labels, preds),
            "roc_auc": reference.roc_auc_score(labels, scores),
            "average_precision": reference.average_precision_score(labels, scores),
        }
    )


def test_a_detector_tested_on_one_class_alone_has_no_area() -> None:
    found = metrics.summarise(np.array([[0.0, 1.0]]), np.array([1]), ("no", "yes"))
    assert found["binary"]["roc_auc"] is None and found["binary"]["recall"] == 1
    assert json.loads(json.dumps(found)) == found
    assert "yes, at a probability above 0.5: precision 1.0000" in metrics.format_table(found)
    assert "roc auc" not in metrics.format_table(found)


def test_the_table_shows_the_means_and_a_line_a_class() -> None:
    logits = np.log([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    summary = metrics.summarise(logits, np.array([0, 0, 1, 2]), ("a", "b", "trousers"))
    # losses -ln of 0.7, 0.2, 0.8, 0.7; confidences 0.7 (2 of 3 right, but one bin) and 0.8
    shown = {**summary, "num_images": 1234, "top_k": {**summary["top_k"], "3": 0.5}}
    assert metrics.format_table(shown).splitlines() == [
        "1,234 images  loss 0.6365  accuracy 0.7500  top-2 1.0000  top-3 0.5000  "
        "calibration error 0.0750",
        "",
        "class     precision  recall      f1  support",
        "a            1.0000  0.5000  0.6667        2",
        "b            0.5000  1.0000  0.6667        1",
        "trousers     1.0000  1.0000  1.0000        1",
    ]


def test_the_table_of_short_names_has_room_for_its_heading() -> None:
    summary = metrics.summarise(np.eye(2)[[0] * 1500], np.zeros(1500, int), ("0", "1"))
    lines = metrics.format_table(summary).splitlines()
    assert lines[3:] == [
        "class  precision  recall      f1  support",
        "0         1.0000  1.0000  1.0000    1,500",
        "1         0.0000  0.0000  0.0000        0",
    ]


# Scores 0.9 0.8 0.8 0.4 0.1 of samples that are + + - - +: thresholds inf, 0.9, 0.8, 0.4, 0.1.
SCORES = np.array([0.4, 0.9, 0.1, 0.8, 0.8])
POSITIVE = np.array([False, True, True, False, True])


def test_the_roc_curve_is_the_one_worked_by_hand() -> None:
    false_rates, true_rates, thresholds = metrics.compute_roc(SCORES, POSITIVE)
    assert thresholds.tolist() == [np.inf, 0.9, 0.8, 0.4, 0.1]
    assert false_rates.tolist() == [0, 0, 1 / 2, 1, 1]
    assert true_rates.tolist() == [0, 1 / 3, 2 / 3, 2 / 3, 1]
    # pairs (+, -): 0.9 beats both; 0.8 ties with 0.8 and beats 0.4; 0.1 beats none: 3.5 of 6
    assert metrics.compute_roc_area(false_rates, true_rates) == pytest.approx(3.5 / 6)


def test_precision_and_recall_are_those_worked_by_hand() -> None:
    precision, recall, thresholds = metrics.compute_precision_recall(SCORES, POSITIVE)
    assert thresholds.tolist() == [np.inf, 0.9, 0.8, 0.4, 0.1]
    assert precision.tolist() == [1, 1, 2 / 3, 2 / 4, 3 / 5]
    assert recall.tolist() == [0, 1 / 3, 2 / 3, 2 / 3, 1]
    average = metrics.compute_average_precision(precision, recall)
    assert average == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3 + 0 * 2 / 4 + 1 / 3 * 3 / 5)


@pytest.mark.parametrize("decimals", [1, 8], ids=["many ties", "hardly any"])
def test_roc_and_precision_recall_are_scikit_learns(
    rng: np.random.Generator, decimals: int
) -> None:
    scores, positive = rng.normal(size=400).round(decimals), rng.random(400) < 0.3
    false_rates, true_rates, thresholds = metrics.compute_roc(scores, positive)
    expected = reference.roc_curve(positive, scores, drop_intermediate=False)
    for ours, theirs in zip((false_rates, true_rates, thresholds), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    area = metrics.compute_roc_area(false_rates, true_rates)
    assert area == pytest.approx(reference.roc_auc_score(positive, scores))

    precision, recall, thresholds = metrics.compute_precision_recall(scores, positive)
    expected = reference.precision_recall_curve(positive, scores)  # in falling order of recall
    np.testing.assert_allclose(precision, expected[0][::-1])
    np.testing.assert_allclose(recall, expected[1][::-1])
    np.testing.assert_allclose(thresholds[1:], expected[2][::-1])
    average = metrics.compute_average_precision(precision, recall)
    assert average == pytest.approx(reference.average_precision_score(positive, scores))


def test_a_rate_without_samples_of_its_kind_is_nan_and_warns_of_nothing() -> None:
    with np.errstate(all="raise"):
        assert np.isnan(metrics.compute_roc(SCORES, np.ones(5, bool))[0]).any()
        assert np.isnan(metrics.compute_precision_recall(SCORES, np.zeros(5, bool))[1]).any()
