"""Names, axes and versions of each format, and its agreement with the network."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from marks import slow
from training_help import bars, train, weights_of

from lenet_paddle import build_model, normalise
from lenet_paddle.analysis.hooks import layer_outputs
from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.evaluation.calibration import Calibration
from lenet_paddle.evaluation.evaluate import compute_logits, evaluate
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.export import export, formats
from lenet_paddle.export.engines import OnnxModel
from lenet_paddle.export.export import _faster_engine, export_formats
from lenet_paddle.export.onnx_files import OPSET
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.models import MODELS
from lenet_paddle.training.weights import load_weights

onnx = pytest.importorskip("onnx")
pytest.importorskip("paddle2onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")
WITHOUT_NPM = [name for name in formats.FORMATS if name != "page"]  # see test_static_page.py
FAMILIES = ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "densenet121", "squeezenet1_1")


def export_all(folder, name="lenet_relu", wanted=("onnx",), is_measured=False, **options):
    """Export an untrained network; return it, its rows and the content of inference.yml."""
    network, images = build_model(name, 3), bars(200)
    size = MODELS[name][1] if name in MODELS else 28
    info = {"model": name, "test_accuracy": 0.0, "dataset": "bars", "preprocess": "resize"}
    rows = export_formats(
        *(network, folder, images, size, info, wanted),
        load_train_set=lambda: bars(100, seed=1),
        is_measured=is_measured,
        **options,
    )
    return network, rows, yaml.safe_load((folder / "inference.yml").read_text())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "inference"
    network, rows, description = export_all(folder, wanted=WITHOUT_NPM, is_measured=True)
    return folder, network, rows, description


@pytest.mark.parametrize("name", MODELS)
def test_onnx_has_names_axes_and_opset_and_agrees_with_the_network(tmp_path, name):
    network, _, description = export_all(tmp_path / "a", name)
    model = onnx.load(str(tmp_path / "a" / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    size = MODELS[name][1]
    assert shapes == {"image": ["batch", 1, size, size], "logits": ["batch", 3]}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert description["formats"]["onnx"]["opset"] == OPSET
    for count in (1, 5):
        batch = normalise(bars(count, seed=3).images, size)
        actual = OnnxModel(tmp_path / "a" / "model.onnx")(batch)
        np.testing.assert_allclose(actual, compute_logits(network, batch), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_the_maps_after_each_convolutions_activation(tmp_path, name):
    network, _, description = export_all(tmp_path / "a", name)
    features = description["features"]
    count = sum(isinstance(layer, paddle.nn.Conv2D) for layer in network.sublayers())
    assert [row["name"] for row in features] == [f"feature_{i + 1}" for i in range(count)]
    path = tmp_path / "a" / "features.onnx"
    assert path.exists() == bool(features)
    if not features:
        return
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    batch = normalise(bars(4, seed=3).images, MODELS[name][1])
    outputs = OnnxModel(path).run_all(batch)
    np.testing.assert_allclose(outputs["logits"], compute_logits(network, batch), atol=1e-5)
    kinds = [type(layer).__name__ for layer in network.sublayers() if not layer.sublayers()]
    layers = list(layer_outputs(network, batch).values())
    assert len(kinds) == len(layers)
    number = 0
    for index, kind in enumerate(kinds):
        if kind == "Conv2D":
            number += 1
            behind = next(
                i for i in range(index, len(kinds)) if kinds[i] in ("ReLU", "Tanh", "Sigmoid")
            )
            maps = outputs[f"feature_{number}"]
            assert list(maps.shape[1:]) == features[number - 1]["shape"]
            np.testing.assert_allclose(maps, layers[behind], atol=1e-5)


def test_every_format_is_near_the_network_and_measured(exported):
    folder, _, rows, description = exported
    assert description["formats"] == rows and list(rows) == WITHOUT_NPM
    for name, row in rows.items():
        assert row["size_bytes"] > 1000 and row["latency_ms"] > 0 and row["images_per_s"] > 0
        if name != "onnx-int8":
            assert row["max_difference"] <= 1e-5 and row["agreement"] == 1.0
    assert rows["onnx-int8"]["size_bytes"] < rows["onnx"]["size_bytes"] / 2
    assert (folder / "model.onnx").stat().st_size == rows["onnx"]["size_bytes"]


def test_auto_is_the_engine_that_inference_yml_names(exported, tmp_path):
    folder, _, rows, description = exported
    faster = min(("paddle", "onnx"), key=lambda name: rows[name]["latency_ms"])
    assert description["engine"] == faster and Predictor(folder).engine == faster
    for engine in ("paddle", "onnx"):
        copy = tmp_path / engine
        copy.mkdir()
        for path in folder.glob("*.*"):
            (copy / path.name).write_bytes(path.read_bytes())
        (copy / "inference.yml").write_text(yaml.safe_dump({**description, "engine": engine}))
        assert Predictor(copy).engine == engine


def test_both_engines_give_the_networks_probabilities(exported):
    folder, network, _, _ = exported
    images = bars(20, seed=5).images
    logits = compute_logits(network, normalise(images, 28)).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for engine in ("paddle", "onnx"):
        predictor = Predictor(folder, engine)
        assert predictor.engine == engine and predictor.classes == ("top", "middle", "bottom")
        np.testing.assert_allclose(predictor.predict(images), expected, atol=1e-5)
        logits, maps = predictor.run_with_maps(images)
        np.testing.assert_allclose(compute_probs(logits), expected, atol=1e-5)
        assert maps["feature_1"].shape == (20, 6, 28, 28)


@pytest.mark.slow
def test_every_format_gives_calibrated_logits(tmp_path):
    """But for the weights alone, from which a training may start."""
    folder, calibration = tmp_path / "a", Calibration(2.5, 0.75, 200)
    network, rows, description = export_all(
        folder, wanted=WITHOUT_NPM, is_measured=True, calibration=calibration
    )
    assert description["calibration"] == calibration.to_dict()
    assert all(row["max_difference"] < 1e-5 for name, row in rows.items() if name != "onnx-int8")
    images = bars(20, seed=5).images
    expected = compute_logits(network, normalise(images, 28)) / 2.5
    for engine in ("paddle", "onnx", "onnx-int8"):
        predictor = Predictor(folder, engine)
        assert predictor.calibration == calibration
        close = {"atol": 0.05 if engine == "onnx-int8" else 1e-5}
        np.testing.assert_allclose(predictor.predict_logits(images), expected, **close)
        np.testing.assert_allclose(predictor.predict(images), compute_probs(expected), **close)
    np.testing.assert_allclose(predictor.run_with_maps(images)[0], expected, atol=1e-5)
    triton = OnnxModel(folder / "triton" / "lenet" / "1" / "model.onnx")
    np.testing.assert_allclose(triton(normalise(images, 28)), expected, atol=1e-5)
    weights = load_weights(folder / "model.safetensors")
    own = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert sorted(weights) == sorted(own)
    assert all((weights[name] == own[name]).all() for name in own)


def test_a_temperature_of_1_adds_nothing_to_the_graph(tmp_path):
    operators = {}
    for temperature in (None, 1, 2):
        folder = tmp_path / str(temperature)
        calibration = None if temperature is None else Calibration(temperature, 0.5, 200)
        export_all(folder, calibration=calibration)
        graph = onnx.load(str(folder / "model.onnx")).graph
        operators[temperature] = [node.op_type for node in graph.node]
    assert operators[1] == operators[None]
    assert operators[2] == [*operators[None], "Mul"]


def test_auto_takes_the_only_engine_that_can_run(exported, tmp_path, monkeypatch):
    folder, _, _, description = exported
    for name in ("inference.yml", "inference.json", "inference.pdiparams"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "inference.yml").write_text(yaml.safe_dump({**description, "engine": "onnx"}))
    assert Predictor(tmp_path).engine == "paddle"
    with pytest.raises(InputError, match=r"it has no model\.onnx"):
        Predictor(tmp_path, "onnx")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    assert Predictor(tmp_path).engine == "onnx"
    real = importlib.util.find_spec
    hide = lambda name, *rest: None if name == "onnxruntime" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hide)
    assert Predictor(tmp_path).engine == "paddle"


def test_int8_keeps_the_accuracy_or_is_refused(tmp_path):
    network, _ = train(tmp_path / "run", model="lenet_relu")
    test_set = bars(600, seed=2)
    accuracy = evaluate(network, test_set)["accuracy"]
    assert accuracy > 0.95
    arguments = {
        "formats": ["onnx-int8"],
        "load_train_set": lambda: bars(100),
        "is_measured": False,
    }
    info = {"test_accuracy": accuracy}
    rows = export_formats(network, tmp_path / "a", test_set, 28, info, **arguments)
    assert rows["onnx-int8"]["accuracy"] >= accuracy - 0.002
    preds = OnnxModel(tmp_path / "a/model-int8.onnx")(normalise(test_set.images)).argmax(1)
    assert rows["onnx-int8"]["accuracy"] == (preds == test_set.labels).mean()
    info = {"test_accuracy": rows["onnx-int8"]["accuracy"] + 0.0021}
    with pytest.raises(RunStopped, match=r"onnx-int8 has an accuracy of .*; nothing was written"):
        export_formats(network, tmp_path / "b", test_set, 28, info, **arguments)
    assert not (tmp_path / "b").exists()


def test_of_few_test_images_int8_may_miss_one(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "compute_accuracy", lambda preds, labels: 27 / 40)

    def export_int8(missed):
        info = {"test_accuracy": (27 + missed) / 40}
        return export_formats(
            *(build_model("mlp", 3), tmp_path / "a", bars(40), 28, info, ["onnx-int8"]),
            load_train_set=lambda: bars(40),
            is_measured=False,
        )

    assert export_int8(1)["onnx-int8"]["accuracy"] == 27 / 40
    with pytest.raises(RunStopped, match=r"at most 0\.025 less is allowed.* leave out onnx-int8"):
        export_int8(2)


def test_a_format_that_differs_leaves_the_old_folder_unchanged(tmp_path, monkeypatch):
    export_all(tmp_path / "a", wanted=["paddle"])
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    real = export._run
    spoilt = [0]

    def run(engine, *rest):
        spoilt[0] += 1
        return real(engine, *rest) + (1.0 if spoilt[0] == 2 else 0.0)

    monkeypatch.setattr(export, "_run", run)
    with pytest.raises(RunStopped, match="onnx differs from the network by 1"):
        export_all(tmp_path / "a", wanted=["paddle", "onnx"])
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("package", ["paddle2onnx", "onnx", "onnxruntime", "safetensors.numpy"])
def test_a_missing_package_is_one_line_with_the_install_command(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    wanted = ["paddle", "safetensors" if package == "safetensors.numpy" else "onnx"]
    with pytest.raises(InputError, match=rf"{package} is missing.*pip install '\.\[export\]'"):
        export_all(tmp_path / "a", wanted=wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_converted_is_one_error(tmp_path, monkeypatch):
    paddle2onnx = pytest.importorskip("paddle2onnx")
    for made in (None, b"no model"):
        monkeypatch.setattr(paddle2onnx, "export", lambda *args, made=made, **options: made)
        with pytest.raises(RunStopped, match=r"paddle2onnx (cannot convert|made an invalid ONNX)"):
            export_all(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_safetensors_hold_the_weights_by_name(exported):
    folder, network, _, _ = exported
    own, saved = weights_of(network), load_weights(folder / "model.safetensors")
    assert list(sorted(saved)) == sorted(own)
    for name, array in own.items():
        np.testing.assert_array_equal(saved[name], array)


def test_triton_has_a_repository_of_one_model(exported):
    folder, _, _, _ = exported
    repository = folder / "triton" / "lenet"
    assert (repository / "1" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert (repository / "labels.txt").read_text().split() == ["top", "middle", "bottom"]
    assert {p.name for p in repository.iterdir()} == {"1", "config.pbtxt", "labels.txt"}


def test_tritons_config_fits_tritons_schema_and_the_model(exported):
    """tritonclient has its model_config.proto: an unknown field or type is an error."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    spec = importlib.util.find_spec("tritonclient")
    if spec is None:
        pytest.skip("needs tritonclient")
    folder = exported[0]
    path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    made = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    text = (folder / "triton" / "lenet" / "config.pbtxt").read_text()
    config = text_format.Parse(text, module.ModelConfig())
    assert (config.name, config.backend) == ("lenet", "onnxruntime")
    assert config.max_batch_size > 1 and config.HasField("dynamic_batching")
    [given], [output] = config.input, config.output
    assert (given.name, list(given.dims)) == ("image", [1, 28, 28])
    assert (output.name, list(output.dims)) == ("logits", [3])
    assert given.data_type == output.data_type == module.DataType.Value("TYPE_FP32")
    assert (folder / "triton" / "lenet" / output.label_filename).is_file()


