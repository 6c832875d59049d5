"""Checkpoints: folders that appear by one atomic rename and are read without trust.

    checkpoints/epoch_0005/model.pdparams  model.pdopt  state.json
    checkpoints/latest -> epoch_0005       checkpoints/best -> epoch_0004

Where links cannot be made `latest` and `best` are files of one line; in a copy made without links
they are folders until the run is resumed.

The two `model.` files are in Paddle's own formats: `paddle.Model.load("…/best/model")` reads them.
With a moving average of the weights `model.pdparams` holds the average, which was evaluated, and
`raw.pdparams` the weights that the training continues with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import check_classes
from lenet_paddle.errors import InputError, quote
from lenet_paddle.files import (
    open_file,
    read_text,
    replacing_folder,
    swap_link,
    sync_path,
    write_json,
)
from lenet_paddle.settings import check_types
from lenet_paddle.tables import format_json

RAW = "raw.pdparams"
LINKS = ("latest", "best")
OWN_CHECKSUM = "state_sha256"  # of state.json; old files have none
_log = logging.getLogger(__name__)


@dataclass
class TrainState:
    """Progress of a training. All randomness follows from the seed and `epoch`."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Batches trained, over all epochs."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per finished epoch, as in history.csv; a row may lack columns of later ones."""
    best_epoch: int = 0
    """The epoch (from 1) that the `best` link names."""
    vdl_bytes: int = 0
    """Length of VisualDL's log after that epoch."""
    seconds: float = 0.0
    """Training time so far."""
    classes: list[str] = field(default_factory=list)
    """Class names in the order of the logits."""


def epoch_name(epoch: int) -> str:
    """Return the name of the checkpoint after `epoch` (from 1), such as `epoch_0005`."""
    return f"epoch_{epoch:04d}"


def save_checkpoint(
    folder: Path,
    model: paddle.Model,
    state: TrainState,
    config: TrainConfig,
    raw: dict[str, paddle.Tensor] | None = None,
) -> Path:
    """Write the checkpoint of `state.epoch` into `folder`, move the links, return its path.

    `raw` holds the trained weights if the network holds their average.
    """
    path = folder / epoch_name(state.epoch)
    if not folder.exists():
        folder.mkdir()  # no parents: do not recreate a run that was removed
        sync_path(folder.parent)
    with replacing_folder(path) as temporary:
        model.save(str(temporary / "model"))
        if raw is not None:
            paddle.save(raw, str(temporary / RAW))
        checksums = {p.name: _sha256(p) for p in sorted(temporary.iterdir())}
        values = {
            **dataclasses.asdict(state),
            "rng": {"seed": config.seed, "next_epoch": state.epoch},
            "config": config.to_dict(),
            "sha256": checksums,
        }
        record = json.loads(format_json(values))  # as it will be read: NaN is null
        record[OWN_CHECKSUM] = _checksum_of(record)
        write_json(temporary / "state.json", record)
    point_links(folder, state)
    return path


def point_links(folder: Path, state: TrainState) -> None:
    """Point `latest` and `best` at the epochs of `state`."""
    for link, epoch in zip(LINKS, (state.epoch, state.best_epoch), strict=True):
        swap_link(folder / link, epoch_name(epoch))


def find_original(path: Path) -> Path:
    """Return the checkpoint that the folder `path`, a copy of one, was a link to; else `path`."""
    if path.is_symlink() or path.name not in LINKS:
        return path
    original = path.with_name(epoch_name(read_state(path).epoch))
    return original if original.is_dir() else path


def restore_copies(folder: Path) -> None:
    """Rename `latest` and `best` that are folders to their epochs where those are not intact."""
    for path in (folder / name for name in LINKS):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(InputError):  # damaged: the links are written anew anyway
                original = path.with_name(epoch_name(read_state(path).epoch))
                if not _is_intact(original):
                    shutil.rmtree(original, ignore_errors=True)
                    path.rename(original)
                    sync_path(folder)


