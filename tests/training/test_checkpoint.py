"""Checkpoints are whole or not there, plain Paddle reads them, and no pickle is trusted."""

import hashlib
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from training_help import train, weights_of

from lenet_paddle import InputError, TrainConfig, build_model, load_weights
from lenet_paddle.training import checkpoint
from lenet_paddle.training.callbacks import Checkpoints
from lenet_paddle.training.optimizers import build_optimizer


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
    ("data", "said"),
    [
        (b"", r"not a file of Paddle weights \(EOFError"),
        (b"no pickle", "refused, it has a step b'n' of a pickle; only arrays and plain contain"),
        (pickle.dumps([1, 2]), "refused, it holds a list; expected named arrays$"),
        (pickle.dumps({}), "holds no arrays; expected a network's weights$"),
        (pickle.dumps({"a": 1}), "holds no arrays; expected a network's weights$"),
    ],
    ids=["empty", "garbage", "list", "empty dict", "no arrays"],
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
        checkpoint.set_weights(build_model("lenet_builtin"), weights, "theirs")


def test_weights_of_another_network_are_named():
    with pytest.raises(InputError, match=r"^theirs: .* another network \(missing: 1\.weight, 1\.b"):
        checkpoint.set_weights(
            build_model("mlp"), weights_of(build_model("lenet_builtin")), "theirs"
        )
    network = build_model("mlp")
    weights = {**weights_of(network), "x": np.zeros(1), "y": np.zeros(1)}
    with pytest.raises(InputError, match=r"network \(missing: none; unknown: x, y\)$"):
        checkpoint.set_weights(network, weights, "theirs")
    del weights["x"], weights["y"], weights["1.bias"]
    with pytest.raises(InputError, match=r"network \(missing: 1\.bias; unknown: none\)$"):
        checkpoint.set_weights(network, weights, "theirs")


def test_a_flipped_bit_is_recognised_and_the_checkpoint_before_it_used(tmp_path, caplog):
    train(tmp_path)
    damaged = tmp_path / "checkpoints" / "epoch_0002" / "model.pdparams"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    path, state = checkpoint.newest_checkpoint(tmp_path / "checkpoints")
    assert (path.name, state.epoch) == ("epoch_0001", 1)
    assert "epoch_0002/model.pdparams: damaged" in caplog.text


@pytest.mark.parametrize("name", ["model.pdparams", "model.pdopt", "state.json"])
def test_a_torn_or_bit_flipped_file_is_named_wherever_the_damage_is(run, tmp_path, name, rng):
    shutil.copytree(run[0] / "checkpoints" / "epoch_0002", tmp_path, dirs_exist_ok=True)
    state, whole = checkpoint.read_state(tmp_path), (tmp_path / name).read_bytes()
    for length in (0, 1, *rng.integers(2, len(whole) - 1, 5), len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        if name == "state.json" and length == len(whole) - 1:
            continue  # a line's end
        with pytest.raises(InputError, match=re.escape(f"{tmp_path / name}: ")):
            checkpoint.read_state(tmp_path)
    for position, bit in zip(rng.integers(0, len(whole), 60), rng.integers(0, 8, 60), strict=True):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        (tmp_path / name).write_bytes(damaged)
        try:
            assert checkpoint.read_state(tmp_path) == state  # a space or the like has changed
            assert name == "state.json"
        except InputError as error:
            assert str(tmp_path / name) in str(error) or name == "state.json"


@pytest.mark.parametrize(("key", "value"), [("step", 3), ("seconds", 1.0), ("vdl_bytes", 7)])
def test_a_number_of_the_state_that_has_changed_is_noticed(run, tmp_path, key, value):
    shutil.copytree(run[0] / "checkpoints" / "epoch_0002", tmp_path, dirs_exist_ok=True)
    record = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**record, key: value}))
    with pytest.raises(InputError, match=r"state\.json: damaged"):
        checkpoint.read_state(tmp_path)
    record.pop(checkpoint.OWN_CHECKSUM)  # as they were written before
    (tmp_path / "state.json").write_text(json.dumps(record))
    assert checkpoint.read_state(tmp_path).epoch == 2


