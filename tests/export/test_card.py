"""The model card has the run's numbers and none of the machine's paths."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from lenet_paddle.config import TrainConfig
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.metrics import summarise
from lenet_paddle.export.card import describe_model

CONFIG = TrainConfig(learning_rate=0.0123, augment="light", epochs=7)
ROW = {
    "max_difference": 2.5e-6,
    "agreement": 0.999,
    "size_bytes": 248_696,
    "latency_ms": 0.0391,
    "images_per_s": 53_685.4,
}


def card(
    run_dir,
    config=CONFIG,
    classes=("cat", "d|og", "<b>"),
    form=(1, 28),
    mode="digit",
    calibration=None,
):
    logits = np.random.default_rng(0).normal(size=(90, 3)) + 2 * np.eye(3)[np.arange(90) % 3]
    result = {"checkpoint": "epoch_0004", **summarise(logits, np.arange(90) % 3, classes)}
    description = {
        "run": "a",
        "versions": {"lenet_paddle": "9.8", "python": "3.11", "paddlepaddle": "3.3.1"},
        "preprocess": mode,
        "image_size": form[1],
        "input": {"shape": [-1, *form, form[1]], "normalise": "(x - 127.5) / 127.5"},
        "classes": list(classes),
        "formats": {"onnx": ROW, "onnx-int8": {**ROW, "accuracy": 0.9876}},
    }
    if calibration is not None:
        result["calibrated"] = calibration.summarise(logits, np.arange(90) % 3)
        description["calibration"] = calibration.to_dict()
    return describe_model(config, result, description, run_dir), result


def test_the_card_says_how_the_model_is_calibrated_and_what_it_rejects(tmp_path):
    text, result = card(tmp_path, calibration=Calibration(1.25, 0.5, 500))
    found = result["calibrated"]
    assert "divided by the temperature 1.2500" in text
    assert f"below 0.5000: {found['refused']:.4f} of the test images" in text
    assert f"accuracy of the others {found['answered_accuracy']:.4f}" in text
    assert f"Its calibration error is {found['calibration_error']:.4f}" in text
    assert "cannot reject" not in text and "没有“都不是”" not in text and "`is_digit`" in text
    for other in (None, Calibration(1.25, None, 500)):
        text, _ = card(tmp_path, calibration=other)
        assert "cannot reject" in text and "没有“都不是”" in text and "unclear" not in text
        assert ("temperature 1.2500" in text) == (other is not None)


@pytest.mark.parametrize(("val_size", "words"), [(0, "no validation"), (500, "500 validation")])
def test_the_held_out_images_are_named(tmp_path, val_size, words):
    text, _ = card(tmp_path, dataclasses.replace(CONFIG, val_size=val_size))
    assert f"({words} images held out" in text
    assert ("a tenth where there were fewer" in text) == bool(val_size)


def test_the_card_has_recipe_accuracy_files_and_licences(tmp_path):
    text, result = card(tmp_path)
    for words in (
        "| learning_rate | 0.0123 |",
        "| augment | light |",
        "| epochs | 7 |",
        f"| 90 | {result['accuracy']:.4f} | {result['loss']:.4f} |",
        "| onnx | 2.5e-06 | 0.9990 | 248,696 | 0.039 | 53,685 |",
        "onnx-int8 has an accuracy of 0.9876",
        "CC BY-SA 3.0",
        "Apache-2.0",
        "checkpoint epoch_0004 of the run `a`",
        "中文",
    ):
        assert words in text, words
    assert "momentum" not in text and "Robustness" not in text
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == [
        f"## {name}"
        for name in ("Data", "Recipe", "Accuracy", "Files", "Limits", "Licence", "中文摘要")
    ]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (
            (1, 28),
            ("a small grey picture", "(batch, 1, 28, 28)", "of grey values", "28x28 的灰度图"),
        ),
        (
            (3, 64),
            ("a small colour picture", "(batch, 3, 64, 64)", "of RGB values", "64x64 的彩色图"),
        ),
    ],
)
def test_colour_and_size_are_named_in_both_languages(tmp_path, form, words):
    text, _ = card(tmp_path, form=form, mode="resize")
    for word in (*words, f"scaled to {form[1]}x{form[1]} with their aspect ratio kept"):
        assert word in text, word


def test_class_names_cannot_become_markup(tmp_path):
    text, _ = card(tmp_path)
    assert "cat, d\\|og, \\<b\\>" in text


def test_at_most_50_classes_are_named(tmp_path):
    names = tuple(f"class {i}" for i in range(1000))
    text, _ = card(tmp_path, classes=names)
    assert "class 49, ..." in text and "class 50" not in text and "1000 classes" in text


def test_no_path_is_named(tmp_path):
    config = dataclasses.replace(
        CONFIG, dataset="folder", data_dir="/home/me/pictures", init_from="/home/me/old/w.pdparams"
    )
    text, _ = card(tmp_path, config)
    assert "/home" not in text and "weights of an earlier training" in text
    assert "own data" in text and "MNIST by" not in text


def test_robustness_has_a_section_if_it_was_measured(tmp_path):
    report = {
        "checkpoint": "epoch_0003",
        "num_corruptions": 2,
        "mean_accuracy": 0.61,
        "clean_accuracy": 0.98,
        "corruptions": {"fog": {"accuracy": 0.5}, "shear": {"accuracy": 0.72}},
    }
    (tmp_path / "metrics-mnist_c.json").write_text(json.dumps(report))
    text, _ = card(tmp_path)
    assert "2 corruptions, checkpoint epoch_0003: mean accuracy 0.6100 (clean 0.9800)" in text
    assert "lowest 0.5000 with fog" in text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"mean_accuracy": 1, "corruptions": []}'])
def test_an_invalid_report_is_ignored(tmp_path, content):
    (tmp_path / "metrics-mnist_c.json").write_text(content)
    assert "Robustness" not in card(tmp_path)[0]
