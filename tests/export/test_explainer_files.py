"""network.json, digits.png, compare.json: what they hold, for which networks, what is refused."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image
from training_help import bars

from lenet_paddle import build_model
from lenet_paddle.data.load import load_dataset
from lenet_paddle.errors import InputError
from lenet_paddle.export.explainer import FILES, describe_network, list_files, write_explainer
from lenet_paddle.export.export import is_replaceable
from lenet_paddle.models import MODELS, input_size
from lenet_paddle.workflows.export import export_run

nn = paddle.nn
MNIST = {"run": "a", "model": "lenet_relu", "dataset": "mnist", "preprocess": "digit"}
BARS = {"dataset": "bars", "preprocess": "resize"}
GREY = (1, 28, 28)
TEN = [str(k) for k in range(10)]


def decode(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


@pytest.mark.parametrize("name", MODELS)
def test_networks_with_convolutions_are_described_with_their_weights(name: str) -> None:
    network, side = build_model(name), input_size(name)
    layers = describe_network(network, (1, side, side))
    if name == "mlp":
        assert layers is None
        return
    assert layers is not None and layers[-1]["shape"] == [10]
    owners = dict(network.named_sublayers())
    weighted = [layer for layer in layers if "weight" in layer]
    assert len(weighted) == sum(isinstance(o, (nn.Conv2D, nn.Linear)) for o in owners.values())
    for layer in weighted:
        weight = owners[layer["name"]].weight.numpy()
        expected = weight if weight.ndim == 4 else weight.T
        np.testing.assert_array_equal(decode(layer["weight"], *expected.shape), expected)
        assert decode(layer["bias"], -1).shape == (layer["shape"][0],)


def test_a_layer_that_changes_nothing_is_there_but_flattening_and_dropout_are_not() -> None:
    network = nn.Sequential(
        *(nn.Conv2D(1, 2, 3), nn.Sigmoid(), nn.ReLU(), nn.Dropout(0.5), nn.MaxPool2D(26)),
        *(nn.Flatten(), nn.Linear(2, 3)),
    )
    layers = describe_network(network, GREY)
    assert layers is not None
    assert [layer["kind"] for layer in layers] == ["conv", "sigmoid", "relu", "max", "linear"]


class Branched(nn.Layer):
    """Two convolutions, added."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2D(1, 2, 3), nn.Conv2D(1, 2, 3)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.a(images) + self.b(images)


class Hidden(nn.Layer):
    """A function between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2D(1, 2, 3), nn.Conv2D(2, 2, 3)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.b(nn.functional.relu(self.a(images)))


class Last(Hidden):
    """A function after the last layer."""

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return 2 * self.b(self.a(images))


@pytest.mark.parametrize(
    "network",
    [
        Branched(), Hidden(), Last(), build_model("vision:vgg11"), nn.Conv2D(1, 2, 3, dilation=2),
        nn.Conv2D(1, 2, 3, padding="same"), nn.Conv2D(1, 2, 3, padding_mode="reflect", padding=1),
        nn.Sequential(nn.Conv2D(1, 2, 3), nn.MaxPool2D(3, ceil_mode=True)),
        nn.Sequential(nn.Conv2D(1, 2, 3), nn.AvgPool2D(2, padding=1)),
        nn.Sequential(nn.Conv2D(1, 2, 3), nn.LeakyReLU()),
        nn.Sequential(nn.Conv2D(1, 2, 3), nn.Conv2D(2, 2, 3, groups=2)),
        nn.Sequential(nn.Conv2D(1, 64, 3), nn.Flatten(), nn.Linear(64 * 26 * 26, 10)),
    ],
    ids=lambda network: type(network).__name__,
)  # fmt: skip
def test_what_the_page_cannot_compute_is_not_described(network: nn.Layer, tmp_path: Path) -> None:
    assert describe_network(network, GREY) is None
    assert write_explainer(network, GREY, TEN, MNIST, tmp_path / "explainer") is None
    assert list(tmp_path.iterdir()) == []


def test_the_sheet_has_a_row_of_mnists_training_digits_for_each_class(tmp_path: Path) -> None:
    write_explainer(build_model("lenet_relu"), GREY, TEN, MNIST, tmp_path / "explainer")
    assert [file.name for file in list_files(tmp_path)] == ["network.json", "digits.png"]
    picture = (tmp_path / "explainer" / "digits.png").read_bytes()
    assert len(picture) < 300_000
    sheet = np.asarray(Image.open(io.BytesIO(picture)))
    digits = load_dataset("mnist", "train")
    for label in (0, 7):
        for k in (0, 99):
            expected = digits.images[digits.labels == label][k]
            shown = sheet[28 * label : 28 * label + 28, 28 * k : 28 * k + 28]
            np.testing.assert_array_equal(shown, expected)


def test_no_pictures_of_other_data_leave_with_an_export(tmp_path: Path) -> None:
    folder = tmp_path / "explainer"
    write_explainer(build_model("lenet_relu", 3), GREY, ["a", "b", "c"], BARS, folder)
    assert [file.name for file in folder.iterdir()] == ["network.json"]


def test_another_network_for_the_same_classes_is_copied(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    own, other = tmp_path / "own" / "explainer", tmp_path / "other" / "explainer"
    write_explainer(build_model("lenet5"), (1, 32, 32), TEN, MNIST, other)
    network = build_model("lenet_relu")
    write_explainer(network, GREY, TEN, MNIST, own, tmp_path / "other", temperature=1.5)
    assert [file.name for file in list_files(tmp_path / "own")] == list(FILES)
    assert (own / "compare.json").read_text() == (other / "network.json").read_text()
    assert json.loads((own / "network.json").read_text())["temperature"] == 1.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no description"), ("{", "no description"), ("[" * 100_000, "no description"),
        ("[]", "no description"), ('{"classes": 3}', "no description"),
        ('{"classes": ["a"], "input": [1, 28, 28]}', "other classes"),
        (json.dumps({"classes": TEN, "input": [3, 28, 28]}), "other classes or colours"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    (other / "explainer").mkdir(parents=True)
    if content is not None:
        (other / "explainer" / "network.json").write_text(content)
    with pytest.raises(InputError, match=said) as refused:
        write_explainer(build_model("lenet_relu"), GREY, TEN, MNIST, own, other)
    assert not own.exists()
    assert "\n" not in str(refused.value)


def test_a_network_without_explainer_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot explain this network"):
        write_explainer(build_model("mlp"), GREY, TEN, MNIST, tmp_path, tmp_path)


def test_a_comparison_needs_a_format_with_the_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="add format onnx or page to paddle"):
        export_run(tmp_path, formats=("paddle",), compare=tmp_path)


def test_an_export_with_onnx_has_the_files_and_can_be_replaced(tmp_path: Path) -> None:
    pytest.importorskip("paddle2onnx")
    from lenet_paddle.export.export import export_formats

    folder, network = tmp_path / "inference", build_model("lenet_relu", 3)
    info: dict[str, Any] = {"test_accuracy": 0.0, "model": "lenet_relu", **BARS}
    export_formats(network, folder, bars(60), 28, info, ("onnx",), is_measured=False)
    described = json.loads((folder / "explainer" / "network.json").read_text())
    assert described["classes"] == list(bars(60).classes)
    assert described["input"] == [1, 28, 28] and described["model"] == "lenet_relu"
    assert is_replaceable(folder)
    assert "onnx" in yaml.safe_load((folder / "inference.yml").read_text())["formats"]
