"""A whole run, and the only place that knows all rooms: train, evaluate, draw, export."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paddle
import yaml

from lenet_paddle import runtime
from lenet_paddle.config import FinetuneConfig, TrainConfig
from lenet_paddle.data.datasets import DatasetName
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data, load_test_set
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import evaluate, predict_logits
from lenet_paddle.evaluation.metrics import compute_probs, summarise
from lenet_paddle.export.card import describe_model
from lenet_paddle.export.export import WRITTEN, export_formats, export_inference
from lenet_paddle.export.predictor import load_run, read_config, read_description
from lenet_paddle.figures.style import plot_confusion, plot_history, plot_mistakes, save_figure
from lenet_paddle.files import (
    current_umask,
    locked,
    make_folder,
    remove_leftovers,
    rename_new,
    write_json,
    write_text,
)
from lenet_paddle.models import VISION_PREFIX, build_model, input_size
from lenet_paddle.models.freeze import freeze_layers
from lenet_paddle.models.parameters import count_parameters
from lenet_paddle.runtime import Device
from lenet_paddle.training.callbacks import AFTER_TRAINING, StopOnSignal
from lenet_paddle.training.checkpoint import (
    RAW,
    TrainState,
    find_checkpoint,
    find_weights,
    load_optimizer_state,
    load_weights,
    newest_checkpoint,
    point_links,
    read_state,
    set_weights,
    take_optimizer_state,
)
from lenet_paddle.training.fit import fit
from lenet_paddle.training.optimizers import check_penalties
from lenet_paddle.training.visualdl import log_result

Config = TypeVar("Config", TrainConfig, FinetuneConfig)
_log = logging.getLogger(__name__)


def train_and_evaluate(config: TrainConfig, resume_hint: str | None = None) -> dict[str, Any]:
    """Train as `config` says and return the test set's figures (`metrics.summarise`) with
    `run_dir`. `resume_hint` is the command that goes on with it when it is no run of its own.

    Everything is written under `output_dir/<run>/`, see the README. Started by `python -m
    paddle.distributed.launch` the processes share each batch; only rank 0 writes, and the others
    return `run_dir` alone. Raises `InputError` before anything is written, `RunStopped` when the
    training ends early.
    """
    if config.seeds is not None:
        raise InputError(
            "seeds are several runs; lenet_paddle.workflows.seeds.run_seeds makes them"
        )
    if config.resume is not None:
        config = resumed_config(config)
    runtime.select_device(config.device, config.amp)
    runtime.join_ranks(config.batch_size)
    is_writer = runtime.get_rank() == 0
    if config.val_size:
        train_set, eval_set, test_set = load_data(config, "train", "val", "test")
    else:
        train_set, test_set = load_data(config, "train", "test")
        eval_set = test_set  # for the curves only
    # Paddle keys an optimizer's state by generated names; the guard counts them from 0.
    with contextlib.ExitStack() as stack:
        stack.enter_context(paddle.utils.unique_name.guard())
        runtime.seed_everything(config.seed)
        network = build_model(config.model, train_set.num_classes)
        freeze_layers(network, config.freeze)
        check_penalties(config, network.parameters())  # before a run is made or overwritten
        state, optimizer_state, average = TrainState(), None, None
        if config.resume is not None:
            run_dir = Path(config.resume)
            stack.enter_context(locked(run_dir) if is_writer else contextlib.nullcontext())
            state, optimizer_state, average = restore(run_dir, network)
        if config.init_from is not None and state.epoch == 0:
            config = resolve_source(config)
            optimizer_state = initialise(config, network)
        if config.resume is None and is_writer:
            run_dir = create_run_dir(config)
            stack.enter_context(locked(run_dir))
        if config.resume is None:
            run_dir = Path(runtime.tell_ranks(str(run_dir) if is_writer else None))
        stop = StopOnSignal(state, resume_hint or f"python tools/train.py --resume {run_dir}")
        stack.enter_context(stop)
        if is_writer:
            stack.enter_context(log_file(run_dir / "train.log"))
        _announce(config, network, state, (train_set, eval_set, test_set), run_dir)
        fit(
            config,
            network,
            train_set,
            eval_set,
            run_dir,
            input_size=input_size(config.model),
            state=state,
            optimizer_state=optimizer_state,
            average=average,
            stop=stop,
        )
        if not is_writer:
            return {"run_dir": str(run_dir)}
        return finish(config, network, state, test_set, run_dir, stop)


def _announce(
    config: TrainConfig,
    network: paddle.nn.Layer,
    state: TrainState,
    splits: tuple[ImageSet, ImageSet, ImageSet],
    run_dir: Path,
) -> None:
    num_train, num_val, num_test = (f"{len(image_set):,}" for image_set in splits)
    trained, frozen = count_parameters(network)
    counts = f"{trained + frozen:,} parameters"
    if frozen:
        counts += f", {trained:,} of them trainable and {frozen:,} non-trainable"
    data = config.dataset if config.corruption is None else f"{config.dataset} {config.corruption}"
    _log.info(
        f"{config.model} ({counts}) on {data}: {num_train} train, "
        f"{num_val if config.val_size else 0} val, {num_test} test images; run {run_dir}"
    )
    if config.resume is not None:
        _log.info(f"resumed after epoch {state.epoch} of {config.epochs}")
    if config.init_from is not None and state.epoch == 0:
        moments = " and its optimizer's state" if config.with_optimizer else ""
        _log.info(f"started from the weights of {config.init_from}{moments}")


def resumed_config(config: TrainConfig) -> TrainConfig:
    """The settings of the run `config.resume`; only device and data_dir may be given anew.

    Raises `InputError` for a folder that is no run.
    """
    saved = read_config(Path(str(config.resume)))
    anew: dict[str, Any] = {"resume": config.resume, "data_dir": config.data_dir}
    if config.device != "auto":
        anew["device"] = config.device
    return dataclasses.replace(saved, **{k: v for k, v in anew.items() if v is not None})


def restore(
    run_dir: Path, network: paddle.nn.Layer
) -> tuple[TrainState, dict[str, Any] | None, dict[str, np.ndarray] | None]:
    """Put the newest whole checkpoint of a run into `network`; its state, the optimizer's, and
    the moving average of the weights where there is one (the network then gets the raw ones).

    A damaged checkpoint is named and the one before it taken. Without any the run starts anew.
    Links and left-overs of a write that was broken off are mended.
    """
    folder = run_dir / "checkpoints"
    is_writer = runtime.get_rank() == 0
    if is_writer:
        remove_leftovers(run_dir)
    path, state = newest_checkpoint(folder) or (None, TrainState())
    if runtime.sum_over_ranks([state.epoch]) != [state.epoch * runtime.count_ranks()]:
        raise InputError(f"{run_dir}: the processes see other checkpoints in it; share the folder")
    if path is None:
        return state, None, None
    if is_writer:
        point_links(folder, state)
    average, weights = None, load_weights(path / "model.pdparams")
    if (path / RAW).exists():
        average, weights = weights, load_weights(path / RAW)
    set_weights(network, weights, str(path))
    pdopt = path / "model.pdopt"
    return state, load_optimizer_state(pdopt) if pdopt.exists() else None, average


def resolve_source(config: Config) -> Config:
    """Replace `init_from` by the file it means; `{seed}` in it stands for the run's seed.

    Raises `InputError` if there are no weights.
    """
    source = str(config.init_from)
    if not Path(source).exists():
        source = source.replace("{seed}", str(config.seed))
    return dataclasses.replace(config, init_from=str(find_weights(source)))


def initialise(config: TrainConfig, network: paddle.nn.Layer) -> dict[str, Any] | None:
    """Put the weights of `config.init_from` into `network`; the optimizer's state if wanted."""
    pdparams = Path(str(config.init_from))  # found and resolved before
    set_weights(network, load_weights(pdparams), str(pdparams))
    if not config.with_optimizer:
        return None
    return take_optimizer_state(config.optimizer, network, pdparams)


