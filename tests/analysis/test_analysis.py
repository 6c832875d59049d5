"""A network layer by layer: hand values of the paper, Paddle's own counts where they are right,
products counted one by one, and the receptive field measured with single lit pixels."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn
from tools_help import assert_refused, tool

from lenet_paddle.analysis.hooks import leaf_layers
from lenet_paddle.analysis.layers import LayerRow, analyse, analyse_model, totals
from lenet_paddle.analysis.tables import format_layers
from lenet_paddle.benchmark import side_by_side
from lenet_paddle.errors import InputError
from lenet_paddle.kernels.library import Missing, load_library
from lenet_paddle.models import MODELS, build_model, input_size
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.tables import format_json, format_records

VISION = [f"vision:{name}" for name in ("resnet18", "mobilenet_v3_small", "googlenet")]


def _flops(network: nn.Layer, *shape: int) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return paddle.flops(network, [1, *shape])


def _with_weights(rows: list[LayerRow]) -> list[LayerRow]:
    return [row for row in rows if row.parameters]


def test_lenet5_has_the_figures_of_the_1998_paper() -> None:
    rows = _with_weights(analyse_model("lenet5"))
    assert [(row.formula, row.parameters) for row in rows] == [
        ("(5*5*1 + 1)*6", 156),
        ("(5*5*6 + 1)*16", 2_416),  # C3 sees all maps, in the paper 1,516
        ("(5*5*16 + 1)*120", 48_120),
        ("(120 + 1)*84", 10_164),
        ("(84 + 1)*10", 850),
    ]
    assert [row.macs for row in rows] == [
        117_600,  # 28*28 places, 6 maps, 25 products
        240_000,  # 10*10 places, 16 maps, 150 products
        48_000,  # 120 values, 400 products
        10_080,
        840,
    ]
    assert [row.flops for row in rows] == [239_904, 481_600, 96_120, 20_244, 1_690]


def test_lenet5_has_the_receptive_fields_worked_by_hand() -> None:
    rows = [row for row in analyse_model("lenet5") if row.kind in ("Conv2D", "AvgPool2D")]
    assert [row.field[0] for row in rows] == [5, 6, 14, 16, 32]  # 14 = 6 + 4*2, 32 = 16 + 4*4
    assert [row.stride[0] for row in rows] == [1, 2, 2, 4, 4]
    assert [row.memory for row in rows] == [18_816, 4_704, 6_400, 1_600, 480]  # 4 bytes each


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_that_own_operators_compute_are_those_that_are_not_called(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        load_library([])
    except Missing as reason:
        pytest.skip(str(reason))
    network, called = build_model(name), set()
    for kind in {type(layer) for layer in leaf_layers(network).values()}:

        def forward(self: nn.Layer, *args: Any, own: Any = kind.forward) -> Any:
            called.add(id(self))
            return own(self, *args)

        monkeypatch.setattr(kind, "forward", forward)
    rows = analyse(network, (1, input_size(name), input_size(name)))
    network.train()
    called.clear()
    with fast_layers(network):
        network(paddle.rand([2, 1, input_size(name), input_size(name)]))
    names = {name for name, layer in leaf_layers(network).items() if id(layer) not in called}
    assert {row.name for row in rows if row.is_covered} == names


def test_own_operators_compute_lenet_whole_and_the_table_says_so() -> None:
    rows = analyse_model("lenet_builtin")
    assert all(row.is_covered for row in rows if row.macs)
    text = format_layers("lenet_builtin", (1, 28, 28), rows, "table")
    assert "Own operators in training: 9 of 9 layers, 100.0 % of the MACs" in text
    assert totals(analyse_model("vision:resnet18"))["covered"] == 0


@pytest.mark.parametrize("name", [*MODELS, *VISION])
def test_every_formula_gives_its_parameters_and_all_parameters_are_found(name: str) -> None:
    rows = analyse_model(name)
    for row in _with_weights(rows):
        assert eval(row.formula.replace("/", "//")) == row.parameters
    trained = [p for p in build_model(name).parameters() if not p.stop_gradient]
    assert sum(row.parameters for row in rows) == sum(p.size for p in trained)


@pytest.mark.parametrize("name", [*MODELS, *VISION])
def test_parameters_are_those_of_paddle_summary_which_adds_running_statistics(name: str) -> None:
    sums, size = totals(analyse_model(name)), input_size(name)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = paddle.summary(build_model(name), (1, 1, size, size))
    assert sums["parameters"] == theirs["trainable_params"]
    assert sums["parameters"] + sums["not_trained"] == theirs["total_params"]


def test_activation_memory_is_that_of_paddle_summary_when_no_layer_holds_others() -> None:
    """It counts every output twice (for gradients), and the outputs of blocks once more."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        paddle.summary(build_model("lenet5"), (1, 1, 32, 32))
    megabytes = float(re.search(r"pass size \(MB\): ([\d.]+)", text.getvalue())[1])  # type: ignore[index]
    memory = totals(analyse_model("lenet5"))["activation_bytes"]
    assert 2 * memory / 2**20 == pytest.approx(megabytes, abs=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_paddle_flops_are_our_macs_and_the_biases_of_convolutions(name: str) -> None:
    size = input_size(name)
    rows = analyse_model(name)
    layers = dict(build_model(name).named_sublayers())
    with_bias = [row for row in rows if row.kind == "Conv2D" and layers[row.name].bias is not None]
    biases = sum(math.prod(row.output_shape) for row in with_bias)
    norms = sum(row.flops for row in rows if row.kind == "BatchNorm2D")
    averages = sum(math.prod(row.output_shape) for row in rows if row.kind == "AvgPool2D")
    means = sum(2 * math.prod(row.output_shape) for row in rows if "AdaptiveAvg" in row.kind)
    theirs = _flops(build_model(name), 1, size, size)
    assert theirs == totals(rows)["macs"] + biases + norms + averages + means


def test_paddle_flops_are_our_macs_and_flops_of_batch_norms_in_resnet() -> None:
    rows = analyse_model("vision:resnet18", image_size=32)
    norms = sum(row.flops for row in rows if row.kind == "BatchNorm2D")
    pooled = 512 * (1 * 1 + 1)  # a sum and a division for each of 512 maps of 1x1
    theirs = _flops(build_model("vision:resnet18"), 1, 32, 32)
    assert theirs == totals(rows)["macs"] + norms + pooled


def test_what_paddle_flops_counts_wrongly_is_still_so() -> None:
    transposed = nn.Sequential(nn.Conv2DTranspose(4, 6, 3, stride=2))
    assert _flops(transposed, 4, 5, 5) == 6 * 11 * 11 * (4 * 9 + 1)  # right: 5*5*4 * 6*9 + biases
    assert totals(analyse(transposed, (4, 5, 5)))["macs"] == 5 * 5 * 4 * 6 * 9
    assert _flops(nn.Conv2D(1, 2, 3), 1, 5, 5) == 0  # a network of one layer
    assert totals(analyse(nn.Conv2D(1, 2, 3), (1, 5, 5)))["macs"] == 9 * 2 * 9
    norm = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1D(4))
    assert _flops(norm, 4) == 16  # without the norm and the linear layer's bias
    assert [row.flops for row in analyse(norm, (4,))] == [2 * 16 + 4, 2 * 4]
    network = build_model("lenet_builtin")
    with fast_layers(network):  # subclasses are not counted
        assert _flops(network, 1, 28, 28) == 48_000 + 10_080 + 840


