"""The figures of a classifier, in pure NumPy: exact means over samples.

logits: float (N, C); probs: float (N, C), rows sum to 1; labels, preds: int (N,) in [0, C).
Accuracies lie in [0, 1]; losses are in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def compute_log_probs(logits: np.ndarray) -> np.ndarray:
    """log softmax, float64 (N, C): shifted by the row's maximum, so that nothing overflows."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def compute_probs(logits: np.ndarray) -> np.ndarray:
    """softmax, float64 (N, C)."""
    return np.exp(compute_log_probs(logits))


def compute_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each sample, float64 (N,): -log p(label)."""
    return -compute_log_probs(logits)[np.arange(len(labels)), labels]


def compute_accuracy(preds: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float(np.mean(preds == labels))


def compute_top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of samples whose label is among the k highest scores (logits or probs).

    Of equal scores the class with the lower number ranks first, as with argmax.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return float(np.mean(rank < k))


def count_confusion(preds: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (C, C): row the true class, column the predicted one."""
    cells = np.bincount(labels * num_classes + preds, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def compute_per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall, f1 (float64 (C,)) and support (int64 (C,)) from a confusion matrix.

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
    """Expected calibration error (Guo et al. 2017, eq. 3) and its bins.

    Confidences (the highest probability) fall into `num_bins` equal bins of (0, 1]; the error
    is the mean of |accuracy - confidence| over samples. The bins: `count`, `accuracy`,
    `confidence`, each (num_bins,), 0 where a bin is empty.
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


def summarise(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Everything that `metrics.json` says of a set, JSON-ready.

    Keys: num_images, loss, accuracy, top_k (k -> accuracy, for k of 1, 2, 3, 5 below C),
    calibration_error, per_class (class -> precision, recall, f1, support), confusion_matrix.
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
    }


def format_table(result: dict[str, Any]) -> str:
    """A result of `summarise` as text for the screen: the means, then a line a class."""
    top_k = "  ".join(f"top-{k} {value:.4f}" for k, value in result["top_k"].items() if k != "1")
    lines = [
        f"{result['num_images']:,} images  loss {result['loss']:.4f}  "
        f"accuracy {result['accuracy']:.4f}  {top_k}  "
        f"calibration error {result['calibration_error']:.4f}",
        "",
    ]
    width = max(5, *map(len, result["per_class"]))
    lines.append(f"{'class':<{width}}  precision  recall      f1  support")
    for name, row in result["per_class"].items():
        lines.append(
            f"{name:<{width}}  {row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}  "
            f"{row['support']:7,}"
        )
    return "\n".join(lines)
