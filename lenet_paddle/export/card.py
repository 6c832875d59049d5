"""Write model_card.md: an exported model's data, recipe, accuracy, files, limits and licence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.datasets import find_dataset
from lenet_paddle.data.form import Form
from lenet_paddle.files import read_text
from lenet_paddle.tables import format_markdown

_MAX_NAMED = 50  # classes
# Settings that a recipe always names; others are named if they are not the defaults.
_RECIPE = ("model", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "seed")
_OMITTED = ("dataset", "data_dir", "init_from", "device", "log_every", "vdl", "preprocess")


def describe_model(
    config: TrainConfig, result: dict[str, Any], description: dict[str, Any], run_dir: Path
) -> str:
    """Return the card as Markdown, in English and, shorter, in Chinese.

    `result` comes from `metrics.summarise` on the whole test set, `description` is the content of
    inference.yml. A section on robustness is added if the run has a metrics-mnist_c.json. The card
    names no path, so that it can be published.
    """
    parts = [
        f"# {config.model} on {config.dataset}",
        _summary(result, description),
        "## Data\n\n" + _data(config, result),
        "## Recipe\n\n" + _recipe(config, description),
        "## Accuracy\n\n" + _accuracy(result),
        *_robustness(run_dir / "metrics-mnist_c.json"),
        "## Files\n\n" + _files(description),
        "## Limits\n\n" + _limits(result, description),
        "## Licence\n\n" + _licence(config),
        _chinese(config, result, description),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(result: dict[str, Any], description: dict[str, Any]) -> str:
    classes = description["classes"]
    named = ", ".join(map(_plain, classes[:_MAX_NAMED])) + (", ..." * (len(classes) > _MAX_NAMED))
    shape = ", ".join(map(str, description["input"]["shape"][1:]))
    kind, values = ("colour", "RGB") if _form(description).channels == 3 else ("grey", "grey")
    return (
        f"Classifies a small {kind} picture as one of {len(classes)} classes: "
        f"{named}. Accuracy on the test set {result['accuracy']:.4f}.\n\n"
        f"Exported from the checkpoint {result['checkpoint']} of the run `{description['run']}` "
        f"with lenet_paddle {description['versions']['lenet_paddle']}. Input `image`, float32 "
        f"(batch, {shape}), {description['input']['normalise']} of {values} values 0..255; "
        f"output `logits`, float32 (batch, {len(classes)})."
    )


def _form(description: dict[str, Any]) -> Form:
    return Form(description["input"]["shape"][1], description["image_size"])


def _data(config: TrainConfig, result: dict[str, Any]) -> str:
    held_out = "no validation images held out"
    if config.val_size:
        held_out = (
            f"{config.val_size:,} validation images held out, or a tenth where there were fewer "
            "than twice as many"
        )
    limit = f", the first {config.limit:,} of them" if config.limit else ""
    return (
        f"`{config.dataset}`: {find_dataset(config.dataset).terms}. Trained on its training "
        f"images{limit} ({held_out}), tested on "
        f"{result['num_images']:,} test images that were not used to train or choose the model."
    )


def _recipe(config: TrainConfig, description: dict[str, Any]) -> str:
    default = TrainConfig().to_dict()
    rows = [
        (key, _plain(value))
        for key, value in config.to_dict().items()
        if key in _RECIPE or (key not in _OMITTED and value != default[key])
    ]
    if config.init_from is not None:
        rows.append(("init_from", "weights of an earlier training"))
    versions = description["versions"]
    used = ", ".join(f"{name} {versions[name]}" for name in ("python", "numpy") if name in versions)
    paddle = versions.get("paddlepaddle") or versions.get("paddlepaddle-gpu")
    table = format_markdown(["setting", "value"], rows)
    return f"{table}\nAll other settings are the defaults. Exported with Paddle {paddle}, {used}."


def _accuracy(result: dict[str, Any]) -> str:
    weakest = sorted(result["per_class"].items(), key=lambda item: item[1]["recall"])[:3]
    named = ", ".join(f"{_plain(name)} ({row['recall']:.4f})" for name, row in weakest)
    cells = [f"{result[key]:.4f}" for key in ("accuracy", "loss", "calibration_error")]
    table = format_markdown(
        ["test images", "accuracy", "loss", "calibration error"],
        [[f"{result['num_images']:,}", *cells]],
    )
    lines = [f"{table}\nClasses with the lowest recall: {named}."]
    if "calibrated" in result:
        lines.append(_calibration(result["calibrated"]))
    return "\n\n".join(lines)


def _calibration(calibrated: dict[str, Any]) -> str:
    text = (
        f"Calibrated on validation images: the logits are divided by the temperature "
        f"{calibrated['temperature']:.4f}, which makes the loss {calibrated['loss']:.4f} and the "
        f"calibration error {calibrated['calibration_error']:.4f}."
    )
    if calibrated["threshold"] is not None:
        text += (
            f" An answer is unclear if its largest logit is below {calibrated['threshold']:.4f}: "
            f"{calibrated['refused']:.4f} of the test images"
        )
        accuracy = calibrated["answered_accuracy"]
        text += "." if accuracy is None else f"; accuracy of the others {accuracy:.4f}."
    return text


def _robustness(path: Path) -> list[str]:
    """Return the section on corrupted images, or nothing if they were not evaluated."""
    try:
        report = json.loads(read_text(path))
        mean, clean = float(report["mean_accuracy"]), report.get("clean_accuracy")
        accuracies = {str(k): float(v["accuracy"]) for k, v in report["corruptions"].items()}
        name, lowest = min(accuracies.items(), key=lambda item: item[1])
        text = (
            f"MNIST-C, {int(report['num_corruptions'])} corruptions, checkpoint "
            f"{_plain(report['checkpoint'])}: mean accuracy {mean:.4f}"
            + (f" (clean {float(clean):.4f})" if clean is not None else "")
            + f", lowest {lowest:.4f} with {_plain(name)}."
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [f"## Robustness\n\n{text}"]


def _files(description: dict[str, Any]) -> str:
    titles = ["format", "max difference", "agreement", "bytes", "ms at 1", "images/s at 64"]
    rows = [
        (
            name,
            f"{row['max_difference']:.2g}",
            f"{row['agreement']:.4f}",
            f"{row['size_bytes']:,}",
            f"{row['latency_ms']:.3f}",
            f"{row['images_per_s']:,.0f}",
        )
        for name, row in description["formats"].items()
    ]
    cpu = _plain(description["versions"].get("cpu"))
    lines = [
        format_markdown(titles, rows),
        f"Compared with the trained network on test images; timed with one thread ({cpu}).",
    ]
    for name, row in description["formats"].items():
        if "accuracy" in row:
            accuracy = f"{row['accuracy']:.4f}"
            lines.append(f"{name} has an accuracy of {accuracy} on the whole test set.")
    return "\n".join(lines)


def _limits(result: dict[str, Any], description: dict[str, Any]) -> str:
    size = _form(description).size
    prepared = {
        "digit": "converted to the form of MNIST's digits (white on black, centred by mass)",
        "resize": f"scaled to {size}x{size} with their aspect ratio kept",
    }[description["preprocess"]]
    rejects = (
        "tells part of the pictures that show none of them (`is_digit`); others get"
        if _has_threshold(description)
        else "cannot reject a picture: a picture of anything else gets"
    )
    return (
        f"- It has {len(description['classes'])} classes and {rejects} one of them, perhaps with "
        "a high probability.\n"
        f"- It was tested on pictures like those it was trained on. Other pictures are first "
        f"{prepared}; expect a lower accuracy on them, and measure it.\n"
        f"- Its calibration error is {_error(result):.4f} on the test set, and higher "
        "on other pictures.\n"
        "- Do not use it for decisions about people."
    )


def _has_threshold(description: dict[str, Any]) -> bool:
    return (description.get("calibration") or {}).get("threshold") is not None


def _error(result: dict[str, Any]) -> float:
    """Return the calibration error of what is exported."""
    return float(result.get("calibrated", result)["calibration_error"])


def _licence(config: TrainConfig) -> str:
    return f"Code (lenet_paddle): Apache-2.0. Data: {find_dataset(config.dataset).terms}."


def _chinese(config: TrainConfig, result: dict[str, Any], description: dict[str, Any]) -> str:
    record, form = find_dataset(config.dataset), _form(description)
    kind = "彩色图" if form.channels == 3 else "灰度图"
    licence = record.terms if record.title else "自有数据，许可由数据提供者决定"
    limit = "任何图片都会被归入其中一类，没有“都不是”这一答案"
    if _has_threshold(description):
        limit = "不是数字的图片只有一部分能被看出（`is_digit` 为 false），其余的仍会被归入其中一类"
    return (
        "## 中文摘要\n\n"
        f"`{config.model}` 在 `{config.dataset}` 上训练，把 {form.size}x{form.size} 的{kind}分为 "
        f"{len(description['classes'])} 类；在 {result['num_images']:,} 张测试图上准确率 "
        f"{result['accuracy']:.4f}，校准误差 {_error(result):.4f}。"
        "各种格式的文件都与训练好的网络逐一比较过（见上表）。\n\n"
        f"局限：{limit}；训练集以外的图片准确率会更低，"
        "请自行测量；不应用于对人作出决定。\n\n"
        f"许可：代码 Apache-2.0；数据 {licence}。"
    )


def _plain(value: Any) -> str:
    """Escape a value so that it cannot break a table or become markup."""
    text = " ".join(str(value).split())
    for sign in "\\|<>*`[]":
        text = text.replace(sign, f"\\{sign}")
    return text
