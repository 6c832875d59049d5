"""One training through `paddle.Model.fit`, with our callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.preprocess import SIZE
from lenet_paddle.data.transforms import choose_augmentation
from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.training import callbacks as cb
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.optimizers import AverageOverRanks, build_optimizer
from lenet_paddle.training.visualdl import RichLogger, VisualDLLogger

EVAL_BATCH_SIZE = 128  # larger ones fall out of the cache: 256 takes half as long again


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
    average: dict[str, np.ndarray] | None = None,
    stop: cb.StopOnSignal | None = None,
) -> TrainState:
    """Train `network` for the epochs of `config` that `state` has not behind it.

    Each epoch is evaluated on `eval_set` (the validation images, or the test images with
    `val_size` 0) and saved under `run_dir`. `average` is the moving average so far of a run that
    goes on with one; the network ends as what was evaluated last. `stop`, entered by the caller,
    watches for signals beyond the training; without it `fit` watches by itself. Returns the
    final state. Raises `RunStopped` on NaN, Ctrl-C and SIGTERM; what was saved stays whole.
    """
    state = state or TrainState()
    if state.classes and state.classes != list(train_set.classes):
        raise InputError(
            f"{run_dir} was trained on the classes {', '.join(state.classes)}; "
            f"the data has {', '.join(train_set.classes)}"
        )
    state.classes = list(train_set.classes)
    frozen = freeze_layers(network, config.freeze)
    if cb.is_finished(config, state):
        return state
    ranks: dict[str, Any] = {"rank": runtime.get_rank(), "num_ranks": runtime.count_ranks()}
    loader = BatchLoader(
        train_set,
        config.batch_size,
        shuffle=True,
        seed=config.seed,
        input_size=input_size,
        augment=choose_augmentation(config),
        **ranks,
    )
    eval_loader = BatchLoader(eval_set, EVAL_BATCH_SIZE, input_size=input_size, even=True, **ranks)
    loss = cb.WeightedLoss(nn.CrossEntropyLoss(label_smoothing=config.label_smoothing))
    answers = cb.Answers(network, eval_loader)
    model = _prepare(config, network, loss, answers, input_size, optimizer_state)

    recorder = cb.Recorder(config, state, answers, loader)
    vdl = VisualDLLogger(run_dir / "vdl", recorder, eval_set, config.log_every)
    if config.vdl == "rich" and loader.rank == 0:
        vdl = RichLogger(run_dir / "vdl", recorder, eval_set, train_set, network, input_size)
    watch = stop or cb.StopOnSignal(state, f"python tools/train.py --resume {run_dir}")
    has_parts = config.accumulate > 1 or loader.num_ranks > 1
    averager = None
    if config.ema:
        averager = AverageWeights(config, network, state, eval_set, loader, average, frozen)
    writers = [
        cb.ProgressBar(config, recorder, loader),
        vdl,
        cb.HistoryFile(run_dir / "history.csv", state),
        cb.Checkpoints(run_dir / "checkpoints", config, state, averager),
    ]
    callbacks = [
        cb.LearningRate(config, state, loader),
        *([cb.AverageGradients(loss, loader, config.accumulate)] if has_parts else []),
        *([cb.ShareStatistics(averager, frozen)] if loader.num_ranks > 1 else []),
        recorder,
        *([averager] if averager else []),
        *(writers if loader.rank == 0 else []),
        cb.EarlyStopping(config, state),
        watch,
    ]
    try:
        with (
            contextlib.nullcontext() if stop else watch,
            _lost_ranks(watch, state, run_dir),
            fast_layers(network),
            _cheap_calls(network),
            model._adapter.ddp_model.no_sync() if _averages_itself() else contextlib.nullcontext(),
        ):
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


@contextlib.contextmanager
def _lost_ranks(watch: cb.StopOnSignal, state: TrainState, run_dir: Path) -> Iterator[None]:
    """What comes of another process that has ended is one line, that says how to go on."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        is_own = isinstance(error, RunStopped) or getattr(error, "errno", None)  # a full disk, say
        if runtime.count_ranks() == 1 or is_own:
            raise
        reason = str(error).strip() or type(error).__name__
        watch.check(f"at epoch {state.epoch + 1}")
        raise RunStopped(
            "another process of the job has ended or does not answer "
            f"({reason.splitlines()[-1].strip()}); python tools/train.py --resume {run_dir} "
            f"goes on from epoch {state.epoch + 1}",
            status=1,
        ) from None


@contextlib.contextmanager
def _cheap_calls(network: nn.Layer) -> Iterator[None]:
    """Two calls that hapi makes at every step, and in which Paddle walks over all layers.

    `train` does nothing where the network is in training mode already; `clear_gradients` goes
    through a list made once, and drops the gradients instead of filling them with zeros, to
    which `backward` would add.
    """
    parameters = [p for p in network.parameters() if not p.stop_gradient]

    def train() -> None:
        if not network.training:
            type(network).train(network)

    def clear_gradients(set_to_zero: bool = True) -> None:
        for parameter in parameters:
            parameter.clear_gradient(False)

    network.__dict__.update(train=train, clear_gradients=clear_gradients)
    try:
        yield
    finally:
        del network.__dict__["train"], network.__dict__["clear_gradients"]


def _averages_itself() -> bool:
    """Whether ranks' gradients are averaged by `AverageOverRanks`, not by Paddle (on GPUs)."""
    return runtime.count_ranks() > 1 and paddle.get_device() == "cpu"


def _prepare(
    config: TrainConfig,
    network: nn.Layer,
    loss: nn.Layer,
    answers: cb.Answers,
    input_size: int,
    optimizer_state: dict[str, Any] | None,
) -> paddle.Model:
    """A `paddle.Model` ready to train, its optimizer restored when there is a state."""
    optimizer: Any = build_optimizer(config, network.parameters())
    if optimizer_state is not None:
        optimizer.set_state_dict(optimizer_state)
    if _averages_itself():
        optimizer = AverageOverRanks(optimizer, network.parameters())
    label_spec = paddle.static.InputSpec([None, 1], "int64", "label")
    model = paddle.Model(network, inputs=[image_spec(input_size)], labels=[label_spec])
    model.prepare(
        optimizer,
        loss,
        answers,
        amp_configs=None if config.amp == "O0" else config.amp,
    )
    return model
