"""Checkpoints: folders, published by one atomic rename, and read without trust.

    checkpoints/epoch_0005/model.pdparams  model.pdopt  state.json
    checkpoints/latest -> epoch_0005       checkpoints/best -> epoch_0004

The two `model.` files are Paddle's own formats: `paddle.Model.load("…/best/model")` reads them.
With a moving average of the weights `model.pdparams` holds the average, which is what was
evaluated, and `raw.pdparams` beside it the weights that the training goes on from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import check_classes
from lenet_paddle.errors import InputError
from lenet_paddle.files import replacing_folder, swap_link, sync_path, write_json
from lenet_paddle.settings import check_types
from lenet_paddle.training import muon
from lenet_paddle.training.safe_weights import is_safetensors, load_pickle, load_safetensors

RAW = "raw.pdparams"
OWN_CHECKSUM = "state_sha256"  # of state.json; those written before it had one are read without
_log = logging.getLogger(__name__)


@dataclass
class TrainState:
    """Where a training stands. All that is random follows from the seed and `epoch`."""

    epoch: int = 0
    """Whole epochs trained."""
    step: int = 0
    """Batches trained, over all epochs."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row a whole epoch, as in history.csv."""
    best_epoch: int = 0
    """The epoch (from 1) that the `best` link names."""
    vdl_bytes: int = 0
    """Length of VisualDL's log at the end of that epoch."""
    seconds: float = 0.0
    """Time spent in training so far."""
    classes: list[str] = field(default_factory=list)
    """The class names, in the order of the logits."""


def epoch_name(epoch: int) -> str:
    """The folder of the checkpoint after `epoch` (from 1): `epoch_0005`."""
    return f"epoch_{epoch:04d}"


def save_checkpoint(
    folder: Path,
    model: paddle.Model,
    state: TrainState,
    config: TrainConfig,
    raw: dict[str, paddle.Tensor] | None = None,
) -> Path:
    """Write the checkpoint of `state.epoch` into `folder` and move the links; return its path.

    `raw` are the trained weights when the network holds their average.
    """
    path = folder / epoch_name(state.epoch)
    if not folder.exists():
        folder.mkdir()  # and no more: a run's folder that has vanished is not made again
        sync_path(folder.parent)
    with replacing_folder(path) as temporary:
        model.save(str(temporary / "model"))
        if raw is not None:
            paddle.save(raw, str(temporary / RAW))
        checksums = {p.name: _sha256(p) for p in sorted(temporary.iterdir())}
        record = {
            **dataclasses.asdict(state),
            "rng": {"seed": config.seed, "next_epoch": state.epoch},
            "config": config.to_dict(),
            "sha256": checksums,
        }
        record[OWN_CHECKSUM] = _checksum_of(record)
        write_json(temporary / "state.json", record)
    point_links(folder, state)
    return path


def point_links(folder: Path, state: TrainState) -> None:
    """Point `latest` and `best` where `state` says."""
    swap_link(folder / "latest", epoch_name(state.epoch))
    swap_link(folder / "best", epoch_name(state.best_epoch))


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(epoch, path) of every checkpoint in `folder`, newest first; other folders do not count."""
    found = []
    for path in folder.glob("epoch_*"):
        match = re.fullmatch(r"epoch_(\d{4,})", path.name)
        if match and path.is_dir() and not path.is_symlink():
            found.append((int(match[1]), path))
    return sorted(found, reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Path, TrainState] | None:
    """The newest checkpoint in `folder` that is whole, and whose best epoch's is, and its state;
    damaged ones are named. Raises `InputError` where all that are whole have lost their best."""
    whole: list[Path] = []
    for _, path in list_checkpoints(folder):
        try:
            state = read_state(path)
            whole.append(path)
            if path.name != epoch_name(state.best_epoch):
                read_state(folder / epoch_name(state.best_epoch))
            return path, state
        except InputError as error:
            _log.warning("%s; %s is passed over", error, path.name)
    if whole:
        raise InputError(
            f"{whole[0]} is whole, but what was the best until then is damaged; go on from it in a "
            f"new run by --init-from {whole[0]}, or start anew by --overwrite"
        )
    return None


def find_checkpoint(run_dir: Path, name: str) -> Path:
    """The folder of a run's checkpoint `best`, `latest` or `epoch_0005`. Raises `InputError`."""
    folder = run_dir / "checkpoints"
    path = folder / name
    is_name = re.fullmatch(r"best|latest|epoch_\d{4,}", name)
    if not is_name or not (path / "model.pdparams").is_file():
        present = sorted(p.name for p in folder.glob("[a-z]*"))
        raise InputError(
            f"{run_dir}: no checkpoint {name!r}; it has {', '.join(present) or 'none'}"
        )
    return path


