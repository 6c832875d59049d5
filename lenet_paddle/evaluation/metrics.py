"""Metrics of a classifier, in pure NumPy: exact means over samples.

logits: float (N, C); probs: float (N, C), rows sum to 1; labels, preds: int (N,) in [0, C).
Accuracies lie in [0, 1]; losses are in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lenet_paddle.tables import format_cells


def compute_log_probs(logits: np.ndarray) -> np.ndarray:
    """Compute log softmax, float64 (N, C), shifted by the row's maximum against overflow."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def compute_probs(logits: np.ndarray) -> np.ndarray:
    """Compute softmax, float64 (N, C)."""
    return np.exp(compute_log_probs(logits))


def compute_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the cross-entropy of each sample, float64 (N,): -log p(label)."""
    return -compute_log_probs(logits)[np.arange(len(labels)), labels]


def compute_accuracy(preds: np.ndarray, labels: np.ndarray) -> float:
    """Compute the share of correct predictions."""
    return float(np.mean(preds == labels))


def compute_top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Compute the share of samples whose label is among the k highest scores (logits or probs).

    Among equal scores the lower class ranks first, as with argmax.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return float(np.mean(rank < k))


def count_confusion(preds: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pairs of true class (row) and predicted class (column): int64 (C, C)."""
    cells = np.bincount(labels * num_classes + preds, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def compute_per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Compute precision, recall, f1 (float64 (C,)) and support (int64 (C,)) of each class.

    A ratio whose denominator is 0 (a class never predicted, or without samples) is 0.
    """
    right = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)

    def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros_like(right), where=whole > 0)

    return {
        "precision": ratio(right, predicted),
        "recall": ratio(right, support),
        "f1": ratio(2 * right, support + predicted),
        "support": support,
    }


def compute_calibration(
    probs: np.ndarray, labels: np.ndarray, num_bins: int = 15
) -> tuple[float, dict[str, np.ndarray]]:
    """Compute the expected calibration error (Guo et al. 2017, eq. 3) and its bins.

    Confidences (the highest probability) are sorted into `num_bins` equal bins of (0, 1]; the
    error is the mean of |accuracy - confidence| over samples. The bins are `count`, `accuracy`
    and `confidence`, each (num_bins,), 0 where a bin is empty.
    """
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    sums = {
        "accuracy": np.bincount(bins, right, num_bins),
        "confidence": np.bincount(bins, confidence, num_bins),
    }
    error = float(np.abs(sums["accuracy"] - sums["confidence"]).sum() / len(labels))
    means = {name: total / np.maximum(count, 1) for name, total in sums.items()}
    return error, {"count": count, **means}


def _count_above(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return thresholds (inf, then each distinct score, falling), and the numbers of positive and
    negative samples with at least that score, each (T,)."""
    order = np.argsort(-scores)
    scores, positive = scores[order], positive[order].astype(bool)
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))  # of a run of equal scores
    true_positives = np.append(0, np.cumsum(positive)[last])
    false_positives = np.append(0, np.cumsum(~positive)[last])
    return np.append(np.inf, scores[last]), true_positives, false_positives


