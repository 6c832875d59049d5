"""Weights and optimizer states are read without trust, and fit the network or are refused."""

import pickle

import numpy as np
import paddle
import pytest
from training_help import train, weights_of

from lenet_paddle import InputError, TrainConfig, build_model, load_weights
from lenet_paddle.training import weights as weight_files
from lenet_paddle.training.optimizers import build_optimizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run")
    network, state = train(run_dir)
    return run_dir, network, state


def test_our_reader_reads_what_plain_paddle_wrote(tmp_path):
    network = build_model("lenet_builtin")
    paddle.Model(network).save(str(tmp_path / "theirs"))
    weights = load_weights(tmp_path / "theirs.pdparams")
    assert set(weights) == set(network.state_dict())
    for name, weight in weights_of(network).items():
        np.testing.assert_array_equal(weights[name], weight)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_protocol_that_paddle_writes_is_read(tmp_path, protocol):
    layer = paddle.nn.Linear(2, 3)
    paddle.save(layer.state_dict(), str(tmp_path / "w.pdparams"), protocol=protocol)
    np.testing.assert_array_equal(
        load_weights(tmp_path / "w.pdparams")["weight"], layer.weight.numpy()
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"not a file of Paddle weights \(EOFError"),
        (b"no pickle", "refused, it has a step b'n' of a pickle; only arrays and plain contain"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "refused, .*; it is a pointer of Git LFS",
        ),
        (b"<html>404</html>", "refused, .*; it is a web page"),
        (pickle.dumps([1, 2]), "refused, it holds a list; expected named arrays$"),
        (pickle.dumps({}), "holds no arrays; expected a network's weights$"),
        (pickle.dumps({"a": 1}), "holds no arrays; expected a network's weights$"),
    ],
    ids=["empty", "garbage", "LFS", "web page", "list", "empty dict", "no arrays"],
)
def test_a_file_that_is_no_weights_is_named(tmp_path, data, said):
    (tmp_path / "w.pdparams").write_bytes(data)
    with pytest.raises(InputError, match=rf"w\.pdparams: {said}"):
        load_weights(tmp_path / "w.pdparams")


def test_a_truncated_file_is_named(run, tmp_path):
    whole = (run[0] / "checkpoints" / "best" / "model.pdparams").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "w.pdparams").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="not a file of Paddle weights"):
            load_weights(tmp_path / "w.pdparams")


def test_an_array_of_objects_is_refused(tmp_path):
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps({"a": np.array([1, "x"], object)}))
    with pytest.raises(InputError, match="array of O8"):
        load_weights(tmp_path / "w.pdparams")


def test_shapes_that_do_not_fit_are_named():
    weights = weights_of(build_model("lenet_builtin"))
    weights["fc.1.weight"] = np.zeros((84, 120), np.float32)
    with pytest.raises(InputError, match=r"fc\.1\.weight: expected \[120, 84\], file has \[84, 1"):
        weight_files.set_weights(build_model("lenet_builtin"), weights, "theirs")


def test_weights_of_another_network_are_named():
    with pytest.raises(InputError, match=r"^theirs: .* another network \(missing: 1\.weight, 1\.b"):
        weight_files.set_weights(
            build_model("mlp"), weights_of(build_model("lenet_builtin")), "theirs"
        )
    network = build_model("mlp")
    weights = {**weights_of(network), "x": np.zeros(1), "y": np.zeros(1)}
    with pytest.raises(InputError, match=r"network \(missing: none; unknown: x, y\)$"):
        weight_files.set_weights(network, weights, "theirs")
    del weights["x"], weights["y"], weights["1.bias"]
    with pytest.raises(InputError, match=r"network \(missing: 1\.bias; unknown: none\)$"):
        weight_files.set_weights(network, weights, "theirs")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_another_precision_are_taken_as_float32(dtype):
    network, other = build_model("mlp"), build_model("mlp")
    weights = {name: w.astype(dtype) for name, w in weights_of(other).items()}
    weight_files.set_weights(network, weights, "theirs")
    np.testing.assert_allclose(weights_of(network)["1.weight"], weights["1.weight"], rtol=1e-3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({1: np.zeros(2)}, r"w\.pdparams: refused, it has a key that is a int; expected names$"),
        ({"a": np.array(["x"])}, r"w\.pdparams: refused, it has an array of U1; expected numbers$"),
        ({"1.weight": np.zeros((784, 512), int)}, "1.weight: expected floats, file has int64$"),
        ({"a": {"b": {2: 3}}}, "it has a key that is a int; expected names$"),
    ],
    ids=range(4),
)
def test_arrays_that_are_no_weights_are_one_error(tmp_path, content, said):
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=said):
        weights = load_weights(tmp_path / "w.pdparams")
        weight_files.set_weights(
            build_model("mlp"), {**weights_of(build_model("mlp")), **weights}, ""
        )


