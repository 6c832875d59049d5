"""What the callbacks promise, on trainings of a second."""

import csv
import errno
import math
import signal

import numpy as np
import paddle
import pytest
from sklearn.utils.class_weight import compute_class_weight
from training_help import bars, train, weights_of

from lenet_paddle import TrainConfig, build_model
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.evaluate import evaluate
from lenet_paddle.evaluation.metrics import compute_losses
from lenet_paddle.training import callbacks as cb
from lenet_paddle.training import checkpoint, ranks, recorder
from lenet_paddle.training.optimizers import learning_rate_at
from lenet_paddle.training.recorder import Recorder
from lenet_paddle.training.signals import AFTER_TRAINING, StopOnSignal


def read_rows(run_dir):
    with (run_dir / "history.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def read_vdl(run_dir, tag):
    """(step, value) of every point of a scalar in the log."""
    from visualdl import LogReader

    [path] = (run_dir / "vdl").iterdir()
    return [(p.id, p.value) for p in LogReader(file_path=str(path)).get_data("scalar", tag)]


def test_history_holds_exact_means_over_samples(tmp_path):
    train_set = bars(100)  # batches of 32, 32, 32 and 4: the last must count 4, not 32
    network, state = train(tmp_path, train_set, optimizer="sgd", learning_rate=1e-12, epochs=1)
    [row] = state.history  # the weights do not move, so the mean can be taken afterwards
    expected = evaluate(network, train_set)
    assert row["train_loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert row["train_accuracy"] == pytest.approx(expected["accuracy"], abs=1e-9)
    held_out = evaluate(network, bars(50, seed=1))
    assert row["val_loss"] == pytest.approx(held_out["loss"], rel=1e-6)
    assert row["val_accuracy"] == held_out["accuracy"]


def test_history_csv_and_state_tell_the_same(tmp_path):
    _, state = train(tmp_path)
    assert read_rows(tmp_path) == [pytest.approx(row, rel=1e-12) for row in state.history]
    assert [row["step"] for row in state.history] == [4, 8]


def test_the_images_per_second_are_those_of_the_epochs_own_training(tmp_path, monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])

    class Clock(paddle.callbacks.Callback):
        def on_train_batch_begin(self, step, logs=None):  # 100 images in 4 batches
            now[0] += 1 if self.epoch == 0 else 2

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_eval_batch_end(self, step, logs=None):
            now[0] += 1000

    with caplog.at_level("INFO", logger="lenet_paddle"):
        train(tmp_path, callbacks=[Clock()])
    rates = [line.split()[-2] for line in caplog.messages if line.endswith("img/s")]
    assert rates == ["25", "12"]  # 12.5


def test_it_learns(tmp_path):
    _, state = train(tmp_path, bars(300), epochs=3)
    assert state.history[-1]["val_accuracy"] > 0.95


def test_links_name_the_latest_and_the_best(tmp_path):
    _, state = train(tmp_path, epochs=3, learning_rate=0.003)
    folder = tmp_path / "checkpoints"
    assert (folder / "latest").resolve().name == "epoch_0003"
    values = [row["val_accuracy"] for row in state.history]
    assert (folder / "best").resolve().name == f"epoch_{1 + int(np.argmax(values)):04d}"


def test_the_newest_the_best_and_every_kth_checkpoint_are_kept(tmp_path):
    _, state = train(tmp_path, epochs=7, keep_last=1, keep_every=3, learning_rate=0.003)
    kept = {p.name for p in (tmp_path / "checkpoints").glob("epoch_*")}
    assert kept == {checkpoint.epoch_name(e) for e in {3, 6, 7, state.best_epoch}}


def test_without_val_the_last_epoch_is_the_result(tmp_path):
    _, state = train(tmp_path, val_size=0)
    assert state.best_epoch == 2
    assert "test_accuracy" in state.history[0] and "val_accuracy" not in state.history[0]


def test_early_stopping_waits_patience_epochs_after_the_best(tmp_path):
    # A rate of nearly 0: the first epoch stays the best.
    _, state = train(tmp_path, epochs=9, patience=2, learning_rate=1e-12, optimizer="sgd")
    assert (state.best_epoch, state.epoch) == (1, 3)


def test_training_stops_on_nan_and_names_the_step(tmp_path):
    with pytest.raises(RunStopped, match=r"loss is (nan|inf) at epoch 1, step \d") as stop:
        train(tmp_path, optimizer="sgd", learning_rate=1e30)
    assert stop.value.status == 1
    assert not list(tmp_path.glob("checkpoints/epoch_*"))


def spoil(name, value):
    """A callback that spoils a weight in the second epoch's last update."""

    class Spoil(cb.Callback):
        def on_gradients(self, parameters):
            if self.recorder.state.step + 1 == 2 * len(self.recorder.loader):
                weight = dict(self.model.network.named_parameters())[name]
                weight.set_value(paddle.full_like(weight, value))

    return Spoil()


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_epochs_last_update_that_spoils_the_weights_ends_the_run(tmp_path, value, ema, recwarn):
    said = r"^the weights \S+ are not finite at epoch 2, after the last step \(learning rate"
    with pytest.raises(RunStopped, match=said) as stop:
        train(tmp_path, epochs=3, callbacks=[spoil("1.bias", value)], ema=ema)
    assert stop.value.status == 1
    latest = checkpoint.read_state(tmp_path / "checkpoints" / "latest")
    assert latest.epoch == len(read_rows(tmp_path)) == 1
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_a_held_out_loss_that_is_not_finite_ends_the_run(tmp_path):
    with pytest.raises(RunStopped, match=r"the val loss is (nan|inf) at epoch 2, after the last"):
        train(tmp_path, epochs=3, callbacks=[spoil("5.weight", 3e38)])
    assert checkpoint.read_state(tmp_path / "checkpoints" / "latest").epoch == 1


def test_a_column_of_ones_own_may_be_nan_and_is_null_in_the_checkpoint(tmp_path):
    class Strange(cb.Callback):
        def on_eval_end(self, logs=None):
            self.recorder.state.history[-1]["strange"] = (math.nan, 0.5)[
                self.recorder.state.epoch - 1
            ]

    _, state = train(tmp_path, callbacks=[Strange()])
    assert str(checkpoint.read_state(tmp_path / "checkpoints" / "latest")) == str(state)
    record = (tmp_path / "checkpoints" / "latest" / "state.json").read_text()
    assert "NaN" not in record and '"strange": null' in record


def test_nan_keeps_the_last_good_checkpoint(tmp_path):
    train(tmp_path, epochs=1)
    state = checkpoint.read_state(tmp_path / "checkpoints" / "latest")
    with pytest.raises(RunStopped):
        train(tmp_path, state=state, epochs=2, optimizer="sgd", learning_rate=1e30)
    assert checkpoint.read_state(tmp_path / "checkpoints" / "latest").epoch == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_says_how_to_go_on(tmp_path, monkeypatch, number):
    real = Recorder.on_train_batch_end

    def after_six_steps(self, step, logs=None):
        real(self, step, logs)
        if self.state.step == 6:
            signal.raise_signal(number)

    monkeypatch.setattr(Recorder, "on_train_batch_end", after_six_steps)
    before = signal.signal(number, signal.default_int_handler)  # it may be ignored, under nohup
    with pytest.raises(RunStopped, match=r"--resume .* continues at epoch 2") as stop:
        train(tmp_path)
    assert stop.value.status == 128 + number
    assert checkpoint.read_state(tmp_path / "checkpoints" / "latest").epoch == 1
    assert signal.signal(number, before) is signal.default_int_handler


def test_a_signal_during_the_last_evaluation_is_not_lost(tmp_path, monkeypatch):
    real = cb.Checkpoints.on_eval_end

    def interrupted(self, logs=None):
        real(self, logs)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cb.Checkpoints, "on_eval_end", interrupted)
    state = checkpoint.TrainState()
    with StopOnSignal(state, "--resume x") as stop:
        train(tmp_path, state=state, epochs=1, stop=stop)
        with pytest.raises(RunStopped, match="after the training; --resume x evaluates"):
            stop.check(AFTER_TRAINING)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), None),
        (RunStopped("loss is nan", 3), None),
        (RuntimeError("gloo:\n Connection closed by peer\n"), "Connection closed by peer"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_only_a_lost_ranks_error_becomes_the_line_with_the_resume_command(monkeypatch, error, said):
    monkeypatch.setattr("lenet_paddle.runtime.count_ranks", lambda: 2)
    state = checkpoint.TrainState()
    stop = StopOnSignal(state, "--resume x")
    expected = pytest.raises(type(error) if said is None else RunStopped)
    with expected as caught, ranks.lost_rank_as_run_stopped(stop):
        raise error
    message = str(caught.value)
    if said is None:
        assert caught.value is error
    else:
        assert f"another process of the job has ended or does not answer ({said});" in message


def test_accumulated_gradients_are_the_mean_over_the_images(tmp_path):
    # 100 images: updates of 64 (32 + 32) and 36 (32 + 4) must equal batches of 64 and 36.
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1}
    halves, _ = train(tmp_path / "a", batch_size=32, accumulate=2, **settings)
    whole, _ = train(tmp_path / "b", batch_size=64, **settings)
    for name, weight in weights_of(halves).items():
        np.testing.assert_allclose(weight, weights_of(whole)[name], atol=1e-6, err_msg=name)