def create_run_dir(config: TrainConfig) -> Path:
    """Make the run's folder with its config and versions; a free name is found without one.

    The folder appears by one rename, so there is none without a config, and of two runs that
    want one name only one gets it.
    """
    with new_folder(Path(config.output_dir)) as temporary:
        write_text(temporary / "config.yaml", dump_config(config))
        write_json(temporary / "versions.json", runtime.versions())
        return _publish(temporary, config)


@contextlib.contextmanager
def new_folder(root: Path) -> Iterator[Path]:
    """A folder in `root` to fill and then to rename; if it is not renamed it goes again."""
    try:
        make_folder(root)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-run-", dir=root))
    except OSError as error:
        raise InputError(
            f"{root}: cannot be written ({error.strerror}); choose another --output-dir"
        ) from None
    try:
        temporary.chmod(0o777 & ~current_umask())
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, config: TrainConfig) -> Path:
    root = temporary.parent
    if config.name is not None:
        run_dir = root / config.name
        if config.overwrite:
            _remove_run(run_dir, config.init_from)
        if rename_new(temporary, run_dir):
            return run_dir
        raise InputError(
            f"{run_dir} exists; choose another --name, --overwrite it, or --resume {run_dir}"
        )
    for number in range(1, 10_000):
        model = config.model.removeprefix(VISION_PREFIX)  # no colon in the name of a folder
        run_dir = root / f"{model}-{config.dataset}-{number:03d}"
        if rename_new(temporary, run_dir):
            return run_dir
    raise InputError(f"{root}: has 9,999 runs of that name; give another with --name")


