"""Muon: momentum with orthogonalised updates of the weight matrices (Jordan et al. 2024)."""

from __future__ import annotations

from typing import Any

import paddle

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan 2024: a steep start at 0, then about 0.7 to 1.2
STEPS = 4  # of Newton and Schulz's iteration
STATE = "_muon_momentum_0"


def choose_matrices(parameters: list[paddle.Tensor]) -> list[paddle.Tensor]:
    """Return the parameters that Muon orthogonalises: all trained kernels but the last layer's."""
    *matrices, _ = [p for p in parameters if p.ndim >= 2]
    return [p for p in matrices if not p.stop_gradient]


class Muon:
    """Muon (Jordan et al. 2024) for matrices, AdamW for other parameters and the last layer.

    A kernel counts as the matrix (outputs, inputs); that of a convolution as (C_out, C_in*k*k).
    One step, with momentum m, gradient g and rate r:

        m = momentum * m + (1 - momentum) * g
        u = orthogonalise((1 - momentum) * g + momentum * m)             (Nesterov)
        w = w - r * weight_decay * w - r * max(1, outputs / inputs)^0.5 * u

    AdamW's rate is `adam_rate` when Muon's is `base_rate`; `set_lr` scales both. Weights of the
    last layer decay too; biases and scales of normalisations do not. A parameter's own `L2Decay`
    is added to its gradient, as Paddle's optimizers do. The class has the methods that
    `paddle.Model` calls on an optimizer.
    """

    def __init__(
        self,
        learning_rate: float,
        parameters: list[paddle.Tensor],
        *,
        base_rate: float,
        adam_rate: float = 0.003,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        trained = [p for p in parameters if not p.stop_gradient]
        last = [p for p in parameters if p.ndim >= 2][-1]  # it may be frozen
        self.matrices = choose_matrices(parameters)
        own = {p.name for p in self.matrices}
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers = {p.name: paddle.zeros_like(p) for p in self.matrices}
        for name, buffer in self.buffers.items():
            buffer.name = name + STATE  # saved too; generated names differ from run to run
        self.adam_share = adam_rate / base_rate
        self.learning_rate = learning_rate
        self.adamw = paddle.optimizer.AdamW(
            learning_rate * self.adam_share,
            beta1=0.9,
            beta2=0.99,
            parameters=[p for p in trained if p.name not in own] or [last],
            weight_decay=weight_decay,
            apply_decay_param_fun=lambda name: name == last.name,
        )

    def minimize(self, loss: paddle.Tensor) -> None:
        """Update the parameters with the gradients of `loss.backward()`."""
        self.step()

    @paddle.no_grad()
    def step(self) -> None:
        """Update the parameters with their gradients."""
        for weight in self.matrices:
            if weight.grad is not None:
                self._update(weight)
        self.adamw.step()

    def _update(self, weight: paddle.Tensor) -> None:
        gradient = weight.grad
        if weight.regularizer is not None:
            gradient = gradient + weight.regularizer(weight, gradient, gradient.block)
        new = (1 - self.momentum) * gradient
        buffer = self.buffers[weight.name]
        buffer.scale_(self.momentum).add_(new)
        update = new.add_(self.momentum * buffer)
        is_linear = weight.ndim == 2  # Paddle keeps these as (inputs, outputs)
        matrix = update.T if is_linear else update.flatten(1)
        outputs, inputs = matrix.shape
        rate = self.learning_rate * max(1.0, outputs / inputs) ** 0.5
        direction = orthogonalise(matrix)
        direction = direction.T if is_linear else direction.reshape(weight.shape)
        weight.scale_(1 - self.learning_rate * self.weight_decay)
        weight.subtract_(rate * direction)

    def clear_grad(self, set_to_zero: bool = True) -> None:
        """Clear the gradients."""
        for weight in self.matrices:
            weight.clear_gradient(set_to_zero)
        self.adamw.clear_grad(set_to_zero)

    def get_lr(self) -> float:
        """Return the learning rate of the matrices."""
        return self.learning_rate

    def set_lr(self, rate: float) -> None:
        """Set the learning rate of the matrices, and AdamW's in proportion."""
        self.learning_rate = rate
        self.adamw.set_lr(rate * self.adam_share)

    def state_dict(self) -> dict[str, Any]:
        """Return the matrices' momenta by parameter name, and AdamW's state."""
        momenta = {name + STATE: buffer for name, buffer in self.buffers.items()}
        return {**momenta, **self.adamw.state_dict()}

    def set_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        rest = dict(state)
        for name, buffer in self.buffers.items():
            buffer.set_value(rest.pop(name + STATE))
        self.adamw.set_state_dict(rest)


def orthogonalise(matrix: paddle.Tensor) -> paddle.Tensor:
    """Return roughly the nearest matrix with orthonormal rows (or columns), float32 (M, N).

    A few Newton-Schulz steps, X <- a X + (b A + c A^2) X with A = X X^T, bring the singular values
    near 1.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (paddle.square(x).sum().sqrt() + 1e-7)  # linalg.norm takes ten times as long
    for _ in range(STEPS):
        gram = paddle.matmul(x, x, transpose_y=True)
        x = paddle.addmm(x, paddle.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
