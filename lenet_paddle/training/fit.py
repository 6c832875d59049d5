"""One training through `paddle.Model.fit`, with our callbacks."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from lenet_paddle.config import InputError, TrainConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import SIZE
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.training import callbacks as cb
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.optimizers import build_optimizer
from lenet_paddle.training.visualdl import RichLogger, VisualDLLogger

EVAL_BATCH_SIZE = 256


def fit(
    config: TrainConfig,
    network: nn.Layer,
    train_set: ImageSet,
    eval_set: ImageSet,
    run_dir: Path,
    *,
    input_size: int = SIZE,
    state: TrainState | None = None,
    optimizer_state: dict[str, Any] | None = None,
    stop: cb.StopOnSignal | None = None,
) -> TrainState:
    """Train `network` for the epochs of `config` that `state` has not behind it.

    Each epoch is evaluated on `eval_set` (the validation images, or the test images with
    `val_size` 0) and saved under `run_dir`. `stop`, entered by the caller, watches for signals
    beyond the training; without it `fit` watches by itself. Returns the final state. Raises
    `RunStopped` on NaN, Ctrl-C and SIGTERM; what was saved stays whole.
    """
    state = state or TrainState()
    if state.classes and state.classes != list(train_set.classes):
        raise InputError(
            f"{run_dir} was trained on the classes {', '.join(state.classes)}; "
            f"the data has {', '.join(train_set.classes)}"
        )
    state.classes = list(train_set.classes)
    if cb.is_finished(config, state):
        return state
    loader = BatchLoader(
        train_set, config.batch_size, shuffle=True, seed=config.seed, input_size=input_size
    )
    eval_loader = BatchLoader(eval_set, EVAL_BATCH_SIZE, input_size=input_size)
    loss = cb.WeightedLoss(nn.CrossEntropyLoss(label_smoothing=config.label_smoothing))
    answers = cb.Answers(network)
    model = _prepare(config, network, loss, answers, input_size, optimizer_state)

    recorder = cb.Recorder(config, state, answers)
    vdl = VisualDLLogger(run_dir / "vdl", recorder, eval_set, config.log_every)
    if config.vdl == "rich":
        vdl = RichLogger(run_dir / "vdl", recorder, eval_set, train_set, network, input_size)
    watch = stop or cb.StopOnSignal(state, f"python tools/train.py --resume {run_dir}")
    callbacks = [
        cb.LearningRate(config, state, loader),
        *([cb.AverageGradients(loss, loader, config.accumulate)] if config.accumulate > 1 else []),
        recorder,
        cb.ProgressBar(config, recorder, loader),
        vdl,
        cb.HistoryFile(run_dir / "history.csv", state),
        cb.Checkpoints(run_dir / "checkpoints", config, state),
        cb.EarlyStopping(config, state),
        watch,
    ]
    try:
        with contextlib.nullcontext() if stop else watch, fast_layers(network):
            model.fit(
                loader,
                eval_loader,
                epochs=config.epochs - state.epoch,
                verbose=0,
                callbacks=callbacks,
                accumulate_grad_batches=config.accumulate,
            )
    finally:
        vdl.close()
    return state


def _prepare(
    config: TrainConfig,
    network: nn.Layer,
    loss: nn.Layer,
    answers: cb.Answers,
    input_size: int,
    optimizer_state: dict[str, Any] | None,
) -> paddle.Model:
    """A `paddle.Model` ready to train, its optimizer restored when there is a state."""
    optimizer = build_optimizer(config, network.parameters())
    if optimizer_state is not None:
        optimizer.set_state_dict(optimizer_state)
    label_spec = paddle.static.InputSpec([None, 1], "int64", "label")
    model = paddle.Model(network, inputs=[image_spec(input_size)], labels=[label_spec])
    model.prepare(
        optimizer,
        loss,
        answers,
        amp_configs=None if config.amp == "O0" else config.amp,
    )
    return model
