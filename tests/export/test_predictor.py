"""An exported folder with each engine; damaged and hostile folders are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image
from tools_help import QUICK, ROOT, assert_refused, tool

from lenet_paddle import load_dataset
from lenet_paddle.data.folder import load_folder
from lenet_paddle.errors import InputError
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.workflows.export import export_run

onnx = pytest.importorskip("onnx")
pytest.importorskip("paddle2onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    done = tool("train", *QUICK, "--output-dir", output, "--name", "a")
    assert done.returncode == 0, done.stderr
    done = tool("export", "--run", output / "a", "--formats", "paddle,onnx,safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "max difference" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [
        *("paddle", "onnx", "safetensors")
    ]
    return output / "a"


@pytest.fixture
def copy(run_dir, tmp_path):
    shutil.copytree(run_dir / "inference", tmp_path / "inference")
    return tmp_path / "inference"


def test_predict_gives_the_same_answers_with_both_engines(run_dir, tmp_path):
    for i, image in enumerate(load_dataset("mnist", "test").images[:6]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    found = {}
    for engine in ("paddle", "onnx", "auto"):
        done = tool(
            *("predict", "--model", run_dir / "inference", "--engine", engine),
            *(tmp_path, "--format", "json"),
        )
        assert done.returncode == 0, done.stderr
        found[engine] = json.loads(done.stdout)
    assert len(found["paddle"]) == 6
    for name in ("onnx", "auto"):
        for answer, other in zip(found["paddle"], found[name], strict=True):
            assert answer["class"] == other["class"]
            assert answer["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_a_large_jpeg_is_prepared_as_for_training(copy, tmp_path, rng):
    """Both decode it at reduced size."""
    path = copy / "inference.yml"
    path.write_text(path.read_text().replace("preprocess: digit", "preprocess: resize"))
    for name in ("a/1", "a/2", "b/1"):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        small.resize((500, 375)).save(tmp_path / "data" / f"{name}.jpg")
    trained = load_folder("train", tmp_path / "data", test_size=1, channels=1, image_size=28)
    paths = [tmp_path / "data" / name for name in trained.names]
    answers = list(Predictor(copy, "onnx").answer_files(paths))
    np.testing.assert_array_equal(trained.images, [answer.seen for answer in answers])


def test_the_onnx_engine_does_not_import_paddle(run_dir):
    code = (
        "import sys; from lenet_paddle.export.predictor import Predictor; import numpy as np\n"
        f"p = Predictor({str(run_dir / 'inference')!r}, 'onnx')\n"
        "p.answer('a', np.zeros((40, 50), np.uint8))\n"
        "p.run_with_maps(np.zeros((1, 28, 28), np.uint8))\n"
        "print(p.engine, sorted({name.split('.')[0] for name in sys.modules} & "
        "{'paddle', 'visualdl', 'matplotlib', 'onnx', 'paddle2onnx'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "onnx []\n", done.stderr


def test_damaged_onnx_files_are_one_line(copy):
    whole = {name: (copy / name).read_bytes() for name in ("model.onnx", "features.onnx")}
    for damage in (
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"\x80" * 99,
    ):
        for name, data in whole.items():
            (copy / name).write_bytes(damage(data))
        with pytest.raises(InputError, match="a damaged exported model; export it again"):
            Predictor(copy, "onnx")
        (copy / "model.onnx").write_bytes(whole["model.onnx"])
        with pytest.raises(InputError, match=r"features\.onnx: a damaged model"):
            Predictor(copy, "onnx").run_with_maps(np.zeros((1, 28, 28), np.uint8))
    (copy / "features.onnx").write_bytes(whole["model.onnx"].replace(b"logits", b"digits"))
    with pytest.raises(InputError, match=r"features\.onnx: a damaged model"):
        Predictor(copy, "onnx").run_with_maps(np.zeros((1, 28, 28), np.uint8))
    (copy / "model.onnx").write_bytes(b"no model")
    done = tool("predict", "--model", copy, "--engine", "onnx")
    assert_refused(done, "a damaged exported model; export it again")


def test_without_features_only_the_maps_are_refused(copy):
    (copy / "features.onnx").unlink()
    predictor = Predictor(copy)
    assert predictor.predict(np.zeros((1, 28, 28), np.uint8)).shape == (1, 10)
    with pytest.raises(InputError, match="export it with format onnx"):
        predictor.run_with_maps(np.zeros((1, 28, 28), np.uint8))


def test_a_model_that_names_other_files_is_refused(copy):
    """ONNX's external data may name any file, and ONNX Runtime 1.23 reads it."""
    model = onnx.load(str(copy / "model.onnx"))
    weight = model.graph.initializer[0]
    for name in ("secret", "../secret"):
        (copy / name).write_bytes(onnx.numpy_helper.to_array(weight).tobytes())
    weight.ClearField("raw_data")
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    for entry.value in ("secret", "../secret", str(copy / "secret")):
        entry.key = "location"
        (copy / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match="a damaged exported model"):
            Predictor(copy, "onnx")


