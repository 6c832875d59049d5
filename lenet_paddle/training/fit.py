"""Train a network through `paddle.Model.fit`, with this package's callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.callbacks import Callback

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader, limit_batch
from lenet_paddle.data.nondigits import choose_outliers
from lenet_paddle.data.transforms import choose_augmentation
from lenet_paddle.errors import InputError, tool_line
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.models import input_size
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.training import callbacks as cb
from lenet_paddle.training import ranks
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.hapi_patches import patched
from lenet_paddle.training.optimizers import build_optimizer
from lenet_paddle.training.recorder import LogitsAccuracy, ProgressBar, Recorder
from lenet_paddle.training.signals import StopOnSignal
from lenet_paddle.training.visualdl import VisualDLLogger, opened_log

EVAL_BATCH_SIZE = 256


def fit(
    config: TrainConfig,
    network: nn.Layer,
    train_set: ImageSet,
    eval_set: ImageSet,
    run_dir: Path,
    *,
    state: TrainState | None = None,
    optimizer_state: dict[str, Any] | None = None,
    average: dict[str, np.ndarray] | None = None,
    stop: StopOnSignal | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainState:
    """Train `network` for the remaining epochs of `config`; return the final state.

    Each epoch is evaluated on `eval_set` (the validation images, or the test images with
    `val_size` 0) and saved under `run_dir`; the network ends with the weights evaluated last.
    `state`, `optimizer_state` and the moving `average` of the weights continue a run. `stop`, if
    given, is already entered. `callbacks` see each epoch before it is saved (`callbacks.Callback`).
    Raises `InputError` for other classes than before, `RunStopped` on NaN, Ctrl-C and SIGTERM.
    """
    state = state or TrainState()
    _check_classes(state, train_set, run_dir)
    frozen = freeze_layers(network, config.freeze)
    if cb.is_finished(config, state):
        return state
    loader, eval_loader = _build_loaders(config, train_set, eval_set)
    recorder = Recorder(config, state, LogitsAccuracy(network, eval_loader), loader)
    model = _prepare(config, network, recorder, optimizer_state)
    averager = None
    if config.ema:
        averager = AverageWeights(config, network, state, eval_set, loader, average, frozen)
    _run(model, recorder, averager, frozen, run_dir, stop, callbacks)
    return state


def _check_classes(state: TrainState, train_set: ImageSet, run_dir: Path) -> None:
    """Raise `InputError` unless the data has the run's classes; note them in a new run's state."""
    if state.classes and state.classes != list(train_set.classes):
        raise InputError(
            f"{run_dir} was trained on the classes {', '.join(state.classes)}; "
            f"the data has {', '.join(train_set.classes)}"
        )
    state.classes = list(train_set.classes)


def _build_loaders(
    config: TrainConfig, train_set: ImageSet, eval_set: ImageSet
) -> tuple[BatchLoader, BatchLoader]:
    share: dict[str, Any] = {
        "input_size": input_size(config.model, train_set.form.size),
        "rank": runtime.get_rank(),
        "num_ranks": runtime.count_ranks(),
    }
    loader = BatchLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        augment=choose_augmentation(config, train_set.form.channels),
        outliers=choose_outliers(config.outliers, train_set),
        **share,
    )
    eval_batch_size = limit_batch(EVAL_BATCH_SIZE, eval_set.images, share["input_size"])
    eval_loader = BatchLoader(eval_set, eval_batch_size, even=True, **share)
    return loader, eval_loader


def _build_loss(config: TrainConfig, train_set: ImageSet) -> nn.Layer:
    loss: nn.Layer = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    if config.class_weights == "balanced":
        loss = cb.BalancedLoss(train_set.labels, train_set.num_classes, config.label_smoothing)
    return cb.OutlierLoss(loss) if config.outliers else loss


def _prepare(
    config: TrainConfig,
    network: nn.Layer,
    recorder: Recorder,
    optimizer_state: dict[str, Any] | None,
) -> paddle.Model:
    """Build a `paddle.Model` ready to train, its optimizer restored if there is a state."""
    optimizer: Any = build_optimizer(config, network.parameters())
    if optimizer_state is not None:
        optimizer.set_state_dict(optimizer_state)
    loss = cb.WeightedLoss(_build_loss(config, recorder.loader.image_set))
    label_spec = paddle.static.InputSpec([None, 1], "int64", "label")
    loader = recorder.loader
    spec = image_spec(loader.input_size, loader.image_set.form.channels)
    model = paddle.Model(network, inputs=[spec], labels=[label_spec])
    amp = None if config.amp == "O0" else config.amp
    model.prepare(optimizer, loss, recorder.metric, amp_configs=amp)
    return model


def _run(
    model: paddle.Model,
    recorder: Recorder,
    averager: AverageWeights | None,
    frozen: Collection[str],
    run_dir: Path,
    stop: StopOnSignal | None,
    callbacks: Sequence[Callback],
) -> None:
    config, state, is_writer = recorder.config, recorder.state, recorder.loader.rank == 0
    hint = tool_line("train", "--resume", run_dir)
    with contextlib.ExitStack() as stack:
        stop = stop or stack.enter_context(StopOnSignal(state, hint))
        log = stack.enter_context(opened_log(run_dir / "vdl", state)) if is_writer else None
        every = build_callbacks(
            recorder, model._loss, averager, frozen, run_dir, log=log, stop=stop, own=callbacks
        )
        stack.enter_context(ranks.lost_rank_as_run_stopped(stop))
        stack.enter_context(fast_layers(model.network))
        hooks = [callback.on_gradients for callback in every if hasattr(callback, "on_gradients")]
        stack.enter_context(patched(model, hooks, sync=not ranks.averages_on_cpu()))
        model.fit(
            recorder.loader,
            recorder.metric.eval_loader,
            epochs=config.epochs - state.epoch,
            verbose=0,
            callbacks=every,
            accumulate_grad_batches=config.accumulate,
        )


def build_callbacks(
    recorder: Recorder,
    loss: cb.WeightedLoss,
    averager: AverageWeights | None,
    frozen: Collection[str],
    run_dir: Path,
    *,
    log: Any,
    stop: StopOnSignal,
    own: Sequence[Callback],
) -> list[Callback]:
    """Return all callbacks of a training in the order in which hapi calls them.

    `own`, the callbacks given to `fit`, run after the recorder and before those that write files;
    `log` is None on ranks that write none.
    """
    config, state, loader = recorder.config, recorder.state, recorder.loader
    for callback in own:
        if isinstance(callback, cb.Callback):
            callback.recorder, callback.log = recorder, log
    every: list[Callback] = [cb.LearningRate(config, state, loader)]
    if config.accumulate > 1 or loader.num_ranks > 1:
        every.append(cb.AverageGradients(loss, loader, config.accumulate))
    if ranks.averages_on_cpu():
        every.append(ranks.AverageOverRanks())
    if loader.num_ranks > 1:
        every.append(ranks.ShareStatistics(averager, frozen))
    every += [recorder, *([averager] if averager else []), *own]
    if log is not None:
        every += [
            ProgressBar(recorder),
            VisualDLLogger(recorder, log),
            cb.HistoryFile(run_dir / "history.csv", state),
            cb.Checkpoints(run_dir / "checkpoints", config, state, averager),
        ]
    return [*every, cb.EarlyStopping(config, state), stop]