def find_weights(name: str | Path) -> Path:
    """The file that `name` means: a run (its best), a checkpoint folder, a Paddle prefix, or a
    file `.pdparams` or `.safetensors` itself; links are followed, so it stays that one. Raises
    `InputError`, also for a file of a checkpoint that is not whole."""
    source = Path(name)
    candidates = [
        source / "checkpoints" / "best" / "model.pdparams",
        source / "model.pdparams",
        Path(f"{source}.pdparams"),
    ]
    if source.suffix in (".pdparams", ".safetensors"):
        candidates.append(source)
    for path in candidates:
        if path.is_file():
            path = path.resolve()
            is_ours = path.name in ("model.pdparams", RAW)
            if is_ours and (path.parent / "state.json").exists():
                read_state(path.parent)
            return path
    raise InputError(
        f"{source}: no weights there; expected a run, a checkpoint folder, a prefix or a file "
        ".pdparams or .safetensors"
    )


def prune_checkpoints(
    folder: Path, last: int, bests: Sequence[int], keep_last: int, keep_every: int
) -> None:
    """Of the checkpoints up to epoch `last` remove all but the newest `keep_last`, the `bests`,
    and every `keep_every`-th."""
    for epoch, path in list_checkpoints(folder):
        kept = (
            epoch > last - keep_last
            or epoch in bests
            or (keep_every > 0 and epoch % keep_every == 0)
        )
        if not kept:
            shutil.rmtree(path, ignore_errors=True)  # the next time, else


def read_state(path: Path) -> TrainState:
    """Read a checkpoint folder's state. Raises `InputError` unless the checkpoint is whole."""
    file = path / "state.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        state = TrainState(**{f.name: record[f.name] for f in dataclasses.fields(TrainState)})
        _check_state(state)
        check_classes(state.classes, file)
        if record.get(OWN_CHECKSUM, found := _checksum_of(record)) != found:
            raise InputError(f"{file}: damaged (its checksum differs from the one in it)")
        checksums = dict(record["sha256"])
        if "model.pdparams" not in checksums or not all(
            re.fullmatch(r"\w+\.\w+", name) for name in checksums
        ):
            raise ValueError("its checksums are not those of a checkpoint")
        for name, checksum in checksums.items():
            if not (path / name).is_file():  # a folder, or a device, whose bytes do not end
                raise InputError(f"{path / name}: missing; {path} is no whole checkpoint")
            if _sha256(path / name) != checksum:
                raise InputError(f"{path / name}: damaged (its checksum differs from state.json)")
        return state
    except InputError:
        raise
    except OSError as error:
        reason = f"{file}: {error.strerror}; {path} is no whole checkpoint"
        raise InputError(reason) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{file}: not the state of a run ({reason})") from None


def _check_state(state: TrainState) -> None:
    check_types(state)  # raises InputError
    counts = (state.epoch, state.step, state.best_epoch, state.vdl_bytes)
    rows = [row for row in state.history if isinstance(row, dict)]
    if min(counts) < 0 or len(rows) != state.epoch or not 1 <= state.best_epoch <= state.epoch:
        raise ValueError("its counts do not fit each other")
    if not state.classes or not all(isinstance(name, str) for name in state.classes):
        raise ValueError("its classes are no names")
    if not is_history(state.history):
        raise ValueError("its history is no table of numbers")