class _Model:
    """What a checkpoint saves of a network."""

    def save(self, path):
        Path(f"{path}.pdparams").write_bytes(b"weights")


def save_epochs(folder, accuracies, keep_last=2, done=0):
    """The checkpoints of a training with these validation accuracies, the first `done` of which
    have been saved before it was resumed."""
    config = TrainConfig(keep_last=keep_last)
    state = checkpoint.TrainState(classes=["a", "b"])
    callback = Checkpoints(folder, config, state)
    callback.set_model(_Model())
    for epoch, accuracy in enumerate(accuracies, 1):
        state.epoch = epoch
        state.history.append({**ROW, "val_accuracy": accuracy})
        if accuracy == max(accuracies[:epoch]):
            state.best_epoch = epoch
        if epoch > done:
            callback.on_eval_end()


def test_what_was_the_best_stays_while_a_checkpoint_names_it(tmp_path, caplog):
    """Else the newest one's damage would leave no way to go on from the one before it."""
    save_epochs(tmp_path / "checkpoints", [0.5, 0.9, 0.6, 0.95])
    kept = sorted(p.name for p in (tmp_path / "checkpoints").glob("epoch_*"))
    assert kept == ["epoch_0002", "epoch_0003", "epoch_0004"]
    (tmp_path / "checkpoints" / "epoch_0004" / "model.pdparams").write_bytes(b"wieghts")
    path, state = checkpoint.newest_checkpoint(tmp_path / "checkpoints")
    assert (path.name, state.best_epoch) == ("epoch_0003", 2)
    assert "epoch_0004 is passed over" in caplog.text
    save_epochs(tmp_path / "one", [0.5, 0.9, 0.6, 0.95], keep_last=1)
    assert [p.name for p in (tmp_path / "one").glob("epoch_*")] == ["epoch_0004"]


def test_a_checkpoint_whose_best_is_damaged_is_none_to_go_on_from(tmp_path, caplog):
    """The training would end, and then have no result."""
    save_epochs(tmp_path / "checkpoints", [0.5, 0.9, 0.6, 0.7], keep_last=4)
    (tmp_path / "checkpoints" / "epoch_0002" / "model.pdparams").write_bytes(b"wieghts")
    path, state = checkpoint.newest_checkpoint(tmp_path / "checkpoints")
    assert (path.name, state.best_epoch) == ("epoch_0001", 1)
    assert caplog.text.count("epoch_0002/model.pdparams: damaged") == 3


def test_the_bests_of_checkpoints_from_before_a_resume_stay(tmp_path):
    accuracies = [0.5, 0.9, 0.6, 0.95, 0.96]
    save_epochs(tmp_path / "whole", accuracies, keep_last=3)
    save_epochs(tmp_path / "resumed", accuracies[:4], keep_last=3)
    save_epochs(tmp_path / "resumed", accuracies, keep_last=3, done=4)
    kept = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("whole", "resumed")]
    assert kept[0] == kept[1] and "epoch_0002" in kept[0]


def test_when_the_best_is_lost_the_newest_is_named_and_not_trained_away(tmp_path):
    folder = tmp_path / "checkpoints"
    save_epochs(folder, [0.9, 0.5, 0.6])
    (folder / "epoch_0001" / "model.pdparams").write_bytes(b"wieghts")
    with pytest.raises(InputError, match=r"epoch_0003 is whole, but .*--init-from .*epoch_0003"):
        checkpoint.newest_checkpoint(folder)


def test_the_checkpoints_of_a_run_that_has_vanished_make_no_new_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoints"):
        save_epochs(tmp_path / "gone" / "checkpoints", [0.5])
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(("step", "is_one"), [(10_000_000, True), (2**63, False)])
def test_a_history_holds_numbers_that_a_column_can_hold(step, is_one):
    assert checkpoint.is_history([{**ROW, "step": step}]) == is_one


