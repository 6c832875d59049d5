"""Metrics of a classifier on corrupted images (MNIST-C), in pure NumPy.

`summarise_corruption` gives the result on one corruption, `summarise_corruptions` the report on
all of them, by name (`config.CORRUPTIONS`, `config.IDENTITY`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lenet_paddle.data.datasets import CORRUPTIONS, IDENTITY
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.metrics import (
    compute_accuracy,
    compute_losses,
    compute_per_class,
    compute_probs,
    count_confusion,
)
from lenet_paddle.tables import Format, format_records, show_count

NUM_WORST = 4  # mistakes listed in a result
CALIBRATED = ("refused", "answered_accuracy", "calibration_error")

Result = dict[str, Any]


def summarise_corruption(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    num_worst: int = NUM_WORST,
    calibration: Calibration | None = None,
) -> Result:
    """Compute the metrics of one corruption, JSON-ready.

    logits: float (N, C); labels: int (N,), N > 0. Keys: num_images, num_mistakes, accuracy and
    loss (means over samples, the loss in nats), hardest_class (the first of the lowest accuracy
    among those with images) and hardest_accuracy, worst (the mistakes of highest loss, worst
    first: index, label, predicted class and its probability). With a calibration also calibrated
    (`Calibration.summarise`); all else is of the network's own logits.
    """
    preds, losses = logits.argmax(axis=1), compute_losses(logits, labels)
    columns = compute_per_class(count_confusion(preds, labels, len(classes)))
    accuracies = np.where(columns["support"] > 0, columns["recall"], np.inf)
    hardest = int(accuracies.argmin())
    wrong = np.flatnonzero(preds != labels)
    worst = wrong[np.argsort(-losses[wrong], kind="stable")][:num_worst]
    probs = compute_probs(logits[worst])
    return {
        "num_images": len(labels),
        "num_mistakes": len(wrong),
        "accuracy": compute_accuracy(preds, labels),
        "loss": float(losses.mean()),
        "hardest_class": classes[hardest],
        "hardest_accuracy": float(accuracies[hardest]),
        "worst": [
            {
                "index": int(i),
                "label": classes[labels[i]],
                "predicted": classes[preds[i]],
                "probability": float(p.max()),
            }
            for i, p in zip(worst, probs, strict=True)
        ],
        **({} if calibration is None else {"calibrated": calibration.summarise(logits, labels)}),
    }


def compute_error_ratio(num_mistakes: int, num_of_baseline: int) -> float | None:
    """Divide the mistakes by the baseline's on the same images; None if the baseline has none."""
    return num_mistakes / num_of_baseline if num_of_baseline else None


def summarise_corruptions(
    results: Mapping[str, Result], baseline: Mapping[str, Result] | None = None
) -> Result:
    """Summarise the results on at least one corruption as a report, JSON-ready.

    Keys: num_corruptions and missing (those of the 15 without a result), mean_accuracy and
    mean_loss (each corruption counts alike; the clean images are not in them), clean_accuracy
    and clean_loss (of `IDENTITY`; None without it), corruptions (name -> its result).

    Where the results are calibrated, the report is too: mean_refused, mean_answered_accuracy and
    mean_calibration_error, means over the corruptions (of the accuracy over those with an answer),
    and calibration_error, of all corruptions together: an excess of confidence in one and a lack in
    another cancel out in it.

    With a baseline, another network's results on the same images, each corruption and the
    report also get baseline_accuracy, and each corruption error_ratio, its error divided by the
    baseline's (None where that is 0). mce is the mean of these ratios, and mce_without lists the
    corruptions without one. It is the mean corruption error of Hendrycks and Dietterich,
    "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
    as a share instead of a percentage, as Mu and Gilmer, "MNIST-C", 2019, use it: one severity.
    """
    names = [name for name in CORRUPTIONS if name in results]
    clean = results.get(IDENTITY, {})
    report: Result = {
        "num_corruptions": len(names),
        "missing": [name for name in CORRUPTIONS if name not in results],
        "mean_accuracy": _mean([results[name]["accuracy"] for name in names]),
        "mean_loss": _mean([results[name]["loss"] for name in names]),
        "clean_accuracy": clean.get("accuracy"),
        "clean_loss": clean.get("loss"),
        "corruptions": {
            name: dict(results[name]) for name in (*names, IDENTITY) if name in results
        },
    }
    if names and all("calibrated" in results[name] for name in names):
        columns = [results[name]["calibrated"] for name in names]
        for key in CALIBRATED:
            values = [column[key] for column in columns if column[key] is not None]
            report[f"mean_{key}"] = _mean(values)
        gaps = np.mean([column["gaps"] for column in columns], axis=0)
        report["calibration_error"] = float(np.abs(gaps).sum())
    if baseline is not None:
        _compare(report, baseline)
    return report