def compute_roc(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the ROC curve of a detector: false and true positive rate at every threshold.

    scores: float (N,), higher is more positive; positive: bool (N,). A rate is NaN if there are
    no samples of its kind. Returns (false positive rates, true positive rates,
    thresholds), each (T,): from (0, 0) at the threshold inf up to (1, 1) at the lowest score.
    """
    thresholds, hits, false_alarms = _count_above(scores, positive)
    with np.errstate(invalid="ignore"):
        return false_alarms / false_alarms[-1], hits / hits[-1], thresholds


def compute_roc_area(false_rates: np.ndarray, true_rates: np.ndarray) -> float:
    """Compute the area under a ROC curve by trapezoids: 0.5 for chance, 1 for a perfect ranking.

    It is the probability that a positive sample scores higher than a negative one (ties: half).
    """
    heights = (true_rates[1:] + true_rates[:-1]) / 2
    return float((np.diff(false_rates) * heights).sum())


def compute_precision_recall(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute precision and recall of a detector at every threshold.

    scores: float (N,), higher is more positive; positive: bool (N,). Recall is NaN without a
    positive sample. Returns (precision, recall, thresholds), each (T,), in the order of
    rising recall: from (1, 0) at the threshold inf, where nothing is found and precision is set
    to 1, to the lowest score, where recall is 1.
    """
    thresholds, hits, false_alarms = _count_above(scores, positive)
    precision = np.append(1.0, hits[1:] / (hits + false_alarms)[1:])
    with np.errstate(invalid="ignore"):
        return precision, hits / hits[-1], thresholds


def compute_average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """Compute the area under a precision-recall curve: sum of (R_n - R_(n-1)) * P_n."""
    return float((np.diff(recall) * precision[1:]).sum())


def summarise(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Compute the metrics of a set for `metrics.json`, JSON-ready.

    Keys: num_images, loss, accuracy, top_k (k -> accuracy, for k of 1, 2, 3, 5 below C),
    calibration_error, per_class (class -> precision, recall, f1, support), confusion_matrix, and
    for two classes binary (`summarise_binary`).
    """
    num_classes = len(classes)
    probs, preds = compute_probs(logits), logits.argmax(axis=1)
    confusion = count_confusion(preds, labels, num_classes)
    columns = compute_per_class(confusion)
    return {
        "num_images": len(labels),
        "loss": float(compute_losses(logits, labels).mean()),
        "accuracy": compute_accuracy(preds, labels),
        "top_k": {
            str(k): compute_top_k_accuracy(logits, labels, k)
            for k in (1, 2, 3, 5)
            if k < num_classes
        },
        "calibration_error": compute_calibration(probs, labels)[0],
        "per_class": {
            name: {key: column[i].item() for key, column in columns.items()}
            for i, name in enumerate(classes)
        },
        "confusion_matrix": confusion.tolist(),
        **({"binary": summarise_binary(probs, labels, classes)} if num_classes == 2 else {}),
    }


def summarise_binary(
    probs: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Compute the metrics of a detector of the second of two classes, JSON-ready.

    Keys: positive (its name), threshold (0.5: of its probability), precision, recall, specificity
    (the recall of the other class), f1, roc_auc and average_precision; the areas are None if the
    samples are all of one class.
    """
    confusion = count_confusion(probs.argmax(axis=1), labels, 2)
    columns = compute_per_class(confusion)
    scores, positive = probs[:, 1], labels == 1
    areas: dict[str, Any] = {"roc_auc": None, "average_precision": None}
    if 0 < positive.sum() < len(labels):
        false_rates, true_rates, _ = compute_roc(scores, positive)
        areas["roc_auc"] = compute_roc_area(false_rates, true_rates)
        precision, recall, _ = compute_precision_recall(scores, positive)
        areas["average_precision"] = compute_average_precision(precision, recall)
    return {
        "positive": classes[1],
        "threshold": 0.5,
        **{name: columns[name][1].item() for name in ("precision", "recall")},
        "specificity": columns["recall"][0].item(),
        "f1": columns["f1"][1].item(),
        **areas,
    }


def format_binary(binary: dict[str, Any]) -> str:
    """Format the result of `summarise_binary` in one line."""
    values = {name.replace("_", " "): value for name, value in binary.items()}
    positive, threshold = values.pop("positive"), values.pop("threshold")
    shown = [f"{name} {value:.4f}" for name, value in values.items() if value is not None]
    return f"{positive}, at a probability above {threshold:g}: {', '.join(shown)}"


def format_calibrated(calibrated: dict[str, Any]) -> str:
    """Format the result of `calibration.Calibration.summarise` in one line."""
    names = {"loss": "loss", "calibration_error": "calibration error", "refused": "unclear"}
    names["answered_accuracy"] = "accuracy of the others"
    shown = [
        f"{text} {calibrated[k]:.4f}" for k, text in names.items() if calibrated[k] is not None
    ]
    return f"calibrated, temperature {calibrated['temperature']:.4f}:  {'  '.join(shown)}"


def format_table(result: dict[str, Any]) -> str:
    """Format a result of `summarise` for the screen: the means, then a line for each class."""
    top_k = "  ".join(f"top-{k} {value:.4f}" for k, value in result["top_k"].items() if k != "1")
    lines = [
        f"{result['num_images']:,} images  loss {result['loss']:.4f}  "
        f"accuracy {result['accuracy']:.4f}  {top_k}  "
        f"calibration error {result['calibration_error']:.4f}",
        *([format_calibrated(result["calibrated"])] if "calibrated" in result else []),
        *([format_binary(result["binary"])] if "binary" in result else []),
        "",
    ]
    rows = [
        [name, *(f"{row[key]:.4f}" for key in ("precision", "recall", "f1")), f"{row['support']:,}"]
        for name, row in result["per_class"].items()
    ]
    titles = ["class", "precision", "recall", "f1", "support"]
    return "\n".join([*lines, format_cells(titles, rows, left=("class",))])
