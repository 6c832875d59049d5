"""The moving average of the weights: its values, what is saved, and that resuming is exact."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from training_help import bars, train, weights_of

from lenet_paddle import TrainConfig, build_model
from lenet_paddle.evaluation.evaluate import evaluate
from lenet_paddle.run_folder import Run
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.checkpoint import read_state
from lenet_paddle.training.fit import fit
from lenet_paddle.training.weights import load_weights
from lenet_paddle.workflows.start import restore

SGD = {"optimizer": "sgd", "learning_rate": 0.05}


def follow(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """The weights before the first update and after each."""
    seen: list[dict[str, np.ndarray]] = []
    real = AverageWeights.on_train_batch_end

    def spy(self, step, logs=None):
        before = self.updates
        real(self, step, logs)
        if self.updates != before:
            seen.append(weights_of(self.network))

    monkeypatch.setattr(AverageWeights, "on_train_batch_end", spy)
    return seen


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_average_is_that_of_the_formula_over_all_updates(tmp_path, monkeypatch, accumulate):
    seen = follow(monkeypatch)
    network, _ = train(tmp_path, ema=0.6, accumulate=accumulate, **SGD)
    with paddle.utils.unique_name.guard():
        paddle.seed(0)
        expected = weights_of(build_model("mlp", 3))
    assert len(seen) == 2 * {1: 4, 3: 2}[accumulate]  # 100 images are 4 batches an epoch
    for update, weights in enumerate(seen, start=1):
        decay = min(0.6, (1 + update) / (10 + update))
        expected = {n: decay * w + (1 - decay) * weights[n] for n, w in expected.items()}
    latest = tmp_path / "checkpoints" / "latest"
    for name, weight in expected.items():
        np.testing.assert_allclose(load_weights(latest / "model.pdparams")[name], weight, atol=1e-6)
        np.testing.assert_array_equal(load_weights(latest / "raw.pdparams")[name], seen[-1][name])
        np.testing.assert_allclose(weights_of(network)[name], weight, atol=1e-6)


def test_average_and_raw_weights_are_both_evaluated(tmp_path):
    network, state = train(tmp_path, ema=0.9, **SGD)
    held_out, row = bars(50, seed=1), state.history[-1]
    average = evaluate(network, held_out)
    network.set_state_dict(load_weights(tmp_path / "checkpoints/latest/raw.pdparams"))
    raw = evaluate(network, held_out)
    assert row["val_loss"] == pytest.approx(average["loss"], rel=1e-6)
    assert row["raw_val_loss"] == pytest.approx(raw["loss"], rel=1e-6)
    assert row["raw_val_accuracy"] == raw["accuracy"] and row["val_accuracy"] == average["accuracy"]
    assert raw["loss"] != average["loss"]
    header = (tmp_path / "history.csv").read_text().splitlines()[0]
    assert header.endswith(",raw_val_loss,raw_val_accuracy")


def test_the_average_does_not_change_what_is_trained(tmp_path):
    plain, _ = train(tmp_path / "a", epochs=3)
    train(tmp_path / "b", epochs=3, ema=0.9)
    raw = load_weights(tmp_path / "b/checkpoints/latest/raw.pdparams")
    for name, weight in weights_of(plain).items():
        np.testing.assert_array_equal(raw[name], weight)
    assert not (tmp_path / "a/checkpoints/latest/raw.pdparams").exists()


@pytest.mark.parametrize("model", ["mlp", "lenet_modern"])
def test_a_training_that_goes_on_from_a_checkpoint_equals_an_uninterrupted_one(tmp_path, model):
    settings = {
        "model": model,
        "epochs": 3,
        "ema": 0.9,
        "optimizer": "muon",
        "learning_rate": 0.02,
        "weight_decay": 0.05,
        "warmup_epochs": 0.5,
        "schedule": "cosine",
        "augment": "strong",
        "l2": 0.001,
        "patience": 9,  # which the log of the one that is stopped names
    }
    train(tmp_path / "whole", **settings)
    stopped = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenet_paddle.training.callbacks.is_finished", lambda c, s: s.epoch >= 2)
        train(stopped, **settings)
    assert read_state(stopped / "checkpoints/latest").epoch == 2
    config = TrainConfig(batch_size=32, **settings)
    with paddle.utils.unique_name.guard():
        paddle.seed(9)
        network = build_model(model, 3)
        state, optimizer_state, average = restore(Run(stopped), network)
        fit(
            *(config, network, bars(100), bars(50, seed=1), stopped),
            state=state,
            optimizer_state=optimizer_state,
            average=average,
        )
    whole, resumed = (read_state(tmp_path / n / "checkpoints/latest") for n in ("whole", "stopped"))
    assert resumed.history == whole.history
    for name in ("model.pdparams", "model.pdopt", "raw.pdparams"):
        files = [
            (tmp_path / n / "checkpoints/latest" / name).read_bytes() for n in ("whole", "stopped")
        ]
        assert files[0] == files[1], name


def test_a_damaged_raw_file_makes_the_checkpoint_a_damaged_one(tmp_path, caplog):
    train(tmp_path, ema=0.9)
    damaged = tmp_path / "checkpoints/epoch_0002/raw.pdparams"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    state, _, _ = restore(Run(tmp_path), build_model("mlp", 3))
    assert state.epoch == 1 and "raw.pdparams: damaged" in caplog.text
