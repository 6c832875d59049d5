"""Muon against the formulas in NumPy, and inside `paddle.Model`."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from training_help import bars, train, weights_of

from lenet_paddle import TrainConfig, build_model
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.training.muon import Muon, orthogonalise
from lenet_paddle.training.optimizers import build_optimizer
from lenet_paddle.training.weights import match_optimizer_state

RATE, ADAM_RATE, MOMENTUM, DECAY = 0.02, 0.003, 0.9, 0.05


def newton_schulz(matrix: np.ndarray) -> np.ndarray:
    """Jordan's iteration, in float64."""
    x = matrix.astype(np.float64)
    x = x.T if len(x) > len(x.T) else x
    x = x / (np.sqrt((x**2).sum()) + 1e-7)
    for _ in range(4):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if x.shape == matrix.shape else x.T


class Reference:
    """Both optimizers in NumPy, for weights by name."""

    def __init__(self, weights: dict[str, np.ndarray], last: str) -> None:
        self.weights = {name: w.astype(np.float64) for name, w in weights.items()}
        self.last = last
        self.first = {name: np.zeros(w.shape) for name, w in weights.items()}
        self.second = {name: np.zeros(w.shape) for name, w in weights.items()}
        self.steps = 0

    def step(self, gradients: dict[str, np.ndarray], share: float = 1.0) -> None:
        self.steps += 1
        for name, gradient in gradients.items():
            if gradient.ndim > 1 and name != self.last:
                self._muon(name, gradient, RATE * share)
            else:
                self._adamw(name, gradient, ADAM_RATE * share)

    def _muon(self, name: str, gradient: np.ndarray, rate: float) -> None:
        momentum = self.first[name]
        momentum[:] = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        update = (1 - MOMENTUM) * gradient + MOMENTUM * momentum
        matrix = update.T if update.ndim == 2 else update.reshape(len(update), -1)
        outputs, inputs = matrix.shape
        direction = newton_schulz(matrix) * max(1, outputs / inputs) ** 0.5
        direction = direction.T if update.ndim == 2 else direction.reshape(update.shape)
        self.weights[name] -= rate * DECAY * self.weights[name] + rate * direction

    def _adamw(self, name: str, gradient: np.ndarray, rate: float) -> None:
        first, second = self.first[name], self.second[name]
        first[:] = 0.9 * first + 0.1 * gradient
        second[:] = 0.99 * second + 0.01 * gradient**2
        if name == self.last:
            self.weights[name] -= rate * DECAY * self.weights[name]
        unbiased = first / (1 - 0.9**self.steps), second / (1 - 0.99**self.steps)
        self.weights[name] -= rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)


def make_muon(network: paddle.nn.Layer) -> Muon:
    config = TrainConfig(
        optimizer="muon", learning_rate=RATE, weight_decay=DECAY, momentum=MOMENTUM
    )
    optimizer = build_optimizer(config, network.parameters())
    assert isinstance(optimizer, Muon)
    return optimizer


def some_network() -> paddle.nn.Layer:
    """Kernels that are wider than high, and higher than wide, as matrices (outputs, inputs)."""
    paddle.seed(3)
    return paddle.nn.Sequential(
        paddle.nn.Conv2D(1, 12, 3),
        paddle.nn.BatchNorm2D(12),
        paddle.nn.Conv2D(12, 4, 3),
        paddle.nn.ReLU(),
        paddle.nn.Flatten(),
        paddle.nn.Linear(16, 40),
        paddle.nn.ReLU(),
        paddle.nn.Linear(40, 24),
        paddle.nn.ReLU(),
        paddle.nn.Linear(24, 5),
    )