def _compare(report: Result, baseline: Mapping[str, Result]) -> None:
    for name, result in report["corruptions"].items():
        result["baseline_accuracy"] = baseline[name]["accuracy"]
        result["error_ratio"] = compute_error_ratio(
            result["num_mistakes"], baseline[name]["num_mistakes"]
        )
    rows = {name: row for name, row in report["corruptions"].items() if name != IDENTITY}
    ratios = {name: row["error_ratio"] for name, row in rows.items()}
    report["baseline_mean_accuracy"] = _mean([row["baseline_accuracy"] for row in rows.values()])
    report["mce"] = _mean([ratio for ratio in ratios.values() if ratio is not None])
    report["mce_without"] = [name for name, ratio in ratios.items() if ratio is None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def name_mean(report: Result) -> str:
    """Return `mean over 15`, or `mean over 3 of 15` where corruptions are missing."""
    of_all = f" of {len(CORRUPTIONS)}" if report["missing"] else ""
    return f"mean over {report['num_corruptions']}{of_all}"


def list_rows(report: Result) -> list[Result]:
    """Return the report as rows with equal keys: the corruptions, their mean, the clean images.

    Keys: corruption, num_images, accuracy, loss, (refused, answered_accuracy, calibration_error:
    of a calibrated network,) (baseline_accuracy, error_ratio: the mean's is mCE,) hardest_class,
    hardest_accuracy; None where a row has none.
    """
    keys = ["num_images", "accuracy", "loss"]
    keys += CALIBRATED if "mean_refused" in report else []
    keys += ["baseline_accuracy", "error_ratio"] if "mce" in report else []
    keys += ["hardest_class", "hardest_accuracy"]
    mean = {
        "accuracy": report["mean_accuracy"],
        "loss": report["mean_loss"],
        "baseline_accuracy": report.get("baseline_mean_accuracy"),
        "error_ratio": report.get("mce"),
        **{key: report.get(f"mean_{key}") for key in CALIBRATED},
    }
    results = dict(report["corruptions"])
    clean = {IDENTITY: results.pop(IDENTITY)} if IDENTITY in results else {}
    return [
        {"corruption": name, **{key: _cell(row, key) for key in keys}}
        for name, row in {**results, name_mean(report): mean, **clean}.items()
    ]


def _cell(row: Result, key: str) -> Any:
    return (row.get("calibrated", row) if key in CALIBRATED else row).get(key)


def format_report(report: Result) -> str:
    """Format the report for the screen: the corruptions, their mean, and the clean images."""
    rows = list_rows(report)
    for row in rows:
        name, accuracy = row.pop("hardest_class"), row.pop("hardest_accuracy")
        row["hardest_class"] = None if name is None else f"{name}  {accuracy:.4f}"
    titles: dict[str, tuple[str, Format]] = {
        "num_images": ("images", show_count),
        "accuracy": ("accuracy", _show),
        "loss": ("loss", _show),
        "refused": ("unclear", _show),
        "answered_accuracy": ("of the others", _show),
        "calibration_error": ("calibration error", _show),
        "baseline_accuracy": ("baseline", _show),
        "error_ratio": ("error ratio", _show),
        "hardest_class": ("hardest class", str),
    }
    return format_records(rows, titles, "table", _explain(report), left=("corruption",))


def _show(value: float) -> str:
    return f"{value:.4f}"


def _explain(report: Result) -> dict[str, str]:
    """Explain the table's terms, and name the rows that it lacks."""
    notes = {name_mean(report): "each corruption counts alike, the clean images are not in it"}
    if "mce" in report:
        mce = "no ratio" if report["mce"] is None else _show(report["mce"])
        notes["error ratio"] = "1 - accuracy, divided by the baseline's"
        notes["mCE"] = (
            f"{mce}, the mean of the ratios (Hendrycks and Dietterich 2019; Mu and Gilmer 2019)"
        )
        if report["mce_without"]:
            notes["no ratio"] = (
                f"{', '.join(report['mce_without'])}: the baseline makes no mistake there, so "
                f"these are not in mCE"
            )
    if "mean_refused" in report:
        notes["unclear"] = "share with a largest calibrated logit below the run's threshold"
        notes["of the others"] = "accuracy of those that are not unclear"
        notes["calibration error"] = (
            f"of calibrated probabilities; {_show(report['calibration_error'])} of all corruptions "
            "together"
        )
    notes["hardest class"] = "the one of lowest accuracy"
    if report["missing"]:
        notes["missing"] = ", ".join(report["missing"])
    if report["clean_accuracy"] is None:
        notes["clean images"] = f"there is no folder {IDENTITY}"
    return notes
