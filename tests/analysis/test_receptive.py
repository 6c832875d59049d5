"""Receptive fields against what really changes a unit when a pixel is changed."""

import numpy as np
import paddle
import pytest
from paddle import nn

from lenet_paddle.analysis.hooks import caption, layer_outputs, leaf_layers, watch_layers
from lenet_paddle.analysis.receptive import (
    _locate,
    effective_fields,
    effective_size,
    layers_with_fields,
    receptive_fields,
)
from lenet_paddle.figures.network.receptive import plot_receptive_fields
from lenet_paddle.models import build_model


def positive(network):
    """All weights positive, so that a brighter pixel can be hidden by nothing."""
    for parameter in network.parameters():
        parameter.set_value(paddle.abs(parameter) + 0.01)
    return network


def pixels_that_matter(network, side, layer):
    """bool (side, side): which pixels change the middle unit of `layer`, one by one."""
    batch = np.zeros((side * side + 1, 1, side, side), np.float32)
    batch[
        np.arange(side * side), 0, np.arange(side * side) // side, np.arange(side * side) % side
    ] = 10
    values = layer_outputs(network, batch)[layer]
    middle = (
        values[..., values.shape[-2] // 2, values.shape[-1] // 2] if values.ndim == 4 else values
    )
    changed = np.abs(middle[:-1] - middle[-1]).max(axis=1) > 0
    return changed.reshape(side, side)


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (lambda: nn.Sequential(nn.Conv2D(1, 2, 3, stride=2), nn.ReLU(), nn.Conv2D(2, 2, 3)), 15),
        (lambda: nn.Sequential(nn.Conv2D(1, 2, 3, dilation=2), nn.MaxPool2D(3, 2)), 14),
        (
            lambda: nn.Sequential(
                nn.Conv2D(1, 2, 5, padding=2), nn.AvgPool2D(2), nn.Conv2D(2, 1, 3, padding=1)
            ),
            12,
        ),
        (lambda: build_model("lenet_builtin"), 28),
        (lambda: Branches(), 33),
    ],
    ids=["strided", "dilated", "padded", "lenet", "branches"],
)
def test_the_theoretical_field_is_what_changes_a_unit(network, side):
    paddle.seed(0)
    network = positive(network())
    for field in receptive_fields(network, side):
        rows, cols = np.nonzero(pixels_that_matter(network, side, field.layer))
        for seen, begin, size in zip((rows, cols), field.begin, field.size, strict=True):
            inside = max(0, begin), min(side, begin + size) - 1
            assert (seen.min(), seen.max()) == inside  # dilation has holes


def test_lenet5_fields_are_those_of_the_paper():
    fields = receptive_fields(build_model("lenet5"), 32)
    assert [field.size[0] for field in fields] == [5, 6, 14, 16, 32, 32, 32]
    assert [field.step for field in fields] == [(s, s) for s in (1, 2, 2, 4, 4)] + [(), ()]
    # the middle unit is number n // 2 of 28, 14, 10, 5, 1, each of which begins at its number
    # times the step
    assert [field.begin[0] for field in fields] == [14, 14, 10, 8, 0, 0, 0]


@pytest.mark.parametrize(
    ("size", "seen", "begin"),
    [
        (3, [0, 1, 1, 1, 0, 0], 1),
        (5, [1, 1, 1, 0, 0, 0], -2),  # two pixels in the padding
        (5, [0, 0, 0, 1, 1, 1], 3),
        (10, [1, 1, 1, 1, 1, 1], -2),  # all: where it lies cannot be seen, nor matters
        (2.5, [0, 1, 1, 1, 0, 0], 1.25),
    ],
)
def test_a_field_is_located_by_the_pixels_that_it_has_in_the_picture(size, seen, begin):
    assert _locate(size, np.array(seen, bool)) == begin


