"""Checkpoints are whole or not there, plain Paddle reads them, and no pickle is trusted."""

import json
import pickle

import numpy as np
import paddle
import pytest
from training_help import train, weights_of

from lenet_paddle import InputError, build_model, load_weights
from lenet_paddle.training import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run")
    network, state = train(run_dir)
    return run_dir, network, state


def test_plain_paddle_loads_our_checkpoint(run):
    run_dir, network, _ = run
    other = build_model("mlp", 3)
    model = paddle.Model(other)
    model.prepare(
        paddle.optimizer.Adam(parameters=other.parameters()), paddle.nn.CrossEntropyLoss()
    )
    model.load(str(run_dir / "checkpoints" / "latest" / "model"), reset_optimizer=True)
    for name, weight in weights_of(network).items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), weight)
    loaded = paddle.load(str(run_dir / "checkpoints" / "latest" / "model.pdparams"))
    assert set(loaded) == set(network.state_dict())


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


def test_the_state_comes_back(run):
    run_dir, _, state = run
    assert checkpoint.read_state(run_dir / "checkpoints" / "epoch_0002") == state


@pytest.mark.parametrize(
    "data",
    [b"", b"no pickle", pickle.dumps([1, 2]), pickle.dumps({}), pickle.dumps({"a": 1})],
    ids=["empty", "garbage", "list", "empty dict", "no arrays"],
)
def test_a_file_that_is_no_weights_is_named(tmp_path, data):
    (tmp_path / "w.pdparams").write_bytes(data)
    with pytest.raises(InputError, match=r"w\.pdparams: "):
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
        checkpoint.set_weights(build_model("lenet_builtin"), weights, "theirs")


def test_weights_of_another_network_are_named():
    with pytest.raises(InputError, match=r"another network \(missing: 1\.weight"):
        checkpoint.set_weights(
            build_model("mlp"), weights_of(build_model("lenet_builtin")), "theirs"
        )


def test_a_flipped_bit_is_recognised_and_the_checkpoint_before_it_used(tmp_path, caplog):
    train(tmp_path)
    damaged = tmp_path / "checkpoints" / "epoch_0002" / "model.pdparams"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    path, state = checkpoint.newest_checkpoint(tmp_path / "checkpoints")
    assert (path.name, state.epoch) == ("epoch_0001", 1)
    assert "epoch_0002/model.pdparams: damaged" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 3}', "[" * 200_000])
def test_a_broken_state_is_one_error(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"state\.json: not the state of a run"):
        checkpoint.read_state(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "x"},
        {"epoch": 0},
        {"epoch": None},
        {"best_epoch": 1.5},
        {"best_epoch": "../../x"},
        {"best_epoch": 9},
        {"classes": None},
        {"classes": [3]},
        {"history": [[]]},
        {"vdl_bytes": -1},
        {"sha256": {}},
        {"sha256": {"../model.pdparams": ""}},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_is_one_error(run, tmp_path, change):
    state = json.loads((run[0] / "checkpoints/latest/state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, **change}))
    with pytest.raises(InputError, match=r"not the state of a run|expected"):
        checkpoint.read_state(tmp_path)


def test_folders_that_are_no_checkpoints_are_left_alone(tmp_path):
    _, state = train(tmp_path, epochs=1)
    folder = tmp_path / "checkpoints"
    for name in ("epoch_0002_backup", "epoch_x", "epoch_0009.old"):
        (folder / name).mkdir()
    train(tmp_path, state=state, epochs=3, keep_last=1, learning_rate=1e-9)
    kept = {p.name for p in folder.glob("epoch_*")}
    assert kept >= {"epoch_0002_backup", "epoch_x", "epoch_0009.old", "epoch_0003"}
    assert checkpoint.list_checkpoints(folder)[0][0] == 3


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_weights_of_another_precision_are_taken_as_float32(dtype):
    network, other = build_model("mlp"), build_model("mlp")
    weights = {name: w.astype(dtype) for name, w in weights_of(other).items()}
    checkpoint.set_weights(network, weights, "theirs")
    np.testing.assert_allclose(weights_of(network)["1.weight"], weights["1.weight"], rtol=1e-3)


@pytest.mark.parametrize(
    "content", [{1: np.zeros(2)}, {"a": np.array(["x"])}, {"1.weight": np.zeros((784, 512), int)}]
)
def test_arrays_that_are_no_weights_are_one_error(tmp_path, content):
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError):
        weights = load_weights(tmp_path / "w.pdparams")
        checkpoint.set_weights(
            build_model("mlp"), {**weights_of(build_model("mlp")), **weights}, ""
        )


def test_a_failed_write_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch):
    _, state = train(tmp_path, epochs=1)
    before = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space"):
        train(tmp_path, state=state, epochs=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == before


@pytest.mark.parametrize("source", ["", "checkpoints/best", "checkpoints/best/model"])
def test_weights_are_found_from_a_run_a_folder_or_a_prefix(run, source):
    found = checkpoint.find_weights(run[0] / source)
    assert found.resolve() == (run[0] / "checkpoints/best/model.pdparams").resolve()


def test_an_unknown_checkpoint_lists_those_that_are_there(run):
    with pytest.raises(InputError, match="best, epoch_0001, epoch_0002, latest"):
        checkpoint.find_checkpoint(run[0], "epoch_0009")
    with pytest.raises(InputError):
        checkpoint.find_checkpoint(run[0], "../checkpoints/best")