def test_accumulation_logs_the_batches_own_loss(tmp_path):
    settings = {"optimizer": "sgd", "learning_rate": 1e-12, "epochs": 1}
    _, halves = train(tmp_path / "a", batch_size=32, accumulate=2, **settings)
    _, whole = train(tmp_path / "b", batch_size=32, **settings)
    assert halves.history[0]["train_loss"] == pytest.approx(
        whole.history[0]["train_loss"], rel=1e-6
    )


@pytest.mark.parametrize("schedule", ["step", "cosine", "one_cycle", "plateau"])
def test_the_optimizer_applies_the_schedule(tmp_path, monkeypatch, schedule):
    """What SGD really applies is seen in the weights: w -= rate * gradient."""
    applied = []
    real = paddle.optimizer.SGD.step
    bias = {}

    def spy(self):
        parameter = self._parameter_list[-1]
        before, gradient = parameter.numpy().copy(), parameter.grad.numpy()
        real(self)
        at = np.abs(gradient).argmax()
        applied.append(float((before - parameter.numpy())[at] / gradient[at]))
        bias["seen"] = True

    monkeypatch.setattr(paddle.optimizer.SGD, "step", spy)
    monkeypatch.setattr(paddle.optimizer.SGD, "minimize", lambda self, loss: self.step())
    settings = {"optimizer": "sgd", "learning_rate": 0.05, "epochs": 3, "decay_epochs": 1}
    _, state = train(tmp_path, schedule=schedule, **settings)
    config = TrainConfig(schedule=schedule, **settings)
    expected = [
        learning_rate_at(config, update, 4, state.history[: update // 4]) for update in range(12)
    ]
    np.testing.assert_allclose(applied, expected, rtol=2e-2)
    assert len(set(expected)) > 1 or schedule == "plateau"


def test_vdl_has_a_point_every_n_steps_and_the_exact_epoch_values(tmp_path):
    _, state = train(tmp_path, bars(100), epochs=2, log_every=2, batch_size=25)
    assert [step for step, _ in read_vdl(tmp_path, "train/loss")] == [2, 4, 6, 8]
    assert [step for step, _ in read_vdl(tmp_path, "train/learning_rate")] == [2, 4, 6, 8]
    for quantity in ("loss", "accuracy"):
        points = read_vdl(tmp_path, f"val/{quantity}")
        expected = [(row["step"], row[f"val_{quantity}"]) for row in state.history]
        assert points == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
    first_epoch = np.mean([value for _, value in read_vdl(tmp_path, "train/loss")[:2]])
    assert first_epoch == pytest.approx(state.history[0]["train_loss"], rel=1e-5)


def test_vdl_has_images_and_histograms_of_every_epoch(tmp_path):
    from visualdl import LogReader

    train(tmp_path, epochs=2)
    [path] = (tmp_path / "vdl").iterdir()
    tags = LogReader(file_path=str(path)).get_tags()
    assert "val/worst_mistakes" in tags["image"]
    assert set(tags["histogram"]) == {
        f"weights/{name}" for name in build_model("mlp", 3).state_dict()
    }


def test_a_resumed_training_leaves_no_point_twice_in_vdl(tmp_path):
    train(tmp_path, epochs=3, log_every=1)
    state = checkpoint.read_state(tmp_path / "checkpoints" / "epoch_0002")
    train(tmp_path, state=state, epochs=3, log_every=1)
    assert [step for step, _ in read_vdl(tmp_path, "train/loss")] == list(range(1, 13))
    assert [step for step, _ in read_vdl(tmp_path, "val/loss")] == [4, 8, 12]


def test_label_smoothing_raises_the_training_loss_only(tmp_path):
    settings = {"optimizer": "sgd", "learning_rate": 1e-12, "epochs": 1}
    _, plain = train(tmp_path / "a", **settings)
    network, smooth = train(tmp_path / "b", label_smoothing=0.1, **settings)
    assert smooth.history[0]["val_loss"] == plain.history[0]["val_loss"]
    images, labels = next(iter(BatchLoader(bars(100), 100)))
    network.eval()
    target = paddle.nn.functional.one_hot(paddle.to_tensor(labels[:, 0]), 3) * 0.9 + 0.1 / 3
    log_probs = paddle.nn.functional.log_softmax(network(paddle.to_tensor(images)))
    expected = float(-(target * log_probs).sum(axis=1).mean())
    assert smooth.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_same_seed_same_weights_bit_for_bit_and_another_seed_others(tmp_path):
    first, _ = train(tmp_path / "a")
    second, _ = train(tmp_path / "b")
    third, _ = train(tmp_path / "c", seed=1)
    for name, weight in weights_of(first).items():
        np.testing.assert_array_equal(weight, weights_of(second)[name])
    assert any(not np.array_equal(w, weights_of(third)[n]) for n, w in weights_of(first).items())


def test_a_finished_state_is_not_trained_further(tmp_path):
    _, state = train(tmp_path, epochs=1)
    _, again = train(tmp_path, epochs=1, state=state)
    assert again is state and math.isclose(state.history[0]["epoch"], 1)


def test_balanced_classes_count_alike_in_the_training_loss_only(tmp_path):
    images, settings = bars(100), {"optimizer": "sgd", "learning_rate": 1e-12, "epochs": 1}
    kept = np.flatnonzero((images.labels > 0) | (np.arange(100) < 9))  # few of class 0
    images = images.take(kept)
    _, plain = train(tmp_path / "a", images, **settings)
    network, weighted = train(tmp_path / "b", images, class_weights="balanced", **settings)
    assert weighted.history[0]["val_loss"] == plain.history[0]["val_loss"]
    network.eval()
    losses = compute_losses(
        network(paddle.to_tensor(normalise(images.images))).numpy(), images.labels
    )
    expected = np.mean([losses[images.labels == label].mean() for label in range(3)])
    assert weighted.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert abs(plain.history[0]["train_loss"] - expected) > 1e-3


def test_balanced_weights_are_scikit_learns():
    labels = np.array([0] * 7 + [1] * 2 + [3])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    weights = cb.BalancedLoss(labels, 4, 0.0).weights.numpy()
    np.testing.assert_allclose(weights[[0, 1, 3]], expected, rtol=1e-6)