class Branches(nn.Layer):
    """A residual block whose way around is narrower than its convolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(1, 2, 3, stride=2, padding=1)
        self.one, self.two = nn.Conv2D(2, 2, 5, padding=2), nn.Conv2D(2, 2, 1)
        self.last = nn.Conv2D(2, 2, (3, 1), padding=(1, 0))

    def forward(self, images):
        images = self.first(images)
        return self.last(self.one(images) + self.two(images))


def test_the_effective_field_of_one_convolution_is_its_kernel(rng):
    """The gradient of a linear layer is its weights; of two channels, their root mean square."""
    network = nn.Conv2D(1, 2, 3)
    batch = rng.normal(size=(4000, 1, 7, 7)).astype(np.float32)
    field = effective_fields(nn.Sequential(network), batch, ["0"])["0"]
    kernels = network.weight.numpy()[:, 0]
    expected = np.zeros((7, 7))
    expected[2:5, 2:5] = np.sqrt((kernels**2).sum(axis=0))
    np.testing.assert_allclose(field, expected, atol=0.05 * expected.max())


def test_the_effective_field_lies_within_the_theoretical(rng):
    network = build_model("lenet5")
    fields = receptive_fields(network, 32)
    batch = rng.normal(size=(8, 1, 32, 32)).astype(np.float32)
    effective = effective_fields(network, batch, [field.layer for field in fields])
    for field in fields:
        (top, left), (height, width) = field.begin, field.size
        outside = effective[field.layer].copy()
        rows, cols = (
            np.arange(max(0, a), min(32, a + n), dtype=int)
            for a, n in ((top, height), (left, width))
        )
        outside[np.ix_(rows, cols)] = 0
        assert outside.max() == 0
        assert 0 < effective_size(effective[field.layer]) <= height


def test_a_residual_network_has_its_published_fields():
    """By hand: a 7x7, a pooling, then two 3x3 in each of the first blocks, with their steps."""
    network = build_model("vision:resnet18")
    layers = [
        "network.conv1",
        "network.maxpool",
        "network.layer1.1.conv2",
        "network.layer4.1.conv2",
    ]
    fields = receptive_fields(network, 28, layers)
    assert [field.size for field in fields] == [(n, n) for n in (7, 11, 11 + 4 * 8, 435)]
    assert [field.sees_all(28) for field in fields] == [False, False, True, True]
    assert layers_with_fields(network, 28)[:2] == layers[:2]


def test_the_effective_size_counts_what_is_over_a_twentieth_of_the_peak():
    field = np.zeros((9, 9))
    field[2:6, 2:6] = 1.0
    field[0, 0] = 0.04
    assert effective_size(field) == 4.0


def test_the_figure_names_each_field():
    network = build_model("lenet_sequential")
    fields = receptive_fields(network, 28)
    batch = np.zeros((2, 1, 28, 28), np.float32)
    effective = effective_fields(network, batch, [field.layer for field in fields])
    figure = plot_receptive_fields(batch[0, 0], fields, effective)
    labels = " ".join(axes.get_xlabel() for axes in figure.axes)
    for size in (3, 4, 12, 14):
        assert f"field {size}x{size}" in labels


def test_hooks_see_every_layer_of_every_lenet_variant_and_leave_no_trace():
    batch = np.zeros((3, 1, 28, 28), np.float32)
    for name in ("lenet_sequential", "lenet_subclass", "lenet_builtin"):
        network = build_model(name)
        outputs = layer_outputs(network, batch)
        shapes = [output.shape[1:] for output in outputs.values() if output.ndim == 4]
        assert shapes[0] == (6, 28, 28) and shapes[-1] == (16, 5, 5)
        assert list(outputs.values())[-1].shape == (3, 10)
        assert not any(layer._forward_post_hooks for layer in leaf_layers(network).values())


def test_an_output_used_by_hooks_is_that_of_the_layer_alone(rng):
    network = build_model("lenet_builtin")
    batch = rng.normal(size=(2, 1, 28, 28)).astype(np.float32)
    outputs = layer_outputs(network, batch)
    alone = network.features[0](paddle.to_tensor(batch)).numpy()
    np.testing.assert_allclose(outputs["features.0"], alone, rtol=1e-6)
    with watch_layers(leaf_layers(network)) as watched:
        final = network(paddle.to_tensor(batch))
    assert watched["fc.2"] is final
    assert caption("features.0", network.features[0]) == "features.0 Conv2D"