def test_a_history_without_val_has_the_test_sets_columns():
    row = {name.replace("val_", "test_"): value for name, value in ROW.items()}
    assert checkpoint.is_history([row, row]) and not checkpoint.is_history([row, ROW])


COUNTS = r"not the state of a run \(ValueError: its counts do not fit each other\)$"
CHECKSUMS = r"not the state of a run \(ValueError: its checksums are not those of a checkpoint\)$"
HISTORY = "its history is no table of numbers"
ROW = {
    **{"epoch": 1, "step": 4, "learning_rate": 0.1, "train_loss": 1.0, "train_accuracy": 0.5},
    **{"val_loss": float("nan"), "val_accuracy": 0.5},
}
CLASSES = r"not the state of a run \(ValueError: its classes are no names\)$"


TEXTS = ["", "{", "[]", "{}", '{"sha256": 3}', "[" * 200_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_broken_state_is_one_error(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=r"state\.json: not the state of a run"):
        checkpoint.read_state(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": "x"}, "epoch is 'x'; expected"),
        ({"epoch": 0}, COUNTS),
        ({"epoch": None}, "epoch is None; expected"),
        ({"best_epoch": 1.5}, "best_epoch is 1.5; expected"),
        ({"best_epoch": "../../x"}, "best_epoch is '../../x'; expected"),
        ({"best_epoch": 9}, COUNTS),
        ({"best_epoch": 0}, COUNTS),
        ({"classes": None}, "classes is None; expected"),
        ({"classes": [3]}, CLASSES),
        ({"classes": []}, CLASSES),
        ({"history": [[]]}, COUNTS),
        ({"history": [{}, []]}, COUNTS),
        ({"history": [{}, {}]}, HISTORY),
        ({"history": [{**ROW, "train_loss": "1"}, ROW]}, HISTORY),
        ({"history": [{**ROW, "step": 2**63}, ROW]}, HISTORY),
        ({"history": [{**ROW, "more": 1}, ROW]}, HISTORY),
        ({"vdl_bytes": -1}, COUNTS),
        ({"step": -1}, COUNTS),
        ({"sha256": {}}, CHECKSUMS),
        ({"sha256": {"../model.pdparams": ""}}, CHECKSUMS),
        ({"sha256": {"model.pdparams": "", "../model.pdparams": ""}}, CHECKSUMS),
        ({"sha256": {"model.pdparams": "", "": ""}}, CHECKSUMS),  # the folder itself
        ({"sha256": {"model.pdparams": "", "a.\0": ""}}, CHECKSUMS),
        ({"classes": ["\x1b[31mred", "b"]}, "cannot be printed"),
        ({"classes": ["a", "a"]}, r"state\.json: .*a class name twice; expected"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_state_that_cannot_be_is_one_error(run, tmp_path, change, said):
    state = json.loads((run[0] / "checkpoints/latest/state.json").read_text())
    del state[checkpoint.OWN_CHECKSUM]  # as one of before it had one, or who changed it knew how
    (tmp_path / "state.json").write_text(json.dumps({**state, **change}))
    with pytest.raises(InputError, match=said):
        checkpoint.read_state(tmp_path)


def test_the_least_that_a_state_can_say_is_accepted(run, tmp_path):
    path = tmp_path / "epoch_0002"
    shutil.copytree(run[0] / "checkpoints" / "epoch_0002", path)
    least = {"step": 0, "vdl_bytes": 0, "best_epoch": 1}
    record = json.loads((path / "state.json").read_text())
    del record[checkpoint.OWN_CHECKSUM]
    (path / "state.json").write_text(json.dumps({**record, **least}))
    state = checkpoint.read_state(path)
    assert {name: getattr(state, name) for name in least} == least


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


@pytest.mark.parametrize(
    "source",
    ["", "checkpoints/best", "checkpoints/best/model", "checkpoints/best/model.pdparams"],
)
def test_weights_are_found_from_a_run_a_folder_a_prefix_or_a_file(run, source):
    found = checkpoint.find_weights(run[0] / source)
    assert found.resolve() == (run[0] / "checkpoints/best/model.pdparams").resolve()


def test_weights_of_a_damaged_checkpoint_are_not_found(run, tmp_path):
    damaged = shutil.copytree(run[0] / "checkpoints" / "best", tmp_path / "best")
    file = damaged / "model.pdparams"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for source in (damaged, file):
        with pytest.raises(InputError, match=r"model\.pdparams: damaged"):
            checkpoint.find_weights(source)
    (damaged / "state.json").unlink()  # a file without a checkpoint has no checksum
    assert checkpoint.find_weights(file) == file.resolve()


def test_an_unknown_checkpoint_lists_those_that_are_there(run):
    with pytest.raises(InputError, match="best, epoch_0001, epoch_0002, latest"):
        checkpoint.find_checkpoint(run[0], "epoch_0009")
    with pytest.raises(InputError):
        checkpoint.find_checkpoint(run[0], "../checkpoints/best")
    assert checkpoint.find_checkpoint(run[0], "best") == run[0] / "checkpoints" / "best"


def test_a_folder_without_checkpoints_or_weights_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match=rf"^{tmp_path}: no checkpoint 'best'; it has none$"):
        checkpoint.find_checkpoint(tmp_path, "best")
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no checkpoint 'best'; it has best$"):
        checkpoint.find_checkpoint(tmp_path, "best")
    (tmp_path / "w.txt").write_text("no weights")
    said = (
        r"no weights there; expected a run, a checkpoint folder, a prefix or a file \.pdparams or "
    )
    for source in (tmp_path, tmp_path / "w.txt", tmp_path / "no.safetensors"):
        with pytest.raises(InputError, match=rf"^{source}: {said}\.safetensors$"):
            checkpoint.find_weights(source)


def test_a_checkpoint_says_what_made_it_and_the_checksum_of_every_other_file(tmp_path):
    train(tmp_path, epochs=1, ema=0.5)
    path = tmp_path / "checkpoints" / "epoch_0001"
    record = json.loads((path / "state.json").read_text())
    assert record["rng"] == {"seed": 0, "next_epoch": 1}
    config = TrainConfig(epochs=1, batch_size=32, model="mlp", ema=0.5)
    assert record["config"] == config.to_dict()
    assert set(record["sha256"]) == {"model.pdparams", "model.pdopt", "raw.pdparams"}
    averaged, raw = (load_weights(path / name) for name in ("model.pdparams", "raw.pdparams"))
    assert raw.keys() == averaged.keys() and (raw["1.weight"] != averaged["1.weight"]).any()
    for name, checksum in record["sha256"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == checksum


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.pdparams", "missing"),
        ("model.pdopt", "missing"),
        ("state.json", "No such file or directory"),
    ],
)
def test_a_checkpoint_without_one_of_its_files_is_not_whole(run, tmp_path, name, said):
    path = tmp_path / "epoch_0002"
    shutil.copytree(run[0] / "checkpoints" / "epoch_0002", path)
    (path / name).unlink()
    with pytest.raises(InputError, match=rf"/{name}: {said}; .*epoch_0002 is no whole checkpoint"):
        checkpoint.read_state(path)
    assert checkpoint.newest_checkpoint(tmp_path) is None


def test_checkpoints_are_listed_newest_first_and_nothing_else_is(tmp_path):
    for name in ("epoch_0009", "epoch_10000", "epoch_0010", "epoch_123", "epoch_0007.old", "old"):
        (tmp_path / name).mkdir()
    (tmp_path / "epoch_0008").write_text("a file")
    (tmp_path / "epoch_0011").symlink_to(tmp_path / "epoch_0009")
    names = {10000: "epoch_10000", 10: "epoch_0010", 9: "epoch_0009"}
    expected = [(epoch, tmp_path / name) for epoch, name in names.items()]
    assert checkpoint.list_checkpoints(tmp_path) == expected
    assert [checkpoint.epoch_name(epoch) for epoch in names] == list(names.values())


@pytest.mark.parametrize(
    ("keep_last", "keep_every", "kept"),
    [(1, 0, [2, 9]), (3, 0, [2, 7, 8, 9]), (1, 4, [2, 4, 8, 9]), (1, 1, [*range(1, 10)])],
)
def test_pruning_keeps_the_newest_the_best_and_every_so_many(tmp_path, keep_last, keep_every, kept):
    for epoch in range(1, 10):
        (tmp_path / checkpoint.epoch_name(epoch)).mkdir()
    checkpoint.prune_checkpoints(tmp_path, 9, [2], keep_last, keep_every)
    assert [epoch for epoch, _ in checkpoint.list_checkpoints(tmp_path)] == kept[::-1]


def test_the_links_name_the_last_and_the_best(tmp_path):
    checkpoint.point_links(tmp_path, checkpoint.TrainState(epoch=5, best_epoch=3))
    assert (tmp_path / "latest").readlink().name == "epoch_0005"
    assert (tmp_path / "best").readlink().name == "epoch_0003"


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
    taken = checkpoint.take_optimizer_state(optimizer, new, pdparams)
    saved = checkpoint.load_optimizer_state(pdparams.with_suffix(".pdopt"))
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
    taken = checkpoint.take_optimizer_state("adam", network, pdparams)
    assert not [key for key in taken if key.startswith(frozen.name + "_")]
    for parameter in network.parameters()[1:]:
        assert parameter.name + "_moment1_0" in taken
    with pytest.raises(InputError, match="not the state of momentum for this network"):
        checkpoint.take_optimizer_state("momentum", network, pdparams)


def test_what_belongs_to_no_parameter_and_a_schedule_are_left_out(tmp_path):
    pdparams, _ = saved_by(tmp_path, "adam")
    pdopt = pdparams.with_suffix(".pdopt")
    content = paddle.load(str(pdopt), return_numpy=True)
    pdopt.write_bytes(pickle.dumps({**content, "steps": 7, "LR_Scheduler": {"last_lr": 0.1}}))
    network = build_model("lenet_builtin", 3)
    taken = checkpoint.take_optimizer_state("adam", network, pdparams)
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
        checkpoint.take_optimizer_state("adam", build_model("lenet_builtin", 3), pdparams)


@pytest.mark.parametrize(
    ("saved", "num_classes", "wanted", "said"),
    [
        ("adam", 3, "sgd", "^--with-optimizer: sgd has no state to take along$"),
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
        checkpoint.take_optimizer_state(wanted, build_model("lenet_builtin", 3), pdparams)


def test_weights_without_an_optimizers_state_or_its_names_are_one_error(tmp_path):
    pdparams, network = saved_by(tmp_path, "adam")
    pdparams.write_bytes(pickle.dumps(weights_of(network)))  # says no parameter's name
    with pytest.raises(InputError, match="not the state of adam for this network"):
        checkpoint.take_optimizer_state("adam", build_model("lenet_builtin", 3), pdparams)
    pdparams.with_suffix(".pdopt").unlink()
    said = r"model\.pdopt: missing; without --with-optimizer the weights alone are taken$"
    with pytest.raises(InputError, match=said):
        checkpoint.take_optimizer_state("adam", network, pdparams)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_pickled_by_numpy_1_and_2_are_read(tmp_path, module):
    data = pickle.dumps({"a": np.arange(3.0)}, protocol=2)
    own = b"numpy._core.multiarray" if b"numpy._core" in data else b"numpy.core.multiarray"
    (tmp_path / "w.pdparams").write_bytes(data.replace(own, module))
    assert load_weights(tmp_path / "w.pdparams")["a"].tolist() == [0, 1, 2]
