"""Train a run, then evaluate and export its best checkpoint."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import paddle

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data
from lenet_paddle.data.nondigits import choose_outliers
from lenet_paddle.data.transforms import choose_augmentation
from lenet_paddle.errors import InputError, Say, tool_line
from lenet_paddle.evaluation.calibration import Calibration, fit_calibration
from lenet_paddle.evaluation.evaluate import predict_logits
from lenet_paddle.evaluation.metrics import format_binary, format_calibrated
from lenet_paddle.export.export import export_inference
from lenet_paddle.export.predictor import read_description
from lenet_paddle.figures.results.curves import plot_history
from lenet_paddle.figures.style import save_figure
from lenet_paddle.figures.visualdl import build_loggers
from lenet_paddle.models import build_model
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.models.parameters import count_parameters
from lenet_paddle.progress import log_to
from lenet_paddle.run_folder import Run
from lenet_paddle.training.checkpoint import TrainState, read_state
from lenet_paddle.training.fit import fit
from lenet_paddle.training.optimizers import check_penalties
from lenet_paddle.training.signals import AFTER_TRAINING, StopOnSignal
from lenet_paddle.training.visualdl import log_result
from lenet_paddle.training.weights import (
    load_weights,
    set_weights,
)
from lenet_paddle.workflows.evaluate import write_report
from lenet_paddle.workflows.export import export_info
from lenet_paddle.workflows.start import (
    change_epochs,
    initialise,
    known_classes,
    resolve_source,
    restore,
    resumed_config,
)

_log = logging.getLogger(__name__)


def train_and_evaluate(
    config: TrainConfig,
    resume_hint: str | None = None,
    classes: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Train as `config` says; return the test metrics (`metrics.summarise`) with `run_dir`.

    Everything is written under `output_dir/<run>/` (`run_folder`). `resume_hint` is the command
    that resumes the run if it is part of a larger job, `classes` the order of a folder's classes
    if they are these (default: of the run that it starts from). Started by `python -m
    paddle.distributed.launch` the processes share each batch; rank 0 alone writes, the others
    return only `run_dir`. Raises `InputError` before anything is written, `RunStopped` when the
    training ends early.
    """
    if config.seeds is not None:
        raise InputError("seeds means several runs; call lenet_paddle.workflows.seeds.run_seeds")
    if config.resume is not None:
        config = resumed_config(config)
    runtime.select_device(config.device, config.amp)
    runtime.join_ranks(config.batch_size)
    is_writer = runtime.get_rank() == 0
    oddities: list[str] = []  # of the data; logged once there is a log file
    classes = known_classes(config) or classes
    train_set, eval_set, test_set = _load_splits(config, classes, oddities.append)
    config = config.with_form(train_set.form)
    choose_augmentation(config, config.form.channels)  # refuse it before a run is made
    choose_outliers(config.outliers, train_set)
    # Paddle keys an optimizer's state by generated names; the guard counts them from 0.
    with contextlib.ExitStack() as stack:
        stack.enter_context(paddle.utils.unique_name.guard())
        runtime.seed_everything(config.seed)
        network = build_model(config.model, train_set.num_classes, *config.form)
        freeze_layers(network, config.freeze)
        check_penalties(config, network.parameters())  # before a run is made or overwritten
        state, optimizer_state, average, note = TrainState(), None, None, ""
        if config.resume is not None:
            run = Run(config.resume)
            stack.enter_context(run.lock() if is_writer else contextlib.nullcontext())
            state, optimizer_state, average = restore(run, network)
            note = change_epochs(run, config, state)
        if config.init_from is not None and state.epoch == 0:
            config = resolve_source(config)
            optimizer_state = initialise(config, network)
        if config.resume is None:
            run = _create_on_rank_0(config, stack)
        hint = resume_hint or tool_line("train", "--resume", run)
        stop = stack.enter_context(StopOnSignal(state, hint))
        loggers = []
        if is_writer:
            stack.enter_context(log_to(run.log_file))
            loggers = build_loggers(config, network, train_set, eval_set, config.input_size)
        for oddity in oddities:
            _log.warning(oddity)
        _log_start(config, network, state, (train_set, eval_set, test_set), run)
        if note:
            _log.info(note)
        fit(
            config,
            network,
            train_set,
            eval_set,
            run.path,
            state=state,
            optimizer_state=optimizer_state,
            average=average,
            stop=stop,
            callbacks=loggers,
        )
        if not is_writer:
            return {"run_dir": str(run)}
        val_set = eval_set if config.val_size else None
        return finish(config, network, state, val_set, test_set, run, stop)


