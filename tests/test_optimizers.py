"""The learning rate is a pure function; Paddle's own schedulers are the reference."""

import numpy as np
import paddle
import pytest

from lenet_paddle import TrainConfig
from lenet_paddle.training.optimizers import build_optimizer, count_plateaus, learning_rate_at

EPOCHS, PER_EPOCH = 6, 10


def rates(**settings):
    config = TrainConfig(epochs=EPOCHS, learning_rate=0.1, **settings)
    return [learning_rate_at(config, u, PER_EPOCH, []) for u in range(EPOCHS * PER_EPOCH)]


def of_scheduler(scheduler):
    values = []
    for _ in range(EPOCHS * PER_EPOCH):
        values.append(scheduler.last_lr)  # get_lr() would advance the recurrence
        scheduler.step()
    return values


def test_constant_stays():
    assert set(rates()) == {0.1}


def test_step_lowers_every_decay_epochs_as_paddle_does():
    reference = paddle.optimizer.lr.StepDecay(0.1, step_size=2 * PER_EPOCH, gamma=0.5)
    ours = rates(schedule="step", decay_epochs=2, decay_factor=0.5)
    np.testing.assert_allclose(ours, of_scheduler(reference), rtol=1e-12)


def test_cosine_equals_paddles():
    reference = paddle.optimizer.lr.CosineAnnealingDecay(0.1, T_max=EPOCHS * PER_EPOCH)
    np.testing.assert_allclose(rates(schedule="cosine"), of_scheduler(reference), atol=1e-9)


def test_one_cycle_equals_paddles():
    reference = paddle.optimizer.lr.OneCycleLR(
        0.1, total_steps=EPOCHS * PER_EPOCH, divide_factor=25.0, end_learning_rate=0.1 / 25 * 1e-4
    )
    np.testing.assert_allclose(rates(schedule="one_cycle"), of_scheduler(reference), rtol=1e-6)


@pytest.mark.parametrize("num_updates", [1, 2, 3])
def test_one_cycle_of_a_tiny_run_stays_in_range(num_updates):
    config = TrainConfig(epochs=1, learning_rate=0.1, schedule="one_cycle")
    for update in range(num_updates):
        assert 0 < learning_rate_at(config, update, num_updates, []) <= 0.1


def test_plateau_counts_epochs_without_a_new_best():
    config = TrainConfig(schedule="plateau", decay_epochs=2, monitor="val_loss")
    losses = [1.0, 0.8, 0.9, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7]
    #         best best  1    2->1  best  1   2->2  1  2->3
    history = [{"val_loss": loss} for loss in losses]
    counts = [count_plateaus(config, history[:n]) for n in range(len(losses) + 1)]
    assert counts == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]


def test_plateau_lowers_the_rate_of_the_epochs_that_follow():
    config = TrainConfig(schedule="plateau", decay_epochs=1, epochs=4, learning_rate=0.1)
    history = [{"val_accuracy": v} for v in (0.5, 0.5, 0.6)]
    applied = [learning_rate_at(config, epoch * 10, 10, history[:epoch]) for epoch in range(4)]
    np.testing.assert_allclose(applied, [0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw"])
def test_every_optimizer_takes_a_step(name):
    weight = paddle.create_parameter([3], "float32")
    before = weight.numpy().copy()
    config = TrainConfig(optimizer=name, learning_rate=0.1, weight_decay=0.1)
    optimizer = build_optimizer(config, [weight])
    (weight * paddle.to_tensor([1.0, 2.0, 3.0])).sum().backward()
    optimizer.step()
    assert optimizer.get_lr() == 0.1
    assert (weight.numpy() != before).all()


def test_weight_decay_adds_half_c_times_the_squared_weights():
    weight = paddle.create_parameter([2], "float32")
    weight.set_value(np.array([1.0, -2.0], np.float32))
    config = TrainConfig(optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(config, [weight])
    (weight * 0.0).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(weight.numpy(), [0.95, -1.9], rtol=1e-6)  # w - 0.1 * 0.5 * w