def test_the_formats_of_a_flag_are_read_or_refused():
    assert formats.parse_formats("paddle, onnx,paddle") == ["paddle", "onnx"]
    for text in ("", ",", "tflite", "paddle,tflite"):
        with pytest.raises(InputError, match=r"formats: .*expected one or more of paddle,onnx,"):
            formats.parse_formats(text)


@pytest.mark.parametrize(
    "name",
    [
        "vision:shufflenet_v2_x0_25",
        *(slow(f"vision:{name}") for name in FAMILIES),
    ],
)
def test_paddles_own_networks_are_exported_too(tmp_path, name):
    network, rows, description = export_all(tmp_path / "a", name, ["onnx", "safetensors"])
    convolutions = [layer for layer in network.sublayers() if type(layer).__name__ == "Conv2D"]
    assert len(description["features"]) == len(convolutions)
    assert rows["safetensors"]["max_difference"] <= 1e-5


def test_a_model_card_is_made_from_the_content_of_inference_yml(exported, tmp_path):
    cards = []
    export_all(
        tmp_path / "a",
        wanted=["paddle"],
        write_card=lambda description: cards.append(description) or "the card\n",
    )
    assert (tmp_path / "a" / "model_card.md").read_text() == "the card\n"
    written = yaml.safe_load((tmp_path / "a" / "inference.yml").read_text())
    assert json.loads(json.dumps(cards[0])) == written