def is_history(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether `rows` have what every epoch's row has, and nothing but numbers in it."""
    columns = {"epoch", "step", "learning_rate", "train_loss", "train_accuracy"}
    held_out = [columns | {f"{split}_loss", f"{split}_accuracy"} for split in ("val", "test")]
    return all(
        any(row.keys() >= wanted for wanted in held_out)
        and row.keys() == rows[0].keys()
        and all(isinstance(v, float) or (type(v) is int and abs(v) < 2**63) for v in row.values())
        for row in rows
    )


def _checksum_of(record: dict[str, Any]) -> str:
    """The checksum of a state's record, its own left out."""
    rest = {key: value for key, value in record.items() if key != OWN_CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a `.pdparams` or `.safetensors` file as name -> array; nothing in it is executed.

    `paddle.load` would unpickle the first, and a pickle can run any code. Raises `InputError`.
    """
    if is_safetensors(path):
        return load_safetensors(path)
    content = load_pickle(path)
    weights = {k: v for k, v in content.items() if isinstance(v, np.ndarray)}
    if not weights:
        raise InputError(f"{path}: holds no arrays; expected a network's weights")
    return weights


def load_optimizer_state(path: Path) -> dict[str, Any]:
    """Read a `.pdopt` file: the accumulators by name. A scheduler's state is left out, since it
    would bring back the old learning rate. Raises `InputError`."""
    content = load_pickle(path)
    return {
        k: paddle.to_tensor(v) if isinstance(v, np.ndarray) else v
        for k, v in content.items()
        if k != "LR_Scheduler"
    }


def set_weights(network: paddle.nn.Layer, weights: dict[str, np.ndarray], source: str) -> None:
    """Put `weights` into `network`. Raises `InputError` that names what does not fit."""
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    if missing or unknown:
        raise InputError(
            f"{source}: weights of another network (missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'})"
        )
    for name, tensor in own.items():
        if weights[name].dtype.kind != "f":
            raise InputError(f"{source}: {name}: expected floats, file has {weights[name].dtype}")
        if list(tensor.shape) != list(weights[name].shape):
            raise InputError(
                f"{source}: {name}: expected {list(tensor.shape)}, "
                f"file has {list(weights[name].shape)}"
            )
    network.set_state_dict({name: weights[name].astype("float32") for name in own})


# What each optimizer keeps for every parameter, by the suffix of its name; muon for what is none
# of its matrices.
_ADAM = ("_moment1_0", "_moment2_0", "_beta1_pow_acc_0", "_beta2_pow_acc_0")
_OPTIMIZER_STATE = {"adam": _ADAM, "adamw": _ADAM, "momentum": ("_velocity_0",), "muon": _ADAM}


def take_optimizer_state(
    optimizer: str, network: paddle.nn.Layer, pdparams: Path
) -> dict[str, Any]:
    """The optimizer state that was saved beside `pdparams`, for an optimizer of `network`; that
    of frozen layers is left out.

    The names in the file belong to the network that saved it; the `.pdparams` file says which
    parameter each meant. Raises `InputError` when there is none or it is another optimizer's.
    """
    pdopt = pdparams.with_suffix(".pdopt")
    if optimizer not in _OPTIMIZER_STATE:
        raise InputError(f"--with-optimizer: {optimizer} has no state to take along")
    if not pdopt.is_file():
        raise InputError(f"{pdopt}: missing; without --with-optimizer the weights alone are taken")
    saved_names = load_pickle(pdparams).get("StructuredToParameterName@@")
    if not isinstance(saved_names, dict):
        saved_names = {}
    keys = {tensor.name: name for name, tensor in network.state_dict().items()}
    saved = load_optimizer_state(pdopt)
    matrices = muon.choose_matrices(network.parameters()) if optimizer == "muon" else []
    names_of_matrices = {matrix.name for matrix in matrices}
    state = {}
    for parameter in network.parameters():
        if parameter.stop_gradient:  # frozen, or running statistics of a batch norm
            continue
        is_matrix = parameter.name in names_of_matrices
        saved_name = saved_names.get(keys[parameter.name], parameter.name)
        for suffix in (muon.STATE,) if is_matrix else _OPTIMIZER_STATE[optimizer]:
            kept = saved.get(f"{saved_name}{suffix}")
            shape = [1] if suffix.endswith("_pow_acc_0") else list(parameter.shape)
            if not (
                isinstance(kept, paddle.Tensor)
                and kept.dtype == paddle.float32
                and list(kept.shape) == shape
            ):
                raise InputError(f"{pdopt}: not the state of {optimizer} for this network")
            state[parameter.name + suffix] = kept
    return state
