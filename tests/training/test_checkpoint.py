"""Checkpoints are whole or not there, plain Paddle reads them, and no pickle is trusted."""

import hashlib
import json
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


def test_the_state_comes_back(run):
    run_dir, _, state = run
    assert checkpoint.read_state(run_dir / "checkpoints" / "epoch_0002") == state


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
    assert "skipping epoch_0004" in caplog.text
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
    with pytest.raises(InputError, match=r"epoch_0003 is intact, but .*--init-from .*epoch_0003"):
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


def test_a_history_whose_rows_have_other_columns_is_one():
    more = {**ROW, "gradient_norm": 0.5}
    assert checkpoint.is_history([ROW, more]) and checkpoint.is_history([more, ROW])
    assert not checkpoint.is_history([ROW, {**ROW, "gradient_norm": "high"}])
    assert not checkpoint.is_history([ROW, {k: v for k, v in ROW.items() if k != "step"}])


COUNTS = r"not the state of a run \(ValueError: its counts contradict each other\)$"
CHECKSUMS = r"not the state of a run \(ValueError: it lacks the checksums of a checkpoint\)$"
HISTORY = "its history is not a table of numbers"
ROW = {
    **{"epoch": 1, "step": 4, "learning_rate": 0.1, "train_loss": 1.0, "train_accuracy": 0.5},
    **{"val_loss": float("nan"), "val_accuracy": 0.5},
}
CLASSES = r"not the state of a run \(ValueError: its classes are not names\)$"


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
        ({"history": [ROW, {"epoch": 2, "val_loss": 0.5}]}, HISTORY),
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


def test_a_failed_write_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch):
    _, state = train(tmp_path, epochs=1)
    before = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space"):
        train(tmp_path, state=state, epochs=2)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == before


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
    with pytest.raises(InputError, match=rf"/{name}: {said}; .*epoch_0002 is incomplete"):
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