def test_int8_runs_only_on_request(exported, tmp_path):
    folder, _, rows, description = exported
    images = bars(50, seed=2).images
    probs = Predictor(folder, "onnx-int8").predict(images)
    whole = Predictor(folder, "onnx").predict(images)
    assert 0 < np.abs(probs - whole).max() < 0.2
    rows = {"onnx-int8": {**rows["onnx-int8"], "latency_ms": 0.0}, "onnx": rows["onnx"]}
    assert _faster_engine(rows) == {"engine": "onnx"}
    assert _faster_engine({"onnx-int8": rows["onnx-int8"]}) == {}
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "model-int8.onnx", alone)
    (alone / "inference.yml").write_text(yaml.safe_dump({**description, "engine": "onnx"}))
    with pytest.raises(InputError, match=r"neither model\.onnx nor inference\.json"):
        Predictor(alone)
    assert Predictor(alone, "onnx-int8").engine == "onnx-int8"


def test_an_invalid_batch_of_pictures_is_one_line(exported):
    predictor = Predictor(exported[0])
    for images in (
        np.zeros((28, 28), np.uint8),
        np.zeros((0, 28, 28), np.uint8),
        np.zeros((2, 28, 28), np.float32),
        np.zeros((2, 1, 28, 28), np.uint8),
    ):
        with pytest.raises(InputError, match="expected uint8"):
            predictor.predict(images)


@pytest.mark.parametrize("name", WITHOUT_NPM)
def test_a_format_writes_the_files_that_it_names_and_no_other(tmp_path, name):
    export_all(tmp_path / "a", wanted=[name])
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert written == {"inference.yml", *formats.FORMATS[name].names}
    assert export.is_replaceable(tmp_path / "a")