def _is_intact(path: Path) -> bool:
    try:
        read_state(path)
    except InputError:
        return False
    return True


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return (epoch, path) of every checkpoint in `folder`, newest first."""
    found = []
    for path in folder.glob("epoch_*"):
        match = re.fullmatch(r"epoch_(\d{4,})", path.name)
        if match and path.is_dir() and not path.is_symlink():
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Path, TrainState] | None:
    """Return path and state of the newest checkpoint that is intact together with its best one.

    Skips damaged checkpoints with a warning; returns None if none is left. Raises `InputError` if
    there are intact ones, but each has lost its best.
    """
    intact: list[Path] = []
    for _, path in list_checkpoints(folder):
        try:
            state = read_state(path)
            intact.append(path)
            if path.name != epoch_name(state.best_epoch):
                read_state(folder / epoch_name(state.best_epoch))
            return path, state
        except InputError as error:
            _log.warning("%s; skipping %s", error, path.name)
    if intact:
        raise InputError(
            f"{intact[0]} is intact, but the best checkpoint until then is damaged; start a new "
            f"run from it with {quote('--init-from', intact[0])}, or replace this one with "
            "--overwrite"
        )
    return None


def prune_checkpoints(
    folder: Path, last: int, bests: Sequence[int], keep_last: int, keep_every: int
) -> None:
    """Remove checkpoints up to epoch `last`, except the newest `keep_last`, the `bests` and every
    `keep_every`-th."""
    for epoch, path in list_checkpoints(folder):
        kept = (
            epoch > last - keep_last
            or epoch in bests
            or (keep_every > 0 and epoch % keep_every == 0)
        )
        if not kept:
            shutil.rmtree(
                path, ignore_errors=True
            )  # a failed removal is retried after the next epoch


def read_state(path: Path) -> TrainState:
    """Read a checkpoint's state and verify all its files. Raises `InputError` for damage."""
    file = path / "state.json"
    try:
        record = json.loads(read_text(file))
        found = _checksum_of(record)
        state = TrainState(**{f.name: record[f.name] for f in dataclasses.fields(TrainState)})
        for row in (row for row in state.history if isinstance(row, dict)):
            row.update({name: math.nan for name, value in row.items() if value is None})
        _check_state(state)
        check_classes(state.classes, file)
        if record.get(OWN_CHECKSUM, found) != found:
            raise InputError(f"{file}: damaged (its checksum differs from the one in it)")
        checksums = dict(record["sha256"])
        if "model.pdparams" not in checksums or not all(
            re.fullmatch(r"\w+\.\w+", name) for name in checksums
        ):
            raise ValueError("it lacks the checksums of a checkpoint")
        for name, checksum in checksums.items():
            if not (path / name).is_file():  # no device either: reading it might not end
                raise InputError(f"{path / name}: missing; {path} is incomplete")
            if _sha256(path / name) != checksum:
                raise InputError(f"{path / name}: damaged (its checksum differs from state.json)")
        return state
    except InputError:
        raise
    except OSError as error:
        reason = f"{file}: {error.strerror}; {path} is incomplete"
        raise InputError(reason) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{file}: not the state of a run ({reason})") from None


def _check_state(state: TrainState) -> None:
    check_types(state)  # raises InputError
    counts = (state.epoch, state.step, state.best_epoch, state.vdl_bytes)
    rows = [row for row in state.history if isinstance(row, dict)]
    if min(counts) < 0 or len(rows) != state.epoch or not 1 <= state.best_epoch <= state.epoch:
        raise ValueError("its counts contradict each other")
    if not state.classes or not all(isinstance(name, str) for name in state.classes):
        raise ValueError("its classes are not names")
    if not is_history(state.history):
        raise ValueError("its history is not a table of numbers")


def is_history(rows: Sequence[dict[str, Any]]) -> bool:
    """Return whether each row has the columns of every epoch and holds numbers only.

    Further columns may be in some rows and not in others.
    """
    columns = {"epoch", "step", "learning_rate", "train_loss", "train_accuracy"}
    held_out = [columns | {f"{split}_loss", f"{split}_accuracy"} for split in ("val", "test")]
    is_complete = any(all(row.keys() >= wanted for row in rows) for wanted in held_out)
    return is_complete and all(
        isinstance(value, float) or (type(value) is int and abs(value) < 2**63)
        for row in rows
        for value in row.values()
    )


def _checksum_of(record: dict[str, Any]) -> str:
    """Return the checksum of a state's record without its own entry."""
    rest = {key: value for key, value in record.items() if key != OWN_CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    checksum = hashlib.sha256()
    with open_file(path) as file:
        while piece := file.read(1 << 20):
            checksum.update(piece)
    return checksum.hexdigest()
