"""Calibrate a classifier on validation images, in pure NumPy.

A temperature divides the logits so that a probability of 0.9 is right nine times in ten (Guo et
al. 2017, arXiv 1706.04599), and a threshold says which answers are unclear: those whose largest
logit is below it. Of the scores compared by `tests/nondigits.py` (the largest logit, the largest
probability, the energy, the distance to the classes in the last hidden layer) that one, the maximum
logit of Hendrycks et al. 2022, arXiv 1911.11132, refuses most pictures that show no digit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.metrics import compute_calibration, compute_losses, compute_probs
from lenet_paddle.settings import COUNT, Settings, between

REFUSED = 0.01  # of the validation images
LEAST, MOST = 0.1, 10.0  # temperatures
LARGEST = 1e6  # size of a calibrated logit
NUM_DIGITS = 10


@dataclass(frozen=True)
class Calibration(Settings):
    """A temperature and a threshold. Raises `InputError` for values that no training writes."""

    temperature: Annotated[float, between(LEAST, MOST)]
    """What the network's logits are divided by."""
    threshold: Annotated[float | None, between(-LARGEST, LARGEST)]
    """The largest calibrated logit of a digit is at least this; None where the data are others."""
    num_images: Annotated[int, COUNT]
    """Validation images that both were chosen on."""

    def scale(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits, float32 (N, C)."""
        return logits / np.float32(self.temperature)

    def accepts(self, logits: np.ndarray) -> np.ndarray:
        """Return for each row of calibrated logits (N, C) whether it is that of a digit: bool (N,).

        All are where there is no threshold.
        """
        lowest = -np.inf if self.threshold is None else self.threshold
        return logits.max(axis=1) >= lowest

    def summarise(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """Compute the metrics of the network's own logits, float (N, C), when calibrated.

        Keys: temperature, threshold, loss, calibration_error, gaps (of each bin of confidences, the
        share of images times accuracy minus confidence: their sizes add up to the error), refused
        (the share below the threshold) and answered_accuracy, of the others; these two are None
        without a threshold, the accuracy also where all are refused. JSON-ready.
        """
        scaled = self.scale(logits)
        answered = self.accepts(scaled)
        right = scaled.argmax(axis=1) == labels
        error, bins = compute_calibration(compute_probs(scaled), labels)
        gaps = bins["count"] / len(labels) * (bins["accuracy"] - bins["confidence"])
        return {
            "temperature": self.temperature,
            "threshold": self.threshold,
            "loss": float(compute_losses(scaled, labels).mean()),
            "calibration_error": error,
            "gaps": gaps.tolist(),
            **{"refused": None, "answered_accuracy": None},
            **({} if self.threshold is None else summarise_refused(answered, right)),
        }


def summarise_refused(answered: np.ndarray, right: np.ndarray) -> dict[str, float | None]:
    """Return the share `refused`, and `answered_accuracy`, None where none is; both bool (N,)."""
    return {
        "refused": float(1 - answered.mean()),
        "answered_accuracy": float(right[answered].mean()) if answered.any() else None,
    }


def fit_calibration(
    logits: np.ndarray, labels: np.ndarray, preprocess: str = "digit"
) -> Calibration | None:
    """Choose temperature and threshold on validation images.

    logits: float (N, C), N > 0; labels: int (N,). There is a threshold if pictures are prepared as
    digits and there are at most ten classes, which letters have not. None if a logit is not finite,
    or as large as in a training that diverges.
    """
    if not (np.abs(logits) <= LEAST * LARGEST).all():
        return None
    temperature, threshold = fit_temperature(logits, labels), None
    if preprocess == "digit" and logits.shape[1] <= NUM_DIGITS:
        threshold = fit_threshold((logits / np.float32(temperature)).max(axis=1))
    return Calibration(temperature, threshold, len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature from 0.1 to 10 of the lowest mean cross-entropy of `logits / T`.

    The mean is convex in 1/T, so the sign of its derivative leads there. Where every prediction is
    right the mean falls without end as T does, which says nothing: the temperature is then 1.
    """
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    exact = logits.astype(np.float64)
    own = exact[np.arange(len(labels)), labels]
    low, high = np.log(LEAST), np.log(MOST)
    while high - low > 1e-9:
        middle = (low + high) / 2
        expected = (compute_probs(exact / np.exp(middle)) * exact).sum(axis=1)
        low, high = (low, middle) if (expected - own).mean() < 0 else (middle, high)
    return float(np.exp((low + high) / 2))


def fit_threshold(scores: np.ndarray, refused: float = REFUSED) -> float:
    """Return the score, float (N,), below which a share `refused` lies, rounded down to images."""
    return float(np.sort(scores)[int(refused * len(scores))])


def read_calibration(values: Any, source: object) -> Calibration:
    """Check what calibration.json or inference.yml says. Raises `InputError` that names `source`.

    Entries of other names are ignored.
    """
    names = [field.name for field in dataclasses.fields(Calibration)]
    if not isinstance(values, dict) or not set(names) <= set(values):
        raise InputError(f"{source}: damaged; its calibration needs {', '.join(names)}")
    try:
        return Calibration(**{name: values[name] for name in names})
    except InputError as error:
        raise InputError(f"{source}: calibration: {error}") from None
