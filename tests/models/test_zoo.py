"""Paddle's classifiers, `vision:<name>`, on small grey pictures."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from marks import slow
from paddle.vision import models as theirs
from tools_help import QUICK, ROOT, assert_refused, tool
from training_help import bars, train, weights_of

from lenet_paddle import export_inference, normalise
from lenet_paddle.analysis.layers import analyse
from lenet_paddle.config import TrainConfig
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.kernels.library import SWITCH
from lenet_paddle.models import MODELS, VISION_NAMES, build_model, input_size
from lenet_paddle.models.layers import Conv2D, fast_layers
from lenet_paddle.models.zoo import SMALLEST_SIDE, smallest_side
from lenet_paddle.training.checkpoint import save_checkpoint
from lenet_paddle.training.optimizers import build_optimizer
from lenet_paddle.training.weights import match_optimizer_state

SMALL = "shufflenet_v2_x0_25"  # 95,818 parameters
FAMILIES = [
    *("resnet18", "resnext50_32x4d", "wide_resnet50_2", "vgg11", "densenet121", "alexnet"),
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("inception_v3", "squeezenet1_0", "squeezenet1_1", "googlenet"),
    *(SMALL, "shufflenet_v2_swish"),
]


@pytest.fixture
def digits(rng: np.random.Generator) -> paddle.Tensor:
    return paddle.to_tensor(rng.uniform(-1, 1, (2, 1, 28, 28)).astype(np.float32))


def test_the_names_are_all_classifiers_of_paddle_but_its_lenet() -> None:
    functions = [name for name in theirs.__all__ if inspect.isfunction(getattr(theirs, name))]
    assert list(VISION_NAMES) == functions


@pytest.mark.parametrize("name", ["vision:nope", "vision:", "vision:LeNet", "resnet18", "vision"])
def test_an_unknown_name_lists_the_valid_ones(name: str) -> None:
    for make in (build_model, lambda name: TrainConfig(model=name)):
        with pytest.raises(InputError) as caught:
            make(name)
        valid = ("lenet5", "mlp", "vision:NAME", *VISION_NAMES)
        assert [word for word in valid if word not in str(caught.value)] == []


def test_an_unknown_name_is_refused_without_paddle() -> None:
    assert_refused(tool("train", "--model", "vision:nope"), "vision:nope", "densenet264")
    code = (
        "import sys; from lenet_paddle import TrainConfig\n"
        "TrainConfig(model='vision:resnet18')\n"
        "try: TrainConfig(model='vision:nope')\n"
        "except ValueError: print('paddle' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_the_help_shows_the_choices() -> None:
    text = " ".join(tool("train", "--help").stdout.split())
    for name in (*MODELS, "vision:NAME"):
        assert name in text


@pytest.mark.parametrize("name", ["resnet18", SMALL, "mobilenet_v3_small", "squeezenet1_1"])
def test_a_grey_picture_gives_a_logit_for_each_class(name: str, digits: paddle.Tensor) -> None:
    assert input_size(f"vision:{name}") == 28
    network = build_model(f"vision:{name}", 7)
    network.eval()
    logits = network(digits)
    assert logits.shape == [2, 7] and np.isfinite(logits.numpy()).all()


def test_the_network_inside_is_paddles_own_on_the_grey_channel_three_times(
    digits: paddle.Tensor,
) -> None:
    network = build_model("vision:resnet18", 10)
    network.eval()
    assert type(network.network) is theirs.ResNet
    expected = network.network(paddle.concat([digits] * 3, axis=1))
    np.testing.assert_array_equal(network(digits).numpy(), expected.numpy())
    assert list(network.network.state_dict()) == list(theirs.resnet18(num_classes=10).state_dict())


def test_three_equal_channels_are_a_first_convolution_with_summed_kernels(
    digits: paddle.Tensor,
) -> None:
    first = build_model("vision:resnet18").network.conv1
    summed = paddle.nn.functional.conv2d(
        digits, first.weight.sum(axis=1, keepdim=True), stride=2, padding=3
    )
    actual = first(paddle.concat([digits] * 3, axis=1))
    np.testing.assert_allclose(actual.numpy(), summed.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FAMILIES if smallest_side(name) > 1])
def test_the_smallest_side_is_the_smallest_that_works(name: str) -> None:
    network = build_model(f"vision:{name}").network
    side = smallest_side(name)
    rows = analyse(network, (3, side, side))
    assert rows[-1].output_shape[0] == 10
    with pytest.raises(InputError, match=r"units a side|values and would get"):
        analyse(network, (3, side - 1, side - 1))


def test_each_family_that_needs_larger_pictures_is_named_and_tried() -> None:
    assert {side for name in FAMILIES if (side := smallest_side(name)) > 1} == set(
        SMALLEST_SIDE.values()
    )
    assert all(any(name.startswith(family) for name in VISION_NAMES) for family in SMALLEST_SIDE)


def test_a_small_picture_is_enlarged_and_a_large_one_is_not(digits: paddle.Tensor) -> None:
    network = build_model("vision:squeezenet1_0")
    network.eval()
    seen: list[paddle.Tensor] = []
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(digits)
    large = paddle.rand([2, 1, 64, 64])
    network(large)
    assert [x.shape for x in seen] == [[2, 3, 35, 35], [2, 3, 64, 64]]
    np.testing.assert_array_equal(seen[1][:, 1].numpy(), large[:, 0].numpy())
    expected = paddle.nn.functional.interpolate(digits, [35, 35], mode="bilinear")
    np.testing.assert_array_equal(seen[0][:, 2].numpy(), expected[:, 0].numpy())


def test_googlenets_main_output_is_untouched_by_the_loss_of_its_auxiliary_heads() -> None:
    ours, whole = build_model("vision:googlenet", 10), theirs.googlenet(num_classes=10)
    whole.eval()
    ours.eval()
    own = ours.network.state_dict()
    ours.network.set_state_dict({k: v for k, v in whole.state_dict().items() if k in own})
    images = paddle.rand([1, 1, 224, 224]) * 2 - 1
    expected = whole(paddle.concat([images] * 3, axis=1))[0]
    np.testing.assert_allclose(ours(images).numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)
    lost = {name.split(".")[0] for name in whole.state_dict()} - {n.split(".")[0] for n in own}
    assert lost == {f"_{part}{i}" for part in ("conv_o", "fc_o", "out") for i in (1, 2)}


@pytest.mark.parametrize(
    "name",
    [
        *("squeezenet1_1", "mobilenet_v3_small", SMALL),
        *(slow(name) for name in ("vgg11", "alexnet", "googlenet", "inception_v3")),
    ],
)
def test_fast_layers_change_the_logits_by_rounding_and_without_operators_no_bit(
    name: str, digits: paddle.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_model(f"vision:{name}")
    network.eval()
    expected = network(digits).numpy()
    with fast_layers(network):
        np.testing.assert_allclose(network(digits).numpy(), expected, rtol=1e-5, atol=1e-5)
    monkeypatch.setenv(SWITCH, "off")
    with fast_layers(network):
        biased = [x for x in network.sublayers() if type(x) is Conv2D]
        np.testing.assert_array_equal(network(digits).numpy(), expected)
    if name in ("squeezenet1_1", "mobilenet_v3_small", SMALL):  # convolutions with a bias, or none
        assert bool(biased) == (name != SMALL)


def test_a_training_moves_weights_and_running_statistics_and_exports(tmp_path: Path) -> None:
    model = f"vision:{SMALL}"
    before = weights_of(build_model(model, 3))
    network, state = train(tmp_path / "run", model=model, epochs=1, batch_size=8)
    assert np.isfinite(state.history[0]["train_loss"])
    after = weights_of(network)
    assert all((after[k] != before[k]).any() for k in after if k.endswith(("_mean", "_variance")))
    test_set = bars(20, seed=2)
    difference = export_inference(network, tmp_path / "inference", test_set, 28, {"model": model})
    assert difference <= 1e-5
    logits = predict_logits(network, test_set)
    batch = paddle.to_tensor(normalise(test_set.images))
    np.testing.assert_allclose(network(batch).numpy(), logits, atol=1e-5)


def test_an_optimizers_state_is_taken_along_past_running_statistics(tmp_path: Path) -> None:
    config = TrainConfig(model=f"vision:{SMALL}")
    network = build_model(config.model, 3)
    model = paddle.Model(network)
    model.prepare(build_optimizer(config, network.parameters()), paddle.nn.CrossEntropyLoss())
    model.train_batch([paddle.rand([4, 1, 28, 28])], [paddle.to_tensor([[0], [1], [2], [0]])])
    state = train(tmp_path / "run", model="mlp", epochs=1)[1]
    folder = save_checkpoint(tmp_path, model, state, config)
    taken = match_optimizer_state("adam", network, folder / "model.pdparams")
    moments = [key for key in taken if key.endswith("_moment1_0")]
    assert len(moments) == sum(not p.stop_gradient for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_trains_a_few_steps_through_our_fit(tmp_path: Path, name: str) -> None:
    before = weights_of(build_model(f"vision:{name}", 3))
    network, state = train(
        tmp_path, bars(24), model=f"vision:{name}", epochs=1, batch_size=8, learning_rate=1e-4
    )
    assert state.step == 3 and np.isfinite(state.history[0]["train_loss"])
    after = weights_of(network)
    assert sum((after[key] != before[key]).any() for key in after) > len(after) / 2
    images = bars(8, seed=3)
    export_inference(network, tmp_path / "inference", images, 28, {})  # raises if it differs


@pytest.mark.slow
def test_a_run_of_a_vision_model_is_evaluated_repeated_and_asked(tmp_path: Path) -> None:
    done = tool("train", *QUICK, "--model", f"vision:{SMALL}", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "95,818 parameters" in done.stderr and "UserWarning" not in done.stderr
    run = tmp_path / f"{SMALL}-mnist-001"  # no colon in the name
    assert yaml.safe_load((run / "config.yaml").read_text())["model"] == f"vision:{SMALL}"
    metrics = (run / "metrics.json").read_text()
    done = tool("evaluate", "--run", run, "--json")
    assert json.loads(done.stdout)["accuracy"] == json.loads(metrics)["accuracy"]
    picture = tmp_path / "digit.png"
    from PIL import Image

    Image.fromarray(np.full((28, 28), 9, np.uint8)).save(picture)
    answers = [
        tool("predict", flag, where, picture, "--format", "csv").stdout
        for flag, where in (("--run", run), ("--model", run / "inference"))
    ]
    assert answers[0] == answers[1] and answers[0].count("\n") == 2
