"""Frozen layers keep every bit, have no optimizer state and count as non-trainable."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import paddle
import pytest
from tools_help import SMALL, assert_refused, tool
from training_help import bars, train, weights_of

from lenet_paddle import InputError, TrainConfig, build_model
from lenet_paddle.analysis.layers import analyse, totals
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.models.parameters import count_parameters
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.muon import Muon
from lenet_paddle.training.optimizers import build_optimizer
from lenet_paddle.training.ranks import ShareStatistics
from lenet_paddle.training.weights import load_optimizer_state, load_weights


def layers_of(frozen):
    return sorted({name.rpartition(".")[0] for name in frozen})


@pytest.mark.parametrize(
    ("model", "freeze", "layers"),
    [
        ("lenet_builtin", "1", ["features.0"]),
        ("lenet_builtin", "3", ["fc.0", "features.0", "features.3"]),
        ("lenet_builtin", "features", ["features.0", "features.3"]),
        ("lenet_builtin", "fc.0, features.*", ["fc.0", "features.0", "features.3"]),
        ("lenet_builtin", "*.0", ["fc.0", "features.0"]),
        ("lenet_modern", "2", ["0", "2"]),  # a batch normalisation is a layer with weights
        ("lenet_modern", "[0],12", ["0", "12"]),
        ("vision:resnet18", "network.conv1,network.bn1", ["network.bn1", "network.conv1"]),
    ],
)
def test_freeze_means_the_first_n_layers_or_names_and_patterns(model, freeze, layers):
    network = build_model(model)
    assert layers_of(freeze_layers(network, freeze)) == layers
    assert layers_of(freeze_layers(network, freeze)) == layers  # again, nothing changes
    kept = {name.rpartition(".")[0] for name, p in network.named_parameters() if p.stop_gradient}
    if model == "lenet_builtin":
        assert sorted(kept) == layers


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        ("conv*", "freeze conv.*: no such layer; .* features.0, features.3, fc.0, fc.1, fc.2"),
        ("features.0,fc.7", r"freeze fc\.7: no such layer"),
        ("0", "freeze 0: no such layer; expected a number from 1"),
        ("5", "freeze 5 leaves nothing to train; the layers are features.0, .*fc.2"),
        ("f*", "leaves nothing to train"),
    ],
)
def test_what_fits_no_layer_or_all_is_refused_with_the_layers_names(freeze, words):
    with pytest.raises(InputError, match=words):
        freeze_layers(build_model("lenet_builtin"), freeze)


def test_an_empty_name_is_refused_and_a_yaml_file_may_hold_a_number(tmp_path):
    with pytest.raises(InputError, match="freeze is 'a,'; expected a number of layers"):
        TrainConfig(freeze="a,")
    from lenet_paddle.settings import load_yaml

    (tmp_path / "a.yaml").write_text("freeze: 1\n")
    assert load_yaml(tmp_path / "a.yaml", TrainConfig) == {"freeze": "1"}


def test_paddles_summary_and_ours_count_frozen_weights_as_non_trainable():
    network = build_model("lenet_builtin")
    assert count_parameters(network) == (61_610, 0)
    freeze_layers(network, "1")
    assert count_parameters(network) == (61_550, 60)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = paddle.summary(network, (1, 1, 28, 28))
    assert theirs == {"total_params": 61_610, "trainable_params": 61_550}
    sums = totals(analyse(network, (1, 28, 28)))
    assert (sums["parameters"], sums["frozen"], sums["not_trained"]) == (61_610, 60, 0)
    modern = build_model("lenet_modern")
    freeze_layers(modern, "2")
    sums = totals(analyse(modern, (1, 28, 28)))
    assert (sums["parameters"], sums["frozen"], sums["not_trained"]) == (56_546, 216, 2 * 168)


SETTINGS = {
    "adam": {"optimizer": "adam"},
    "adam, weight decay": {"optimizer": "adam", "weight_decay": 0.1},
    "adamw, l2, average": {"optimizer": "adamw", "weight_decay": 0.1, "l2": 0.01, "ema": 0.9},
    "sgd, l2": {"optimizer": "sgd", "l2": 0.1},
    "momentum, accumulated": {"optimizer": "momentum", "weight_decay": 0.1, "accumulate": 2},
    "muon, l2, average": {
        **{"optimizer": "muon", "learning_rate": 0.02, "weight_decay": 0.1},
        **{"l2": 0.01, "ema": 0.9},
    },
}


@pytest.mark.parametrize("model", ["lenet_modern", "cnn_regularized"])
@pytest.mark.parametrize("name", SETTINGS)
def test_frozen_weights_and_statistics_are_bitwise_as_before_and_have_no_state(
    tmp_path, name, model
):
    """lenet_modern has batch normalisation, cnn_regularized has its own penalties."""
    settings = dict(SETTINGS[name])
    if model == "cnn_regularized" and settings["optimizer"] in ("adam", "momentum"):
        settings.pop("weight_decay", None)  # its own penalties take that place
    with paddle.utils.unique_name.guard():
        paddle.seed(0)
        before = weights_of(build_model(model, 3))
    network, _ = train(tmp_path, model=model, freeze="2", epochs=1, **settings)
    after = weights_of(network)
    frozen = freeze_layers(network, "2")
    for tensor in before:
        assert np.array_equal(before[tensor], after[tensor]) == (tensor in frozen), tensor
    saved = load_weights(tmp_path / "checkpoints/latest/model.pdparams")
    assert all(np.array_equal(saved[tensor], before[tensor]) for tensor in frozen)
    pdopt = tmp_path / "checkpoints/latest/model.pdopt"
    state = load_optimizer_state(pdopt) if pdopt.exists() else {}
    names = {tensor: parameter.name for tensor, parameter in network.named_parameters()}
    for tensor in names:
        kept = [key for key in state if key.startswith(names[tensor] + "_")]
        trained = tensor not in frozen and "_mean" not in tensor and "_variance" not in tensor
        assert bool(kept) == (trained and not name.startswith("sgd")), (tensor, kept)


def test_a_frozen_batch_norm_computes_as_in_evaluation_and_passes_the_same_gradients(rng):
    batch = rng.normal(size=(8, 3, 5, 5)).astype("float32")
    layer = paddle.nn.Sequential(paddle.nn.BatchNorm2D(3), paddle.nn.Conv2D(3, 2, 3))
    layer[0]._mean.set_value(np.array([0.1, -0.2, 0.3], "float32"))
    layer[0]._variance.set_value(np.array([0.5, 2.0, 1.5], "float32"))
    results = []
    for freeze in (None, "1"):
        freeze_layers(layer, freeze)
        layer.eval() if freeze is None else layer.train()
        images = paddle.to_tensor(batch, stop_gradient=False)
        output = layer(images)
        [gradient] = paddle.grad((output**2).sum(), [images])
        results.append((output.numpy(), gradient.numpy()))
    for plain, frozen in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, frozen)
    np.testing.assert_array_equal(layer[0]._variance.numpy(), np.array([0.5, 2, 1.5], "float32"))


def test_the_trained_layers_get_the_gradients_that_they_would_get_without_freezing(rng):
    batch = paddle.to_tensor(rng.normal(size=(4, 1, 28, 28)).astype("float32"))
    gradients = []
    for freeze in (None, "2"):
        paddle.seed(0)
        network = build_model("lenet_builtin")
        freeze_layers(network, freeze)
        network(batch).square().mean().backward()
        named = network.named_parameters()
        gradients.append({name: None if p.grad is None else p.grad.numpy() for name, p in named})
    plain, frozen = gradients
    for name in plain:
        if name.startswith("features"):
            assert frozen[name] is None
        else:
            np.testing.assert_array_equal(plain[name], frozen[name])


def test_with_muon_the_last_layer_is_the_networks_last_also_when_that_is_frozen():
    network = build_model("lenet_builtin")
    freeze_layers(network, "fc.2")
    config = TrainConfig(optimizer="muon")
    optimizer = build_optimizer(config, network.parameters())
    assert isinstance(optimizer, Muon)
    own = [name for name, p in network.named_parameters() if p.name in optimizer.buffers]
    assert own == ["features.0.weight", "features.3.weight", "fc.0.weight", "fc.1.weight"]
    network = build_model("lenet_modern")
    freeze_layers(network, "[2-9],12")  # a kernel alone is left: nothing for its AdamW
    optimizer = build_optimizer(config, network.parameters())
    images = paddle.ones([2, 1, 28, 28])
    before = weights_of(network)
    network(images).square().sum().backward()
    optimizer.step()
    changed = [n for n, w in weights_of(network).items() if not np.array_equal(w, before[n])]
    assert changed == ["0.weight"]


def test_ranks_share_the_statistics_of_trained_layers_only(monkeypatch):
    network = build_model("lenet_modern", 3)
    frozen = freeze_layers(network, "2")
    averager = AverageWeights(
        TrainConfig(ema=0.9), network, type("State", (), {"epoch": 0})(), bars(8), [1], None, frozen
    )
    shared = []
    monkeypatch.setattr(
        "lenet_paddle.training.ranks.average_over_ranks", lambda tensors: shared.extend(tensors)
    )
    callback = ShareStatistics(averager, frozen)
    callback.set_model(type("Model", (), {"network": network})())
    callback.on_eval_begin()
    ids = {id(tensor) for tensor in shared}
    own = {name for name, tensor in network.state_dict().items() if id(tensor) in ids}
    assert own == {"6._mean", "6._variance", "9._mean", "9._variance"}
    assert len(shared) == 2 * len(own)


@pytest.mark.slow
def test_a_frozen_run_says_so_and_with_optimizer_takes_no_state_of_frozen_layers(tmp_path):
    quick = [*SMALL, "--limit", "640", "--epochs", "1", "--output-dir", tmp_path]
    assert tool("train", *quick, "--name", "first").returncode == 0
    second = ["--init-from", tmp_path / "first", "--freeze", "1", "--with-optimizer"]
    done = tool("train", *quick, *second, "--name", "second")
    assert done.returncode == 0, done.stderr
    assert "61,610 parameters, 61,550 of them trainable and 60 non-trainable" in done.stderr
    old, new = (
        load_weights(tmp_path / name / "checkpoints/best/model.pdparams")
        for name in ("first", "second")
    )
    for name in old:
        assert np.array_equal(old[name], new[name]) == name.startswith("features.0"), name
    state = load_optimizer_state(tmp_path / "second/checkpoints/latest/model.pdopt")
    moments = [key for key in state if "_moment1_0" in key]
    assert len(moments) == 8 and not any(key.startswith("conv2d_0.") for key in state)


def test_a_layer_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path):
    done = tool("train", *SMALL, "--freeze", "conv1", "--output-dir", tmp_path / "out")
    assert_refused(done, "freeze conv1: no such layer", "features.0")
    assert not (tmp_path / "out").exists()
