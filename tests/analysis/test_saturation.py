"""Activations, their gradients, and their saturation."""

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.analysis.saturation import activate, measure_saturation


def test_activations_and_gradients_follow_their_formulas() -> None:
    x = np.linspace(-5, 5, 100)  # without 0
    sigmoid = 1 / (1 + np.exp(-x))
    expected = {
        nn.Sigmoid(): (sigmoid, sigmoid * (1 - sigmoid)),
        nn.Tanh(): (np.tanh(x), 1 - np.tanh(x) ** 2),
        nn.ReLU(): (np.maximum(x, 0), (x > 0).astype(float)),
        nn.LeakyReLU(0.01): (np.where(x > 0, x, 0.01 * x), np.where(x > 0, 1, 0.01)),
    }
    for layer, (values, gradients) in expected.items():
        for found, formula in zip(activate(layer, x), (values, gradients), strict=True):
            np.testing.assert_allclose(found, formula, atol=1e-9)


def test_saturation_is_measured_on_what_comes_in() -> None:
    class Chain(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.tanh, self.softmax = nn.ReLU(), nn.Tanh(), nn.Softmax()

        def forward(self, images: paddle.Tensor) -> paddle.Tensor:
            return self.softmax(self.tanh(self.relu(images)))

    batch = np.array([[-1.0, -2.0, 0.5, 4.0], [1.0, -3.0, 0.5, 5.0]], np.float32)
    relu, tanh = measure_saturation(Chain(), batch)
    assert relu.name == "relu (ReLU)" and tanh.name == "tanh (Tanh)"
    assert relu.lost.mean() == 3 / 8 and relu.always == 1 / 4
    assert tanh.lost.mean() == 2 / 8 and tanh.always == 1 / 4
    np.testing.assert_array_equal(tanh.inputs, np.maximum(batch, 0).ravel())
