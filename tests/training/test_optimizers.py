"""The learning rate is a pure function; Paddle's own schedulers are the reference."""

import math

import numpy as np
import paddle
import pytest

from lenet_paddle import InputError, TrainConfig, build_model
from lenet_paddle.training.optimizers import (
    Adam,
    build_optimizer,
    count_plateaus,
    learning_rate_at,
)

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


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle", "plateau"])
@pytest.mark.parametrize("warmup_epochs", [0.25, 1, 2.5])
def test_after_a_warm_up_the_schedule_runs_over_what_is_left(schedule, warmup_epochs):
    history = [{"val_accuracy": value} for value in (0.5, 0.6, 0.6, 0.6, 0.7, 0.7)]
    settings = {"learning_rate": 0.1, "schedule": schedule, "decay_epochs": 1}
    config = TrainConfig(epochs=EPOCHS, warmup_epochs=warmup_epochs, **settings)
    total, warmup = EPOCHS * PER_EPOCH, round(warmup_epochs * PER_EPOCH)
    ours = [learning_rate_at(config, u, PER_EPOCH, history[: u // PER_EPOCH]) for u in range(total)]
    rising = [0.1 * (update + 1) / warmup for update in range(warmup)]
    np.testing.assert_allclose(ours[:warmup], rising, rtol=1e-12)
    if schedule == "plateau":  # it looks at the epochs that began behind the warm-up
        plain = TrainConfig(epochs=EPOCHS, **settings)
        first = math.ceil(warmup_epochs)
        rest = [
            0.1 * 0.1 ** count_plateaus(plain, history[first : u // PER_EPOCH])
            for u in range(warmup, total)
        ]
    else:  # one epoch of as many updates as are left; of step, whole epochs behind the warm-up
        left = TrainConfig(epochs=EPOCHS if schedule == "step" else 1, **settings)
        per_epoch = PER_EPOCH if schedule == "step" else total - warmup
        rest = [learning_rate_at(left, u, per_epoch, []) for u in range(total - warmup)]
    np.testing.assert_allclose(ours[warmup:], rest, rtol=1e-12)


def test_a_plateau_is_not_found_while_the_rate_rises():
    flat = [{"val_accuracy": 0.5}] * 4
    settings = {"learning_rate": 0.1, "schedule": "plateau", "decay_epochs": 2, "epochs": 8}
    config = TrainConfig(warmup_epochs=3, **settings)
    assert learning_rate_at(config, 3 * PER_EPOCH, PER_EPOCH, flat[:3]) == 0.1


def test_weight_decay_is_refused_where_the_networks_own_penalty_would_replace_it():
    network = build_model("cnn_regularized")
    config = TrainConfig(model="cnn_regularized", optimizer="sgd", weight_decay=0.1)
    with pytest.raises(InputError, match="has its own penalty"):
        build_optimizer(config, network.parameters())


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "muon"])
def test_l2_adds_c_times_the_squared_kernels_and_leaves_biases_alone(name):
    """The penalty's gradient is 2 c w, as Keras means it: the step is that of a loss with it."""
    settings = {"optimizer": name, "learning_rate": 0.1}
    results = []
    for config in (TrainConfig(l2=0.3, **settings), TrainConfig(**settings)):
        paddle.seed(0)
        network = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.Linear(3, 2))
        paddle.assign(paddle.to_tensor([0.5, -0.5, 1.0]), network[0].bias)
        optimizer = build_optimizer(config, network.parameters())
        for step in range(3):
            images = np.random.default_rng(step).standard_normal((5, 4)).astype("float32")
            loss = (network(paddle.to_tensor(images)) ** 2).mean()
            if not config.l2:
                loss = loss + 0.3 * sum((layer.weight**2).sum() for layer in network)
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        results.append([parameter.numpy() for parameter in network.parameters()])
    for ours, reference in zip(*results, strict=True):
        np.testing.assert_allclose(ours, reference, atol=2e-5)


def test_a_penalty_declared_by_the_network_is_kept():
    weights = [paddle.create_parameter([2, 2], "float32") for _ in range(2)]
    weights[0].regularizer = paddle.regularizer.L2Decay(0.7)
    build_optimizer(TrainConfig(l2=0.1), weights)
    assert [weight.regularizer._coeff for weight in weights] == [0.7, 0.2]


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


def halved():
    return paddle.optimizer.lr.StepDecay(0.1, step_size=1, gamma=0.5)


def trained_by(kind, *, build_rate=lambda: 0.1, share=1.0, between=lambda *_: None):
    """Return the weights and the state after five updates by the Adam of class `kind`."""
    with paddle.utils.unique_name.guard():
        paddle.seed(0)
        slow = paddle.ParamAttr(learning_rate=share)
        network = paddle.nn.Sequential(
            paddle.nn.Linear(4, 5, weight_attr=slow), paddle.nn.Tanh(), paddle.nn.Linear(5, 3)
        )
        rate = build_rate()
        optimizer = kind(rate, parameters=network.parameters(), use_multi_tensor=True)
        for step in range(5):
            loss = network(paddle.full([2, 4], 1.0 + step)).square().mean()
            loss.backward()
            optimizer.minimize(loss)
            for parameter in network.parameters():
                parameter.clear_gradient(False)
            if rate != 0.1:
                rate.step()
            between(step, optimizer)
    tensors = [v for v in optimizer.state_dict().values() if isinstance(v, paddle.Tensor)]
    return [tensor.numpy().tobytes() for tensor in (*network.parameters(), *tensors)]


def lower_rate(step, optimizer):
    optimizer.set_lr(0.1 / (step + 2))


def restore(step, optimizer):
    if step == 1:
        optimizer.kept = {name: value.clone() for name, value in optimizer.state_dict().items()}
    if step == 3:
        optimizer.set_state_dict(optimizer.kept)


@pytest.mark.parametrize(
    "settings",
    [{}, {"build_rate": halved}, {"share": 0.1}, {"between": lower_rate}, {"between": restore}],
    ids=["plain", "scheduler", "a parameter's own rate", "set_lr", "set_state_dict"],
)
def test_adam_is_paddles_adam_bit_for_bit(settings):
    assert trained_by(Adam, **settings) == trained_by(paddle.optimizer.Adam, **settings)