def test_a_model_of_other_names_or_classes_is_refused(copy):
    model = onnx.load(str(copy / "model.onnx"))
    model.graph.input[0].name = "picture"
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="a damaged exported model"):
        Predictor(copy, "onnx")
    path = copy / "inference.yml"
    path.write_text(path.read_text().replace("- '9'\n", ""))
    with pytest.raises(InputError, match="names 9 classes, the model has 10"):
        Predictor(copy, "paddle")


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "tensorrt"},
        {"engine": ["onnx"]},
        {"features": "x"},
        {"features": [{"name": "a"}]},
        {"features": [{"name": "a", "shape": [float("inf")]}]},
        {"preprocess": {"digit": 1}},
        {"input": {"shape": [1, 1, 28, 10**9]}},
        {"input": {"shape": [-1, 1, 32, 28]}},
        {"input": {"shape": [-1, 2, 28, 28]}},
        {"input": {"shape": [-1, 3, 28, 28]}},
        {"input": {"shape": [-1, [3], 28, 28]}},
        {"input": {"shape": [-1, 1, 28]}},
        {"image_size": 64},
        {"image_size": 0},
        {"image_size": "auto"},
        {"image_size": [28]},
        {"classes": None},
    ],
    ids=str,
)
def test_an_invalid_description_is_one_line(copy, change):
    path = copy / "inference.yml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"inference\.yml: ") as caught:
        Predictor(copy)
    assert "\n" not in str(caught.value)


def test_out_never_replaces_a_folder_that_is_not_an_export(run_dir, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    (tmp_path / "file").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").touch()  # somebody else's
    for out in ("mine", "file", "model"):
        with pytest.raises(InputError, match="exists and is not an export"):
            export_run(run_dir, out=tmp_path / out)
    assert (tmp_path / "mine" / "precious").exists()
    for _ in range(2):
        assert export_run(run_dir, out=tmp_path / "b")[0] == tmp_path / "b"
    names = {"inference.json", "inference.pdiparams", "inference.yml", "model_card.md"}
    assert {path.name for path in (tmp_path / "b").iterdir()} == names
    (tmp_path / "b" / "notes.txt").touch()
    with pytest.raises(InputError, match="exists and is not an export"):
        export_run(run_dir, out=tmp_path / "b")
    done = tool("export", "--run", run_dir, "--formats", "onnx,tflite", "--out", tmp_path / "c")
    assert_refused(done, "formats: 'tflite' is unknown", "onnx-int8")
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_train_starts_from_exported_safetensors(run_dir, tmp_path):
    source = run_dir / "inference" / "model.safetensors"
    still = ["--optimizer", "sgd", "--learning-rate", "1e-20", "--output-dir", tmp_path]
    done = tool("train", "--init-from", source, *QUICK, *still, "--name", "b")
    assert done.returncode == 0, done.stderr
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (run_dir, tmp_path / "b")]
    assert metrics[0]["loss"] == pytest.approx(metrics[1]["loss"], abs=1e-9)
    (tmp_path / "cut.safetensors").write_bytes(source.read_bytes()[:5000])
    for arguments, words in (
        (["--init-from", tmp_path / "cut.safetensors"], ["not a safetensors file"]),
        (["--init-from", source, "--with-optimizer"], ["model.pdopt: missing"]),
        (["--init-from", source, "--model", "mlp"], ["another network"]),
    ):
        assert_refused(tool("train", *arguments, *QUICK, "--output-dir", tmp_path / "o"), *words)
    assert not (tmp_path / "o").exists()
