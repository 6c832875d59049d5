"""An exported model agrees with its network, or is not written."""

import numpy as np
import paddle
import pytest
import yaml
from training_help import bars

from lenet_paddle import build_model, export_inference, normalise
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.export import export
from lenet_paddle.export.engines import load_paddle
from lenet_paddle.models import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_every_model_exports_and_agrees_with_its_network(tmp_path, name):
    size = MODELS[name][1]
    network, images = build_model(name, 3), bars(300)
    export_inference(network, tmp_path / "inference", images, size, {"model": name})
    batch = normalise(images.images[290:], size)
    actual = load_paddle(tmp_path / "inference")(batch)
    expected = predict_logits(network, images.take(slice(290, None)), size)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    description = yaml.safe_load((tmp_path / "inference" / "inference.yml").read_text())
    assert description["classes"] == ["top", "middle", "bottom"]
    assert description["input"]["shape"] == [-1, 1, size, size]


def spoil(monkeypatch, change):
    """Change the output of exported models by `change`."""
    real = export._run
    monkeypatch.setattr(export, "_run", lambda *args: change(real(*args)))


def test_a_model_that_differs_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    paddle.seed(0)  # the bound grows with the largest logit
    spoil(monkeypatch, lambda logits: logits + 2e-5)
    with pytest.raises(RunStopped, match=r"differs from the network by 2(\.\d)?e-05"):
        export_inference(build_model("mlp", 3), tmp_path / "inference", bars(10), 28, {})
    assert list(tmp_path.iterdir()) == []


def test_nan_counts_as_a_difference(tmp_path, monkeypatch):
    spoil(monkeypatch, lambda logits: logits * np.nan)
    with pytest.raises(RunStopped):
        export_inference(build_model("mlp", 3), tmp_path / "inference", bars(10), 28, {})
