"""What a training starts from: the checkpoint of its own run, or the weights of another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paddle

from lenet_paddle import runtime
from lenet_paddle.config import FinetuneConfig, TrainConfig
from lenet_paddle.data.datasets import find_dataset
from lenet_paddle.errors import InputError, quote
from lenet_paddle.files import remove_leftovers
from lenet_paddle.run_folder import Run, find_weights
from lenet_paddle.settings import Default
from lenet_paddle.training.callbacks import is_finished
from lenet_paddle.training.checkpoint import (
    RAW,
    TrainState,
    point_links,
    read_state,
    restore_copies,
)
from lenet_paddle.training.optimizers import ENDING
from lenet_paddle.training.weights import (
    load_optimizer_state,
    load_weights,
    match_optimizer_state,
    set_weights,
)


def resumed_config(config: TrainConfig) -> TrainConfig:
    """Return the settings of the run `config.resume`, with epochs, device, data_dir of `config`.

    `resume` becomes the run's folder where it was one of its checkpoints. Raises `InputError` for a
    folder that is not a run, and for a checkpoint that is not its newest.
    """
    run = Run.open(str(config.resume))
    _check_is_newest(run, Path(str(config.resume)))
    changed: dict[str, Any] = {"resume": str(run), "data_dir": config.data_dir}
    if not isinstance(config.epochs, Default):
        changed["epochs"] = config.epochs
    if config.device != "auto":
        changed["device"] = config.device
    changed = {key: value for key, value in changed.items() if value is not None}
    return dataclasses.replace(run.config, **changed)


def _check_is_newest(run: Run, path: Path) -> None:
    """Raise `InputError` if `path` is a checkpoint from which `run` does not go on."""
    inside = path.absolute().is_relative_to((run.checkpoints / run.named).absolute())
    newest = run.newest_checkpoint() if inside and run.named != "latest" else None
    if newest and newest[0].name != run.find_checkpoint().name:
        raise InputError(
            f"{path}: a run goes on from its newest checkpoint, {newest[0].name}; give "
            f"{quote('--resume', run)} for that, or start a new run from this checkpoint with "
            + quote("--init-from", run.checkpoints / run.named)
        )


def known_classes(config: TrainConfig) -> tuple[str, ...] | None:
    """Return the classes of the run that `config` resumes or starts from, None if unknown.

    A folder's classes keep that order, so that the outputs keep their meaning; for other data
    sets it is fixed, and the result None. Raises `InputError` if there are no weights.
    """
    if "classes" not in find_dataset(config.dataset).options:
        return None
    if config.resume is not None and (saved := Run(config.resume).saved_classes()):
        return saved
    if config.init_from is None:
        return None
    return saved_classes(Path(str(resolve_source(config).init_from)))


def saved_classes(pdparams: Path) -> tuple[str, ...] | None:
    """Return the classes of the checkpoint of a weights file, None if it is not of one."""
    is_ours = (pdparams.parent / "state.json").exists()
    return tuple(read_state(pdparams.parent).classes) if is_ours else None


def restore(
    run: Run, network: paddle.nn.Layer
) -> tuple[TrainState, dict[str, Any] | None, dict[str, np.ndarray] | None]:
    """Load the newest intact checkpoint of `run` into `network`, repairing its links.

    Returns the state, the optimizer's state, and the moving average of the weights if there is
    one (`network` then gets the trained weights). Without a checkpoint the run starts at epoch 1.
    """
    is_writer = runtime.get_rank() == 0
    if is_writer:
        remove_leftovers(run.path)
        restore_copies(run.checkpoints)
    path, state = run.newest_checkpoint() or (None, TrainState())
    if runtime.sum_over_ranks([state.epoch]) != [state.epoch * runtime.count_ranks()]:
        raise InputError(f"{run}: the processes see different checkpoints; share the folder")
    if path is None:
        return state, None, None
    if is_writer:
        point_links(run.checkpoints, state)
    average, weights = None, load_weights(path / "model.pdparams")
    if (path / RAW).exists():
        average, weights = weights, load_weights(path / RAW)
    set_weights(network, weights, str(path))
    pdopt = path / "model.pdopt"
    return state, load_optimizer_state(pdopt) if pdopt.exists() else None, average


def change_epochs(run: Run, config: TrainConfig, state: TrainState) -> str:
    """Give `run` the epochs of `config`; return a line for the log, empty where nothing changes.

    Raises `InputError` for fewer than are finished, and where early stopping has ended the run.
    """
    before = run.config.epochs
    if config.epochs == before:
        return ""
    if config.epochs < state.epoch:
        raise InputError(
            f"{run} has finished {state.epoch} epochs; --epochs {config.epochs} would take some "
            f"back; expected {state.epoch} or more"
        )
    if state.epoch < config.epochs and is_finished(config, state):
        raise InputError(
            f"{run} stopped early, after {config.patience} epochs without a better "
            f"{config.monitor}, and does not go on; start a new run from it with "
            + quote("--init-from", run)
        )
    if runtime.get_rank() == 0:
        run.set_epochs(config.epochs)
    note = f"{config.epochs} epochs instead of {before}"
    if config.schedule in ENDING and state.epoch:
        note += (
            f"; schedule {config.schedule} ends with the epochs: from epoch {state.epoch + 1} on "
            f"the learning rate is that of {config.epochs} epochs, and the result is not that of "
            f"{config.epochs} epochs in one go"
        )
    return note


Config = TypeVar("Config", TrainConfig, FinetuneConfig)


def resolve_source(config: Config) -> Config:
    """Replace `init_from` by the file it means; `{seed}` in it stands for the run's seed.

    Raises `InputError` if there are no weights.
    """
    source = str(config.init_from)
    if not Path(source).exists():
        source = source.replace("{seed}", str(config.seed))
    return dataclasses.replace(config, init_from=str(find_weights(source)))


def source_config(pdparams: Path) -> TrainConfig | None:
    """Return the settings of the run that has this weights file, None if it is not of one."""
    run = Run(pdparams.parent.parent.parent)
    is_of_run = pdparams.parent.parent == run.checkpoints and run.config_file.is_file()
    return Run.open(run.path).config if is_of_run else None


def initialise(config: TrainConfig, network: paddle.nn.Layer) -> dict[str, Any] | None:
    """Load the weights of `config.init_from`; return the optimizer's state if it is wanted."""
    pdparams = Path(str(config.init_from))  # resolved before
    try:
        set_weights(network, load_weights(pdparams), str(pdparams))
    except InputError:
        source = source_config(pdparams)
        if source is None or source.form == config.form:
            raise
        raise InputError(
            f"{pdparams}: weights for pictures of {source.form}; those of {config.dataset} are "
            f"read as {config.form}: use --channels {source.form.channels} --image-size "
            f"{source.form.size}, or another data set"
        ) from None
    if not config.with_optimizer:
        return None
    return match_optimizer_state(config.optimizer, network, pdparams)