def _load_splits(
    config: TrainConfig, classes: tuple[str, ...] | None, say: Say
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Load the images to train, to evaluate each epoch, and to test."""
    splits = ("train", "val", "test") if config.val_size else ("train", "test")
    train_set, *eval_set, test_set = load_data(config, *splits, classes=classes, say=say)
    if config.resume is not None and classes not in (None, train_set.classes):
        raise InputError(
            f"{config.data_dir}: has the classes {', '.join(train_set.classes)}; "
            f"{config.resume} was trained on {', '.join(classes or ())}"
        )
    # Without validation images there are curves only: the last epoch is the result.
    return train_set, (eval_set or [test_set])[0], test_set


def _create_on_rank_0(config: TrainConfig, stack: contextlib.ExitStack) -> Run:
    """Create and lock the run on rank 0; return it on all ranks."""
    path = None
    if runtime.get_rank() == 0:
        run = Run.create(config)
        stack.enter_context(run.lock())
        path = str(run)
    return Run(runtime.broadcast_text(path))


def _log_start(
    config: TrainConfig,
    network: paddle.nn.Layer,
    state: TrainState,
    splits: tuple[ImageSet, ImageSet, ImageSet],
    run: Run,
) -> None:
    num_train, num_val, num_test = (f"{len(image_set):,}" for image_set in splits)
    trained, frozen = count_parameters(network)
    counts = f"{trained + frozen:,} parameters"
    if frozen:
        counts += f", {trained:,} of them trainable and {frozen:,} non-trainable"
    data = config.dataset if config.corruption is None else f"{config.dataset} {config.corruption}"
    _log.info(
        f"{config.model} ({counts}) on {data}: {num_train} train, "
        f"{num_val if config.val_size else 0} val, {num_test} test images; run {run}"
    )
    if config.resume is not None:
        _log.info(f"resumed after epoch {state.epoch} of {config.epochs}")
    if config.init_from is not None and state.epoch == 0:
        moments = " and its optimizer's state" if config.with_optimizer else ""
        _log.info(f"started from the weights of {config.init_from}{moments}")


def finish(
    config: TrainConfig,
    network: paddle.nn.Layer,
    state: TrainState,
    val_set: ImageSet | None,
    test_set: ImageSet,
    run: Run,
    stop: StopOnSignal,
) -> dict[str, Any]:
    """Calibrate the best epoch's weights, evaluate them on the test set, draw figures, export."""
    stop.check(AFTER_TRAINING)
    best = run.find_checkpoint("best")
    read_state(best)  # verifies its checksums
    set_weights(network, load_weights(best / "model.pdparams"), str(best))
    save_figure(plot_history(state.history, run.name), run.figures / "curves.png")
    calibration = _calibrate(config, network, val_set)
    run.write_calibration(best.resolve().name, calibration)
    result = write_report(config, network, test_set, run, best)
    if config.vdl == "rich" and config.val_size:
        log_result(run.vdl, state, result)
    _log.info(
        "test loss %.4f accuracy %.4f (%s images; epoch %d, chosen by %s)",
        result["loss"],
        result["accuracy"],
        f"{result['num_images']:,}",
        state.best_epoch,
        config.monitor if config.val_size else "being the last one",
    )
    if "calibrated" in result:
        _log.info(format_calibrated(result["calibrated"]))
    if "binary" in result:
        _log.info(format_binary(result["binary"]))
    stop.check(AFTER_TRAINING)
    info = export_info(config, run, result)
    if not _is_exported(run, info, calibration):
        lost = _other_formats(run)
        size = config.input_size
        export_inference(network, run.inference, test_set, size, info, calibration)
        if lost:
            line = tool_line("export", "--run", run, "--formats", ",".join(["paddle", *lost]))
            _log.info("removed the exports of the old checkpoint; %s makes them again", line)
    stop.check(AFTER_TRAINING)  # before the next stage or seed begins
    return {**result, "run_dir": str(run)}


def _calibrate(
    config: TrainConfig, network: paddle.nn.Layer, val_set: ImageSet | None
) -> Calibration | None:
    """Choose temperature and threshold on the validation images; say what was decided."""
    if val_set is None:
        _log.info("not calibrated: val_size 0 leaves no images that the training has not seen")
        return None
    logits = predict_logits(network, val_set, config.input_size)
    calibration = fit_calibration(logits, val_set.labels, config.picture_mode)
    if calibration is None:
        _log.info("not calibrated: the network's answers are too large, or not finite")
    else:
        least = calibration.threshold
        unclear = "" if least is None else f", unclear below a largest logit of {least:.4f}"
        _log.info(
            f"calibrated on {len(val_set):,} validation images: "
            f"temperature {calibration.temperature:.4f}{unclear}"
        )
    return calibration


def _is_exported(run: Run, info: dict[str, Any], calibration: Calibration | None) -> bool:
    """Return whether that checkpoint is exported; resuming a finished run keeps its formats."""
    try:
        description = read_description(run.inference / "inference.yml")
    except InputError:
        return False
    keys = ("run", "checkpoint", "test_accuracy")
    is_same = all(description.get(key) == info[key] for key in keys)
    return is_same and description["calibration"] == calibration


def _other_formats(run: Run) -> list[str]:
    """Return the formats beside Paddle's of an export that is to be replaced."""
    try:
        formats = read_description(run.inference / "inference.yml").get("formats")
    except InputError:
        return []
    return [name for name in formats if name != "paddle"] if isinstance(formats, dict) else []