def _convolve(x: np.ndarray, w: np.ndarray, stride: int, pad: int, dilation: int, groups: int):  # type: ignore[no-untyped-def]
    """A convolution without bias in plain loops, and how many products it took."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    num_out, per_group, k, _ = w.shape
    side = (x.shape[1] - (k - 1) * dilation - 1) // stride + 1
    y, products = np.zeros((num_out, side, side)), 0
    for o, i, j in np.ndindex(y.shape):
        first = o // (num_out // groups) * per_group
        for c, a, b in np.ndindex(per_group, k, k):
            row, col = i * stride + a * dilation, j * stride + b * dilation
            y[o, i, j] += w[o, c, a, b] * x[first + c, row, col]
            products += 1
    return y, products


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": 2},
        {"groups": 2},
        {"groups": 4, "stride": 2, "dilation": 2, "padding": 1},
    ],
    ids=str,
)
def test_macs_of_a_convolution_are_its_products_counted_one_by_one(
    settings: dict[str, int], rng: np.random.Generator
) -> None:
    layer = nn.Conv2D(4, 8, 3, bias_attr=False, **settings)
    x = rng.standard_normal((4, 8, 8)).astype(np.float32)
    order = (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
    y, products = _convolve(x, layer.weight.numpy(), *[settings.get(k, d) for k, d in order])
    np.testing.assert_allclose(layer(paddle.to_tensor(x[None]))[0].numpy(), y, atol=1e-4)
    (row,) = analyse(layer, (4, 8, 8))
    assert (row.macs, row.flops) == (products, 2 * products)
    assert row.formula == f"3*3*4{'/' + str(layer._groups) if layer._groups > 1 else ''}*8"
    assert row.field == ((3 - 1) * settings.get("dilation", 1) + 1,) * 2


def test_macs_of_a_transposed_convolution_are_its_products_counted_one_by_one(
    rng: np.random.Generator,
) -> None:
    layer = nn.Conv2DTranspose(4, 6, 3, stride=2, groups=2, bias_attr=False)
    x, w = rng.standard_normal((4, 5, 5)).astype(np.float32), layer.weight.numpy()
    y, products = np.zeros((6, 11, 11)), 0
    for c, i, j in np.ndindex(x.shape):
        for o, a, b in np.ndindex(w.shape[1:]):
            y[c // 2 * 3 + o, 2 * i + a, 2 * j + b] += x[c, i, j] * w[c, o, a, b]
            products += 1
    np.testing.assert_allclose(layer(paddle.to_tensor(x[None]))[0].numpy(), y, atol=1e-4)
    (row,) = analyse(layer, (4, 5, 5))
    assert (row.macs, row.parameters, row.stride) == (products, 108, (0.5, 0.5))
    assert row.formula == "3*3*4/2*6"
    assert row.field == (2, 2)  # of three kernel rows at most two meet an input row


def test_adaptive_pooling_counts_each_window() -> None:
    (row,) = analyse(nn.AdaptiveAvgPool2D(3), (2, 7, 7))
    assert row.flops == 2 * (3 + 3 + 3) ** 2  # windows of 0..2, 2..4, 4..6 along each side
    assert row.field == (3, 3)


def _light_pixels(network: nn.Layer, channels: int, side: int) -> list[np.ndarray]:
    """Which pixels of the middle row reach each unit: for the output of every layer called, bool
    (side, C, H, W), one entry a lit pixel. All weights are made positive, so nothing cancels."""
    for layer in network.sublayers(include_self=True):
        for key, p in layer._parameters.items():
            if p is not None and key in ("weight", "bias"):
                mean = 1 / math.prod(p.shape[1:])
                p.set_value(paddle.full(p.shape, mean if key == "weight" else 0.0))
    images = np.zeros((side, channels, side, side), np.float32)
    images[np.arange(side), :, side // 2, np.arange(side)] = 1e4
    outputs: list[np.ndarray] = []
    for layer in network.sublayers(include_self=True):
        if not layer.sublayers() and not isinstance(layer, nn.Identity):
            layer.register_forward_post_hook(lambda _, x, y: outputs.append(y.numpy() != 0))
    network.eval()
    with paddle.no_grad():
        network(paddle.to_tensor(images))
    return outputs


@pytest.mark.parametrize(
    ("name", "channels", "side", "at_least"),
    [
        ("lenet_subclass", 1, 28, 5),
        ("vision:resnet18", 3, 64, 12),  # shortcuts
        ("vision:densenet121", 3, 64, 16),  # concatenations
        ("vision:shufflenet_v2_x0_25", 3, 48, 15),  # split, shuffled
        ("vision:squeezenet1_1", 3, 48, 8),
    ],
)
def test_the_receptive_field_is_what_lit_pixels_reach(
    name: str, channels: int, side: int, at_least: int
) -> None:
    network = build_model(name)
    network = getattr(network, "network", network)  # without its enlarging of pictures
    rows = analyse(network, (channels, side, side))
    num_tried = 0
    for row, lit in zip(rows, _light_pixels(network, channels, side), strict=True):
        if len(row.output_shape) == 3 and row.field[1] <= 2 * side // 3:  # not cut by the border
            assert lit.any(axis=(1, 2)).sum(axis=0).max() == row.field[1], row.name
            num_tried += 1
    assert num_tried >= at_least


@pytest.mark.parametrize(
    ("name", "depth"),
    [("resnet18", 18), ("resnet50", 50), ("densenet121", 121), ("googlenet", 22)],
)
def test_the_depth_is_the_one_in_the_networks_name(name: str, depth: int) -> None:
    assert totals(analyse_model(f"vision:{name}"))["depth"] == depth  # GoogLeNet's: its paper


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("alexnet", 195),
        ("vgg16", 212),
        ("resnet18", 7 + 2 * 2 + 4 * 8 + sum(2 * j + 3 * 2 * 2 * j for j in (4, 8, 16))),  # by hand
        ("mobilenet_v1", 315),
        ("inception_v3", 1311),
    ],
)
def test_published_receptive_fields_are_found(name: str, field: int) -> None:
    """Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks, 2019."""
    network = build_model(f"vision:{name}").network
    assert totals(analyse(network, (3, 224, 224)))["field"] == (field, field)


class _Twice(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(2, 2, (1, 5), padding=(0, 2))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x + F.relu(self.conv(x)))


def test_a_layer_called_twice_has_its_parameters_once_and_its_work_twice() -> None:
    first, second = analyse(_Twice(), (2, 8, 8))
    assert (first.parameters, second.parameters) == (22, 0)
    assert first.macs == second.macs == 64 * 2 * 10
    assert (first.field, second.field) == ((1, 5), (1, 9))


class _PooledByFunction(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(1, 1, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(F.max_pool2d(x, 2))


def test_a_field_that_cannot_be_followed_is_not_invented() -> None:
    rows = analyse(_PooledByFunction(), (1, 12, 12))
    assert all(math.isnan(side) for side in rows[0].field)
    assert json.loads(format_json(rows[0].field)) == [None, None]


def test_a_kind_that_is_not_known_is_named_and_not_counted_as_nothing() -> None:
    rows = analyse(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2D(1, 1, 3)), (1, 8, 8))
    assert totals(rows)["unknown_kinds"] == ["Upsample"]
    assert "not counted: Upsample" in format_layers("own", (1, 8, 8), rows, "table")
    assert rows[1].field == (2, 2)  # three pixels of half a pixel each


def test_the_network_is_left_as_it_was() -> None:
    network = build_model("lenet_builtin")
    with paddle.no_grad():
        analyse(network, (1, 28, 28))
    assert network.training
    for layer in network.sublayers(include_self=True):
        assert not layer._forward_pre_hooks and not layer._forward_post_hooks
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (nn.Conv2D(1, 1, 5), (1, 4, 4), "needs 5 units a side and would get 4"),
        (nn.Conv2D(1, 1, 3, dilation=3, padding=1), (1, 4, 4), "needs 7 .* would get 6"),
        (nn.MaxPool2D(2), (1, 1, 1), "needs 2 units a side and would get 1"),
        (nn.Linear(4, 2), (5,), "takes 4 values and would get 5"),
    ],
)
def test_a_window_that_does_not_fit_is_refused_before_paddle_invents_a_map(
    network: nn.Layer, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        analyse(network, shape)
    assert not network._forward_pre_hooks


@pytest.mark.parametrize(
    "padding", ["SAME", 2, [2, 2], [2, 2, 2, 2], [[0, 0], [0, 0], [2, 2], [2, 2]]]
)
def test_padding_in_every_form_makes_room_for_a_window(padding: Any) -> None:
    (row,) = analyse(nn.Conv2D(1, 1, 5, padding=padding), (1, 3, 3))
    assert row.output_shape == (1, 3, 3)


def test_paddle_still_invents_a_map_for_a_window_that_does_not_fit() -> None:
    assert nn.MaxPool2D(2)(paddle.rand([1, 1, 1, 1])).shape == [1, 1, 1, 1]


def test_a_picture_of_another_size_has_the_same_parameters_and_more_work() -> None:
    small, large = (totals(analyse_model("vision:resnet18", 10, 3, size)) for size in (32, 64))
    assert small["parameters"] == large["parameters"]
    assert large["macs"] - 5_120 == 4 * (small["macs"] - 5_120)  # but for the linear layer


def test_the_table_the_markdown_and_the_json_say_the_same() -> None:
    rows = analyse_model("lenet5")
    table, markdown, text = (
        format_layers("lenet5", (1, 32, 32), rows, style) for style in ("table", "markdown", "json")
    )
    record = json.loads(text)
    assert record["totals"]["parameters"] == 61_706 and record["input_shape"] == [1, 32, 32]
    assert record["layers"][0]["parameters"] == 156
    assert sum(layer["share_of_macs"] for layer in record["layers"]) == pytest.approx(1)
    assert "MACs" in record["definitions"] and "MACs: multiply-adds" in table
    assert "(5*5*1 + 1)*6 = 156" in table and "Total params: 61,706" in table
    assert r"(5\*5\*1 + 1)\*6 = 156" in markdown and "Total params: 61,706" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(rows) and len({len(line) for line in lines}) == 1


def test_models_side_by_side_carry_their_own_figures_and_a_measured_time() -> None:
    records = side_by_side.compare_models(["lenet5", "mlp"])
    assert [r["parameters"] for r in records] == [61_706, 535_818]
    assert [r["depth"] for r in records] == [5, 3]
    assert [r["input"] for r in records] == ["32x32", "28x28"]
    assert records[0]["weights_mb"] == pytest.approx(4 * 61_706 / 1e6)
    assert all(0 < r["ms_per_image"] < 1000 for r in records)


def _write_run(folder: Path, metrics: dict[str, Any] | None = None, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    lines = [f"{key}: {value}" for key, value in {"model": "mlp", **settings}.items()]
    (folder / "config.yaml").write_text("\n".join(lines) + "\n")
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_runs_side_by_side_show_the_settings_that_differ_and_no_other(tmp_path: Path) -> None:
    one = _write_run(tmp_path / "one", {"accuracy": 0.5, "loss": 1.25}, seed=1, epochs=3)
    two = _write_run(tmp_path / "two", None, seed=2, epochs=3)
    records = side_by_side.compare_runs([one, two])
    assert [(r["model"], r["seed"], r["test_accuracy"]) for r in records] == [
        ("mlp", 1, 0.5),
        ("mlp", 2, None),
    ]
    assert "epochs" not in records[0]
    text = format_records(records, side_by_side.RUN_TITLES, "table", {})
    assert text.splitlines()[1].split()[:5] == [str(one), "mlp", "1", "0.5000", "1.2500"]
    assert text.splitlines()[2].split()[3] == "-"


def test_images_a_second_are_bounded_by_limit() -> None:
    config = side_by_side.TrainConfig(limit=100)
    done = side_by_side.speed(config, 6, {"epochs_trained": 3, "seconds": 10.0})
    assert done["images_per_second"] == 30  # 3 epochs of 100 images, in 2 batches of 64 at most
    config = side_by_side.TrainConfig()
    done = side_by_side.speed(config, 6, {"epochs_trained": 3, "seconds": 10.0})
    assert done["images_per_second"] == 6 * 64 / 10


def test_a_real_runs_speed_and_accuracies_are_read_from_its_checkpoint(tmp_path: Path) -> None:
    from training_help import train

    run = _write_run(tmp_path / "run", {"accuracy": 0.25, "loss": 2.0})
    _, state = train(run, epochs=2)
    (record,) = side_by_side.compare_runs([run])
    assert record["epochs_trained"] == 2 and record["seconds"] == state.seconds > 0
    assert record["val_accuracy"] == state.history[state.best_epoch - 1]["val_accuracy"]
    assert (record["test_accuracy"], record["model"]) == (0.25, "mlp")


def test_a_path_that_is_not_a_run_is_skipped_with_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = _write_run(tmp_path / "run")
    broken = _write_run(tmp_path / "broken")
    (broken / "metrics.json").write_text("[1]")
    (tmp_path / "file").touch()
    records = side_by_side.compare_runs([tmp_path / "file", tmp_path / "none", broken, run])
    assert [r["run"] for r in records] == [str(run)]
    assert caplog.text.count("skipping it") == 3
    with pytest.raises(InputError, match="no run among"):
        side_by_side.compare_runs([tmp_path / "none"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "vision:nope"], ["vision:nope", "lenet5", "resnet18"]),
        (["--compare", "lenet5,nope"], ["'nope'", "lenet5", "resnet18"]),
        (["--image-size", "27"], ["image_size is 27", "28 to 224"]),
        (["--image-size", "225"], ["image_size is 225", "28 to 224"]),
        (["--channels", "2"], ["--channels", "2"]),
        (["--num-classes", "0"], ["num_classes is 0"]),
        (["--compare", "mlp", "--runs", "a"], ["one of them"]),
        (["--runs", "no/such"], ["no run among"]),
    ],
)
def test_bad_input_is_a_line_with_what_was_expected(arguments: list[str], words: list[str]) -> None:
    done = tool("analyze", *arguments)
    if arguments[0] == "--runs":  # the warning comes first
        assert done.returncode == 2 and "skipping it" in done.stderr
        assert words[0] in done.stderr
    else:
        assert_refused(done, *words)