def _remove_run(run_dir: Path, init_from: str | None) -> None:
    """Remove the run that is to be overwritten, unless that would destroy something else."""
    if not os.path.lexists(run_dir):
        return
    if run_dir.is_symlink() or not (run_dir / "config.yaml").is_file():
        raise InputError(f"{run_dir} is no run's own folder with a config.yaml; remove it yourself")
    if init_from is not None and Path(init_from).resolve().is_relative_to(run_dir.resolve()):
        raise InputError(f"--overwrite would delete {init_from}, which --init-from needs")
    with locked(run_dir):
        shutil.rmtree(run_dir)


def dump_config(config: TrainConfig | FinetuneConfig) -> str:
    """`config.yaml`: what `--config` and `--resume` read back."""
    settings = {**config.to_dict(), "preprocess": config.picture_mode}
    for key in ("data_dir", "init_from"):  # the run may be resumed from elsewhere
        if settings[key] is not None:
            settings[key] = str(Path(settings[key]).resolve())
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def finish(
    config: TrainConfig,
    network: paddle.nn.Layer,
    state: TrainState,
    test_set: ImageSet,
    run_dir: Path,
    stop: StopOnSignal,
) -> dict[str, Any]:
    """Take the best epoch's weights, evaluate them on the test set, draw, export."""
    stop.check(AFTER_TRAINING)
    best = run_dir / "checkpoints" / "best"
    read_state(best)  # whole, by its checksums
    set_weights(network, load_weights(best / "model.pdparams"), str(best))
    save_figure(
        plot_history(state.history, run_dir.resolve().name), run_dir / "figures" / "curves.png"
    )
    result = report(config, network, test_set, run_dir, best)
    if config.vdl == "rich" and config.val_size:
        log_result(run_dir / "vdl", state, result)
    _log.info(
        "test loss %.4f accuracy %.4f (%s images; epoch %d, chosen by %s)",
        result["loss"],
        result["accuracy"],
        f"{result['num_images']:,}",
        state.best_epoch,
        config.monitor if config.val_size else "being the last one",
    )
    stop.check(AFTER_TRAINING)
    info = _export_info(config, run_dir, result)
    if not _is_exported(run_dir / "inference", info):
        export_inference(network, run_dir / "inference", test_set, input_size(config.model), info)
    stop.check(AFTER_TRAINING)  # else a next stage or seed would begin
    return {**result, "run_dir": str(run_dir)}


def _is_exported(folder: Path, info: dict[str, Any]) -> bool:
    """Whether `folder` has that checkpoint already, perhaps in more formats: a finished run that
    is resumed leaves them."""
    try:
        description = read_description(folder / "inference.yml")
    except InputError:
        return False
    return all(description.get(key) == info[key] for key in ("run", "checkpoint", "test_accuracy"))


