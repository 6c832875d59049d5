"""`on_gradients` sees each update's gradient: of one batch, several, several ranks, unscaled."""

import types

import numpy as np
import paddle
import pytest
from training_help import bars, run_two_ranks, train, weights_of

from lenet_paddle import BatchLoader, build_model
from lenet_paddle.training.callbacks import Callback

STILL = {"optimizer": "sgd", "learning_rate": 1e-12, "epochs": 1}  # the weights do not move


class GradientNorm(Callback):
    """The L2 norm of the gradient at each update, and a column with the epoch's mean."""

    def on_epoch_begin(self, epoch, logs=None):
        """Start with no norm."""
        self.norms = []

    def on_gradients(self, parameters):
        """Record the norm."""
        squares = [float((p.grad**2).sum()) for p in parameters if p.grad is not None]
        self.norms.append(sum(squares) ** 0.5)

    def on_eval_end(self, logs=None):
        """Add the column."""
        if self.norms:
            self.recorder.state.history[-1]["gradient_norm"] = float(np.mean(self.norms))


def norms_by_hand(images_per_update):
    """Of the mean loss over the images of each update in epoch 1, with the first weights."""
    with paddle.utils.unique_name.guard():
        paddle.seed(0)
        network = build_model("mlp", 3)
    norms = []
    for images, labels in BatchLoader(bars(100), images_per_update, shuffle=True, seed=0):
        loss = paddle.nn.CrossEntropyLoss()(
            network(paddle.to_tensor(images)), paddle.to_tensor(labels[:, 0])
        )
        loss.backward()
        squares = [float((p.grad**2).sum()) for p in network.parameters()]
        norms.append(sum(squares) ** 0.5)
        network.clear_gradients(set_to_zero=False)
    return norms


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_the_gradient_is_that_of_the_mean_loss_over_the_updates_images(tmp_path, accumulate):
    callback = GradientNorm()
    train(tmp_path, callbacks=[callback], accumulate=accumulate, **STILL)  # batches of 32, last 4
    assert callback.norms == pytest.approx(norms_by_hand(32 * accumulate), rel=1e-4)


def test_reading_gradients_changes_nothing(tmp_path):
    plain, _ = train(tmp_path / "plain")
    watched, _ = train(tmp_path / "watched", callbacks=[GradientNorm()])
    for name, weight in weights_of(plain).items():
        np.testing.assert_array_equal(weights_of(watched)[name], weight)


def test_a_column_that_a_callback_adds_is_in_the_history_and_in_visualdl(tmp_path):
    from visualdl import LogReader

    callback = GradientNorm()
    _, state = train(tmp_path, callbacks=[callback])
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].endswith(",gradient_norm") and len(lines) == 3
    reader = LogReader(file_path=str(tmp_path / "vdl" / "vdlrecords.log"))
    points = [(p.id, p.value) for p in reader.get_data("scalar", "epoch/gradient_norm")]
    rows = [(row["step"], pytest.approx(row["gradient_norm"])) for row in state.history]
    assert points == rows


@pytest.fixture
def scaler_on_cpu(monkeypatch):
    """Make GradScaler scale on the CPU too, as if there were a GPU."""
    place = types.SimpleNamespace(is_gpu_place=lambda: True)
    tracer = types.SimpleNamespace(_expected_place=place)
    monkeypatch.setattr("paddle.amp.grad_scaler._dygraph_tracer", lambda: tracer)
    real = paddle.amp.GradScaler

    def use(scale):
        made = []
        monkeypatch.setattr(
            paddle.amp,
            "GradScaler",
            lambda **settings: made.append(real(init_loss_scaling=scale)) or made[-1],
        )
        return made

    return use


@pytest.mark.filterwarnings("ignore:amp_guard can only be enabled")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_with_mixed_precision_the_gradient_is_unscaled(tmp_path, scaler_on_cpu, accumulate):
    made = scaler_on_cpu(2.0**15)
    callback = GradientNorm()
    train(tmp_path, callbacks=[callback], amp="O1", accumulate=accumulate, **STILL)
    assert made[0].is_enable()
    assert callback.norms == pytest.approx(norms_by_hand(32 * accumulate), rel=1e-2)


@pytest.mark.filterwarnings("ignore:amp_guard can only be enabled")
def test_an_update_that_an_overflow_skips_has_no_gradient(tmp_path, scaler_on_cpu):
    scaler_on_cpu(float("inf"))
    callback = GradientNorm()
    before = weights_of(train(tmp_path / "a", **STILL)[0])
    network, _ = train(tmp_path / "b", callbacks=[callback], amp="O1", epochs=1)
    assert callback.norms == []
    for name, weight in weights_of(network).items():
        np.testing.assert_allclose(weight, before[name], atol=1e-9)


SCRIPT = """
from test_gradients import STILL, GradientNorm, train
callback = GradientNorm()
train(folder, callbacks=[callback], batch_size=32, accumulate=2, **STILL)
report(callback.norms)
"""


@pytest.mark.slow
def test_two_ranks_see_the_mean_over_both(tmp_path):
    first, second = run_two_ranks(SCRIPT, tmp_path)
    assert first == second == pytest.approx(norms_by_hand(64), rel=1e-4)