def saved_by(tmp_path, optimizer, num_classes=3):
    """A checkpoint's `model.pdparams` after one step of an `optimizer`, and its network."""
    network = build_model("lenet_builtin", num_classes)
    model = paddle.Model(network)
    config = TrainConfig(model="lenet_builtin", optimizer=optimizer)
    model.prepare(build_optimizer(config, network.parameters()), paddle.nn.CrossEntropyLoss())
    model.train_batch([np.ones((3, 1, 28, 28), "float32")], [np.array([[0], [1], [2]])])
    model.save(str(tmp_path / "model"))
    return tmp_path / "model.pdparams", network


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "momentum", "muon"])
def test_an_optimizers_state_is_taken_along_under_the_new_networks_names(tmp_path, optimizer):
    pdparams, old = saved_by(tmp_path, optimizer)
    new = build_model("lenet_builtin", 3)
    taken = weight_files.match_optimizer_state(optimizer, new, pdparams)
    saved = weight_files.load_optimizer_state(pdparams.with_suffix(".pdopt"))
    del saved["StructuredToParameterName@@"]
    assert len(saved) >= len(new.parameters())
    pairs = list(zip(old.parameters(), new.parameters(), strict=True))
    for key, value in saved.items():
        theirs, ours = next(pair for pair in pairs if key.startswith(pair[0].name + "_"))
        assert key not in taken
        np.testing.assert_array_equal(taken[ours.name + key[len(theirs.name) :]], value)


def test_frozen_layers_take_no_state_along(tmp_path):
    pdparams, _ = saved_by(tmp_path, "adam")
    network = build_model("lenet_builtin", 3)
    frozen = network.parameters()[0]
    frozen.stop_gradient = True
    taken = weight_files.match_optimizer_state("adam", network, pdparams)
    assert not [key for key in taken if key.startswith(frozen.name + "_")]
    for parameter in network.parameters()[1:]:
        assert parameter.name + "_moment1_0" in taken
    with pytest.raises(InputError, match="not the state of momentum for this network"):
        weight_files.match_optimizer_state("momentum", network, pdparams)


def test_what_belongs_to_no_parameter_and_a_schedule_are_left_out(tmp_path):
    pdparams, _ = saved_by(tmp_path, "adam")
    pdopt = pdparams.with_suffix(".pdopt")
    content = paddle.load(str(pdopt), return_numpy=True)
    pdopt.write_bytes(pickle.dumps({**content, "steps": 7, "LR_Scheduler": {"last_lr": 0.1}}))
    network = build_model("lenet_builtin", 3)
    taken = weight_files.match_optimizer_state("adam", network, pdparams)
    owners = tuple(parameter.name for parameter in network.parameters())
    assert len(taken) == 4 * len(owners) and all(key.startswith(owners) for key in taken)
    assert isinstance(taken[owners[0] + "_moment1_0"], paddle.Tensor)


@pytest.mark.parametrize(
    ("suffix", "value"),
    [
        ("_moment2_0", None),
        ("_moment2_0", np.zeros(3, np.float32)),
        ("_moment2_0", "text"),
        ("_moment1_0", 1.0),
        ("_beta1_pow_acc_0", "text"),
        ("_beta1_pow_acc_0", np.zeros(0, np.float32)),
        ("_beta2_pow_acc_0", np.ones(1)),
    ],
)
def test_a_foreign_state_that_does_not_fit_is_one_error(tmp_path, suffix, value):
    """Paddle would find out at the first step, by an assertion, when the run is made already."""
    pdparams, network = saved_by(tmp_path, "adam")
    pdopt = pdparams.with_suffix(".pdopt")
    content = paddle.load(str(pdopt), return_numpy=True)
    key = network.parameters()[3].name + suffix
    assert key in content
    rest = {name: array for name, array in content.items() if name != key}
    pdopt.write_bytes(pickle.dumps(rest if value is None else {**rest, key: value}))
    with pytest.raises(InputError, match="not the state of adam for this network"):
        weight_files.match_optimizer_state("adam", build_model("lenet_builtin", 3), pdparams)


@pytest.mark.parametrize(
    ("saved", "num_classes", "wanted", "said"),
    [
        ("adam", 3, "sgd", "^--with-optimizer: sgd has no state$"),
        ("adam", 3, "momentum", r"model\.pdopt: not the state of momentum for this network$"),
        ("momentum", 3, "adam", r"model\.pdopt: not the state of adam for this network$"),
        ("adam", 3, "muon", r"model\.pdopt: not the state of muon for this network$"),
        ("adam", 4, "adam", r"model\.pdopt: not the state of adam for this network$"),
    ],
)
def test_the_state_of_another_optimizer_or_network_is_one_error(
    tmp_path, saved, num_classes, wanted, said
):
    pdparams, _ = saved_by(tmp_path, saved, num_classes)
    with pytest.raises(InputError, match=said):
        weight_files.match_optimizer_state(wanted, build_model("lenet_builtin", 3), pdparams)


def test_weights_without_an_optimizers_state_or_its_names_are_one_error(tmp_path):
    pdparams, network = saved_by(tmp_path, "adam")
    pdparams.write_bytes(pickle.dumps(weights_of(network)))  # says no parameter's name
    with pytest.raises(InputError, match="not the state of adam for this network"):
        weight_files.match_optimizer_state("adam", build_model("lenet_builtin", 3), pdparams)
    pdparams.with_suffix(".pdopt").unlink()
    said = r"model\.pdopt: missing; leave out --with-optimizer to load the weights alone$"
    with pytest.raises(InputError, match=said):
        weight_files.match_optimizer_state("adam", network, pdparams)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_pickled_by_numpy_1_and_2_are_read(tmp_path, module):
    data = pickle.dumps({"a": np.arange(3.0)}, protocol=2)
    own = b"numpy._core.multiarray" if b"numpy._core" in data else b"numpy.core.multiarray"
    (tmp_path / "w.pdparams").write_bytes(data.replace(own, module))
    assert load_weights(tmp_path / "w.pdparams")["a"].tolist() == [0, 1, 2]