def evaluate_run(
    run_dir: Path,
    checkpoint: str = "best",
    dataset: DatasetName | None = None,
    data_dir: str | None = None,
    device: Device = "auto",
) -> dict[str, Any]:
    """Evaluate a run's checkpoint on its own test set, or on the test images of `dataset`.

    Writes `metrics.json`, or `metrics-<dataset>.json` for another set, and the figures beside
    it; returns the figures (`metrics.summarise`). Raises `InputError` when the set's classes are
    not the run's.
    """
    runtime.select_device(device)
    config, network, classes = load_run(run_dir, checkpoint)
    chosen = config.on_data(dataset, data_dir)
    test_set = load_test_set(chosen, classes)
    path = find_checkpoint(run_dir, checkpoint)
    suffix = "" if chosen is config else f"-{chosen.dataset}"
    return report(chosen, network, test_set, run_dir, path, suffix)


def report(
    config: TrainConfig,
    network: paddle.nn.Layer,
    test_set: ImageSet,
    run_dir: Path,
    checkpoint: Path,
    suffix: str = "",
) -> dict[str, Any]:
    """Evaluate on `test_set`; write metrics<suffix>.json, confusion matrix and worst mistakes."""
    logits = predict_logits(network, test_set, input_size(config.model))
    classes = test_set.classes
    result = {
        "dataset": config.dataset,
        "split": "test",
        "model": config.model,
        "checkpoint": checkpoint.resolve().name,
        **summarise(logits, test_set.labels, classes),
    }
    write_json(run_dir / f"metrics{suffix}.json", result)
    title = f"{run_dir.resolve().name}, {config.dataset} test accuracy {result['accuracy']:.4f}"
    figures = {
        "confusion": plot_confusion(np.array(result["confusion_matrix"]), classes, title),
        "mistakes": plot_mistakes(
            test_set.images, test_set.labels, compute_probs(logits), classes, title=title
        ),
    }
    for name, figure in figures.items():
        save_figure(figure, run_dir / "figures" / f"{name}{suffix}.png")
    return result


def export_run(
    run_dir: Path,
    checkpoint: str = "best",
    formats: Sequence[str] = ("paddle",),
    out: Path | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Export a run's checkpoint to `out`, by default its `inference/`, with a model card.

    Returns the folder and a row for each format, see `deploy.export.export_formats`. Raises
    `InputError` for what is missing, and for an `out` that holds anything but an older export,
    which is replaced as a whole;
    `RunStopped` when a format does not answer as the network does.
    """
    runtime.select_device("cpu")
    folder = run_dir / "inference" if out is None else out.resolve()
    if out is not None and folder.exists() and not _is_replaceable(folder):
        raise InputError(f"{out} exists and is no export; choose another --out, or remove it")
    config, network, classes = load_run(run_dir, checkpoint)
    test_set = load_test_set(config, classes)
    train_set = load_data(config, "train")[0] if "onnx-int8" in formats else None
    result = {
        "checkpoint": find_checkpoint(run_dir, checkpoint).resolve().name,
        **evaluate(network, test_set, input_size(config.model)),
    }
    rows = export_formats(
        *(network, folder, test_set, input_size(config.model)),
        *(_export_info(config, run_dir, result), formats),
        train_set=train_set,
        write_card=lambda description: describe_model(config, result, description, run_dir),
    )
    return folder, rows


def _is_replaceable(folder: Path) -> bool:
    """Whether `folder` is an older export, or empty: what else may be there is not ours."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    return not names or ("inference.yml" in names and names <= WRITTEN)


def _export_info(config: TrainConfig, run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """What inference.yml says of the run."""
    return {
        "model": config.model,
        "dataset": config.dataset,
        "run": run_dir.resolve().name,
        "checkpoint": result["checkpoint"],
        "test_accuracy": result["accuracy"],
        "preprocess": config.picture_mode,
        "versions": runtime.versions(),
    }


class _LogFile(logging.FileHandler):
    """A log that cannot be written ends the run; logging itself would print a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        raise


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """What the package logs goes to `path` too, with the time."""
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")  # names of files
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("lenet_paddle")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
