"""Every format for colour pictures and for large ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml
from marks import slow
from refusal_help import refusal

from lenet_paddle import ImageSet, build_model, normalise
from lenet_paddle.data.form import Form
from lenet_paddle.data.preprocess import prepare_picture
from lenet_paddle.evaluation.evaluate import compute_logits
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.export.export import export_formats
from lenet_paddle.export.formats import FORMATS
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.models import input_size

for package in ("onnx", "paddle2onnx", "onnxruntime", "safetensors"):
    pytest.importorskip(package)
WITHOUT_NPM = [name for name in FORMATS if name != "page"]
CASES = {
    "colour": ("lenet_relu", Form(3, 64)),
    "colour, padded": ("lenet5", Form(3, 28)),
    "colour, unpadded": ("lenet5", Form(3, 32)),
    "large colour": ("lenet_relu", Form(3, 224)),  # its last pooling's windows overlap
    "batch norm": ("cnn_modern", Form(3, 64)),
    "large batch norm": ("cnn_modern", Form(3, 150)),
    "large grey": ("lenet_modern", Form(1, 96)),
    "large, fully connected": ("mlp", Form(1, 100)),
}
SLOW = {"vision": ("vision:resnet18", Form(3, 64))}


def draw(count: int, form: Form, seed: int = 0) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (count, *form.shape), dtype=np.uint8)
    return ImageSet(images, np.arange(count) % 3, ("a", "b", "c"))


@pytest.fixture(scope="module", params=[*CASES, *(slow(name) for name in SLOW)])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, Form, int, dict[str, Any]]:
    """An untrained network in all formats: folder, network, form, input size, rows."""
    name, form = {**CASES, **SLOW}[request.param]
    folder, size = tmp_path_factory.mktemp("export") / "inference", input_size(name, form.size)
    with paddle.utils.unique_name.guard():
        network = build_model(name, 3, *form)
    info = {"model": name, "test_accuracy": 0.0, "dataset": "folder", "preprocess": "resize"}
    rows = export_formats(
        *(network, folder, draw(20, form), size, info, WITHOUT_NPM),
        load_train_set=lambda: draw(10, form, seed=1),
        is_measured=False,
    )
    return folder, network, form, size, rows


def test_every_format_agrees_with_the_network_and_names_the_form(exported: Any) -> None:
    folder, _, form, size, rows = exported
    assert list(rows) == WITHOUT_NPM
    assert all(row["agreement"] == 1 for name, row in rows.items() if name != "onnx-int8")
    description = yaml.safe_load((folder / "inference.yml").read_text())
    assert description["image_size"] == form.size
    given = description["input"]
    assert given["shape"] == [-1, form.channels, size, size]
    assert given["channels"] == ("RGB" if form.channels == 3 else "grey")
    config = (folder / "triton" / "lenet" / "config.pbtxt").read_text()
    assert f"dims: [ {form.channels}, {size}, {size} ]" in config


@pytest.mark.parametrize("engine", ["paddle", "onnx"])
def test_the_predictor_answers_as_the_network_does(exported: Any, engine: Any) -> None:
    folder, network, form, size, _ = exported
    predictor = Predictor(folder, engine)
    assert (predictor.form, predictor.size) == (form, size)
    images = draw(3, form, seed=2).images
    expected = compute_probs(compute_logits(network, normalise(images, size)))
    np.testing.assert_allclose(predictor.predict(images), expected, atol=1e-5)
    logits, maps = predictor.predict_logits(images), {}
    if predictor.description["features"]:
        logits, maps = predictor.run_with_maps(images)
    np.testing.assert_allclose(compute_probs(logits), expected, atol=1e-5)
    shapes = [row["shape"] for row in predictor.description["features"]]
    assert [list(array.shape[1:]) for array in maps.values()] == shapes
    for wrong in (images[:, :-1], images.astype(np.float32), images[..., None]):
        assert ", ".join(map(str, form.shape)) in refusal(
            lambda wrong=wrong: predictor.predict(wrong)
        )


def test_a_picture_of_any_size_and_colour_is_answered(exported: Any, rng: Any) -> None:
    folder, _, form, _, _ = exported
    predictor = Predictor(folder, "onnx")
    grey = rng.integers(0, 256, (90, 150), dtype=np.uint8)
    answers = [predictor.answer("", picture) for picture in (grey, np.dstack([grey] * 3))]
    seen = prepare_picture(grey, "resize", form.size)
    seen = np.dstack([seen] * 3) if form.channels == 3 else seen
    for answer in answers:
        np.testing.assert_array_equal(answer.seen, seen)
        assert answer.top_k == answers[0].top_k and len(answer.top_k) == 3


def test_an_old_export_without_image_size_takes_28(tmp_path: Path) -> None:
    form = Form()
    for name in ("lenet5", "mlp"):
        folder, info = tmp_path / name, {"dataset": "mnist", "preprocess": "resize"}
        export_formats(
            *(build_model(name, 3), folder, draw(5, form), input_size(name), info, ["onnx"]),
            is_measured=False,
        )
        description = yaml.safe_load((folder / "inference.yml").read_text())
        del description["image_size"], description["input"]["channels"]
        (folder / "inference.yml").write_text(yaml.safe_dump(description))
        predictor = Predictor(folder)
        assert predictor.form == form and predictor.predict(draw(2, form).images).shape == (2, 3)
