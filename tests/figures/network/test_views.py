"""Figures of kernels, feature maps and architectures show what the network holds."""

import itertools
import re

import numpy as np
import paddle
import pytest

from lenet_paddle.analysis.hooks import layer_outputs
from lenet_paddle.figures.grid import GAP, mosaic
from lenet_paddle.figures.network.architecture import plot_architecture
from lenet_paddle.figures.network.features import plot_feature_grid, plot_features
from lenet_paddle.figures.network.filters import plot_filters
from lenet_paddle.figures.network.stages import Stage, group_stages, make_stages
from lenet_paddle.figures.style import spread
from lenet_paddle.models import MODELS, build_model
from lenet_paddle.models.parameters import count_parameters


def images_of(figure):
    """Every array that is drawn in the axes of a figure, in order."""
    return [image.get_array() for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize("scale", [1, 3])
def test_a_mosaic_holds_every_tile_and_nothing_but_gaps(rng, scale):
    tiles = rng.normal(size=(2, 3, 4, 5))
    sheet = mosaic(tiles, scale)
    for row, col in np.ndindex(2, 3):
        top, left = row * (4 * scale + GAP), col * (5 * scale + GAP)
        own = sheet[top : top + 4 * scale : scale, left : left + 5 * scale : scale]
        np.testing.assert_array_equal(own, tiles[row, col])
    assert np.isfinite(sheet).sum() == tiles.size * scale**2


def test_filters_are_drawn_on_one_scale_a_layer_centred_at_0(rng):
    kernels = {"a": rng.normal(size=(6, 1, 3, 3)), "b": 5 * rng.normal(size=(16, 6, 5, 5))}
    figure = plot_filters(kernels)
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    for image, array in zip(drawn, kernels.values(), strict=True):
        limit = np.abs(array).max()
        assert image.get_clim() == (-limit, limit)
        shown = [tick.get_text() for tick in image.axes.get_xticklabels()]
        assert shown == [str(number) for number in range(len(array))]
        np.testing.assert_allclose(np.nanmax(np.abs(image.get_array())), limit)


def test_of_many_kernels_the_figure_says_how_many_it_shows(rng):
    figure = plot_filters({"C5": rng.normal(size=(120, 20, 2, 2))})
    assert "120x20x2x2" in figure.axes[0].get_title()
    assert "first 32x16" in figure.axes[0].get_title()


def test_features_draws_every_layer_with_its_shape(rng):
    picture = rng.normal(size=(1, 1, 32, 32)).astype(np.float32)
    outputs = {k: v[0] for k, v in layer_outputs(build_model("lenet5"), picture).items()}
    figure = plot_features(picture[0, 0], outputs)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    for name, shape in [("0", "6x28x28"), ("4", "16x10x10"), ("8", "120x1x1"), ("13", "10")]:
        assert any(text.startswith(f"{name}\n{shape}\n") for text in texts)
    vectors = [array for array in images_of(figure) if array.shape == (1, 84)]
    np.testing.assert_array_equal(vectors[0], outputs["11"][None])


def test_the_feature_grid_has_a_row_a_picture_and_a_column_a_kernel(rng):
    pictures = rng.normal(size=(4, 8, 8))
    maps, kernels = rng.normal(size=(4, 3, 6, 6)), rng.normal(size=(3, 3, 3))
    drawn = images_of(plot_feature_grid(pictures, maps, kernels))[: 3 + 4 * 4]
    for array, kernel in zip(drawn[:3], kernels, strict=True):
        np.testing.assert_array_equal(array, kernel)
    for row in range(4):
        np.testing.assert_array_equal(drawn[3 + 4 * row], pictures[row])
        for col in range(3):
            np.testing.assert_array_equal(drawn[4 + 4 * row + col], maps[row, col])


def test_what_shows_only_a_choice_says_of_how_many(rng):
    def title(figure):
        return figure.get_suptitle()

    outputs = {f"layer {n}": rng.normal(size=(2, 3, 3)) for n in range(40)}
    assert title(plot_features(np.zeros((8, 8)), outputs, "all")) == "all (16 of 40 layers)"
    assert title(plot_features(np.zeros((8, 8)), dict(list(outputs.items())[:3]), "all")) == "all"
    kernels = {f"layer {n}": rng.normal(size=(4, 2, 3, 3)) for n in range(20)}
    assert title(plot_filters(kernels, "k")) == "k (6 of 20 layers)"
    maps = rng.normal(size=(2, 30, 4, 4))
    assert title(plot_feature_grid(np.zeros((2, 8, 8)), maps, title="m")) == (
        "m, the first 16 of 30"
    )


def test_the_architecture_says_that_stacks_are_cut():
    for name, is_cut in (("lenet5", True), ("mlp", False)):
        side = MODELS[name][1]
        figure = plot_architecture(build_model(name), np.zeros((1, 1, side, side), np.float32))
        text = "\n".join(text.get_text() for text in figure.axes[0].texts)
        assert ("only the first 8 maps of a stack are drawn" in text) == is_cut


def test_a_deep_network_has_a_column_for_each_map_size_and_all_its_parameters():
    network = build_model("vision:resnet18")
    stages = make_stages(network, np.zeros((1, 1, 28, 28), np.float32))
    groups = group_stages(stages)
    shapes = ["1@28x28", "64@14x14", "64@7x7", "128@4x4", "256@2x2", "512@1x1", "10"]
    assert [group.shape for group in groups] == shapes
    assert sum(group.parameters for group in groups) == sum(stage.parameters for stage in stages)
    counts = [word for group in groups for word in group.words if "Conv2D" in word]
    assert counts == [
        "Conv2D",
        "4 Conv2D",
        *["5 Conv2D"] * 3,
    ]  # a 1x1 convolution on the way around in each of the last


def test_a_gate_on_the_channels_is_no_column_and_large_maps_are_thinned_out():
    def stage(*size):
        return Stage(["Conv2D", "3x3"], np.zeros(size), size)

    sizes = [(1, 28, 28), (8, 64, 64), (8, 1, 1), (8, 64, 64), (8, 32, 32), (8, 1, 1), (4000,)]
    groups = group_stages([stage(*size) for size in sizes])
    assert [group.size for group in groups] == [sizes[0], *sizes[3:]]
    assert [group.values.shape[-1] for group in groups] == [28, 32, 16, 1, 1000]
    assert groups[1].words == ["3 Conv2D"]


def test_spread_keeps_the_first_and_the_last():
    assert spread(list(range(5)), 5) == [0, 1, 2, 3, 4]
    chosen = spread(list(range(100)), 7)
    assert (len(chosen), chosen[0], chosen[-1]) == (7, 0, 99)
    assert chosen == sorted(set(chosen))


def test_the_architecture_of_lenet5_has_the_papers_shapes_and_parameters():
    picture = np.zeros((1, 1, 32, 32), np.float32)
    stages = make_stages(build_model("lenet5"), picture)
    assert [stage.shape for stage in stages] == [
        *("1@32x32", "6@28x28", "6@14x14", "16@10x10", "16@5x5", "120@1x1", "84", "10")
    ]
    assert [stage.parameters for stage in stages] == [0, 156, 0, 2416, 0, 48120, 10164, 850]
    assert stages[2].words == ["AvgPool2D", "2x2", "Sigmoid"]


@pytest.mark.parametrize("name", MODELS)
def test_the_architecture_draws_what_the_network_answers(name, rng):
    network, side = build_model(name), MODELS[name][1]
    picture = rng.uniform(-1, 1, (1, 1, side, side)).astype(np.float32)
    figure = plot_architecture(network, picture, name, "abcdefghij")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert f"{name}: {count_parameters(network)[0]:,} parameters" in texts
    figure.canvas.draw()
    layers = [
        text for text in figure.axes[0].texts if re.search("Conv|Pool|Linear", text.get_text())
    ]
    boxes = [text.get_window_extent() for text in layers]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    answer = int(network(paddle.to_tensor(picture)).numpy().argmax())
    assert [text for text in texts if text in "abcdefghij"] == ["abcdefghij"[answer]]


def test_no_column_of_cnn_modern_hides_its_convolution():
    groups = group_stages(make_stages(build_model("cnn_modern"), np.zeros((1, 1, 28, 28), "f4")))
    assert sum("Conv2D" in group.words for group in groups) == 4