def leave_gradients(network: paddle.nn.Layer, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = paddle.to_tensor(rng.standard_normal((8, 1, 6, 6)).astype("float32"))
    labels = paddle.to_tensor(rng.integers(0, 5, 8))
    paddle.nn.functional.cross_entropy(network(images), labels).backward()
    return {
        name: p.grad.numpy().astype(np.float64)
        for name, p in network.named_parameters()
        if not p.stop_gradient  # the means and variances of the normalisation
    }


def test_eight_steps_are_those_of_numpy() -> None:
    network = some_network()
    optimizer = make_muon(network)
    trained = {name: p for name, p in network.named_parameters() if not p.stop_gradient}
    start = {name: parameter.numpy() for name, parameter in trained.items()}
    reference = Reference(start, last="9.weight")
    for step in range(8):
        share = 1 - step / 10
        optimizer.set_lr(RATE * share)
        assert optimizer.get_lr() == RATE * share
        reference.step(leave_gradients(network, step), share)
        optimizer.step()
        optimizer.clear_grad()
        for name, parameter in trained.items():
            np.testing.assert_allclose(
                parameter.numpy(), reference.weights[name], atol=3e-5, err_msg=f"{name}, {step}"
            )


@pytest.mark.parametrize("shape", [(6, 9), (16, 150), (400, 120), (120, 84), (5, 5), (1, 7)])
def test_four_steps_bring_the_singular_values_of_a_noisy_matrix_near_1(
    rng: np.random.Generator, shape: tuple[int, int]
) -> None:
    matrix = rng.standard_normal(shape).astype("float32")
    result = orthogonalise(paddle.to_tensor(matrix)).numpy()
    np.testing.assert_allclose(result, newton_schulz(matrix), atol=1e-4)
    values = np.linalg.svd(result, compute_uv=False)
    assert values.min() > 0.3 and values.max() < 1.3
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    assert (result * (left @ right)).sum() > 0.8 * min(shape)  # the same singular vectors


def test_a_zero_gradient_moves_nothing_and_makes_no_nan() -> None:
    assert not orthogonalise(paddle.zeros([3, 5])).numpy().any()


def test_the_state_saved_and_loaded_goes_on_bit_for_bit(tmp_path) -> None:
    def go(network, optimizer, steps):
        for step in steps:
            leave_gradients(network, step)
            optimizer.step()
            optimizer.clear_grad()

    with paddle.utils.unique_name.guard():
        network = some_network()
        optimizer = make_muon(network)
        go(network, optimizer, range(3))
        kept = weights_of(network)
        paddle.save(optimizer.state_dict(), str(tmp_path / "m.pdopt"))
        go(network, optimizer, range(3, 6))
    with paddle.utils.unique_name.guard():
        other = some_network()
        other.set_state_dict(kept)
        restored = make_muon(other)
        restored.set_state_dict(paddle.load(str(tmp_path / "m.pdopt")))
        go(other, restored, range(3, 6))
    for name, weight in weights_of(network).items():
        np.testing.assert_array_equal(weights_of(other)[name], weight, err_msg=name)


def test_a_penalty_of_keras_meaning_is_added_to_the_gradient() -> None:
    networks = [some_network(), some_network()]
    plain, penalised = (make_muon(network) for network in networks)
    networks[1][5].weight.regularizer = paddle.regularizer.L2Decay(2 * 0.3)
    for network in networks:
        leave_gradients(network, 0)
    gradient = networks[0][5].weight.grad
    paddle.assign(gradient + 2 * 0.3 * networks[0][5].weight, gradient)
    plain.step()
    penalised.step()
    np.testing.assert_allclose(
        networks[0][5].weight.numpy(), networks[1][5].weight.numpy(), atol=1e-6
    )


def test_it_learns_through_fit_and_its_state_is_saved(tmp_path) -> None:
    settings = {"optimizer": "muon", "learning_rate": 0.02, "weight_decay": 0.05}
    _, state = train(tmp_path, bars(300), epochs=3, **settings)
    assert state.history[-1]["val_accuracy"] > 0.95
    saved = paddle.load(str(tmp_path / "checkpoints" / "latest" / "model.pdopt"))
    assert sum(name.endswith("_muon_momentum_0") for name in saved) == 2  # mlp: all but the last


def test_the_builtin_network_has_four_matrices_under_muon() -> None:
    optimizer = make_muon(build_model("lenet_builtin"))
    shapes = [list(weight.shape) for weight in optimizer.matrices]
    assert shapes == [[6, 1, 3, 3], [16, 6, 5, 5], [400, 120], [120, 84]]


def test_its_state_serves_a_network_whose_matrices_are_all_frozen(tmp_path) -> None:
    config = TrainConfig(model="mlp", optimizer="muon")
    model = paddle.Model(build_model("mlp", 3))
    model.prepare(build_optimizer(config, model.parameters()), paddle.nn.CrossEntropyLoss())
    model.train_batch([paddle.rand([4, 1, 28, 28])], [paddle.to_tensor([[0], [1], [2], [0]])])
    model.save(str(tmp_path / "model"))
    network = build_model("mlp", 3)
    freeze_layers(network, "2")  # two of three
    state = match_optimizer_state("muon", network, tmp_path / "model.pdparams")
    last = [tensor.name for tensor in network.parameters() if not tensor.stop_gradient]
    assert {key for key in state if "moment" in key} == {
        f"{name}_moment{number}_0" for name in last for number in (1, 2)
    }
