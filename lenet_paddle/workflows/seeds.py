"""One recipe with several seeds, and a table of what came of it."""

from __future__ import annotations

import dataclasses
import json
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lenet_paddle import runtime
from lenet_paddle.config import TrainConfig, parse_seeds, to_name
from lenet_paddle.errors import InputError
from lenet_paddle.export.predictor import read_config
from lenet_paddle.files import format_csv, make_folder, write_text
from lenet_paddle.models import VISION_PREFIX
from lenet_paddle.training.callbacks import is_finished
from lenet_paddle.training.checkpoint import epoch_name, newest_checkpoint
from lenet_paddle.workflows.train import dump_config, resolve_source, train_and_evaluate

_log = logging.getLogger(__name__)

# What the table tells of a run, and with how many decimals.
COLUMNS = {
    "epochs": 0,
    "val_accuracy": 4,
    "test_accuracy": 4,
    "test_loss": 4,
    "seconds": 1,
}
Row = dict[str, Any]
FREE = ("device", "vdl", "log_every", "keep_last", "keep_every")  # settings that change no result


def run_seeds(config: TrainConfig) -> Path:
    """Train `config` with each of `config.seeds`, and write seeds.csv and seeds.md.

    The runs are `output_dir/<name>-seed-N`, the tables lie in `output_dir/<name>`, which is
    returned; without a name that of the config file is taken. A run that is there already goes
    on where it stood, and a finished one is left alone. Raises `InputError` where one was made
    with other settings, and what `train_and_evaluate` raises.
    """
    seeds = parse_seeds(str(config.seeds))
    if runtime.count_ranks() > 1:
        raise InputError("seeds runs in one process; leave paddle.distributed.launch out")
    name = config.name or _default_name(config)
    folder = Path(config.output_dir) / name
    if (folder / "config.yaml").exists() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is no folder of tables; choose another --name")
    rows: list[Row] = []
    for seed in seeds:
        own = dataclasses.replace(
            config, seed=seed, seeds=None, config=None, name=f"{name}-seed-{seed}"
        )
        rows.append({"seed": seed, **_result_of(own)})
    make_folder(folder)
    write_text(folder / "seeds.csv", format_csv(["seed", *COLUMNS], [*rows, *summarise_rows(rows)]))
    write_text(folder / "seeds.md", format_markdown(rows))
    return folder


def _default_name(config: TrainConfig) -> str:
    if config.config is None:
        return f"{config.model.removeprefix(VISION_PREFIX)}-{config.dataset}"
    return to_name(Path(config.config).stem)


def _result_of(config: TrainConfig) -> Row:
    """A run's row, after training what is left of it."""
    run_dir = Path(config.output_dir) / str(config.name)
    if run_dir.exists():
        _check_settings(run_dir, config)
        if (row := read_result(run_dir)) is not None:
            _log.info("%s is finished: test accuracy %.4f", run_dir, row["test_accuracy"])
            return row
        config = TrainConfig(resume=str(run_dir), device=config.device)
    elif config.init_from is not None:
        _check_source(config)
    train_and_evaluate(config)
    if (row := read_result(run_dir)) is None:
        raise InputError(f"{run_dir}: changed while it was trained; run the command again")
    return row


def _check_source(config: TrainConfig) -> None:
    """Raise `InputError` where `init_from` is a run that is not finished."""
    source = Path(str(config.init_from).replace("{seed}", str(config.seed)))
    if (source / "config.yaml").exists() and read_result(source) is None:
        raise InputError(f"{source} is not finished; run its own command first")


def _check_settings(run_dir: Path, config: TrainConfig) -> None:
    free = set(FREE)
    if config.init_from is not None and read_result(run_dir) is not None:
        free.add("init_from")  # which may be gone by now
    elif config.init_from is not None:
        config = resolve_source(config)
    wanted, found = (
        yaml.safe_load(dump_config(settings)) for settings in (config, read_config(run_dir))
    )
    other = [
        f"{key} {found[key]}, now {wanted[key]}"
        for key in wanted.keys() - free
        if wanted[key] != found[key]
    ]
    if other:
        raise InputError(
            f"{run_dir} was made with other settings ({'; '.join(other)}); choose another --name"
        )


def read_result(run_dir: Path) -> Row | None:
    """What the table tells of a run whose training is finished and which is tested and exported;
    None for any other."""
    saved = newest_checkpoint(run_dir / "checkpoints")
    metrics_file = run_dir / "metrics.json"
    if saved is None or not metrics_file.exists():
        return None
    if not (run_dir / "inference" / "inference.yml").exists():
        return None
    state = saved[1]
    if not is_finished(read_config(run_dir), state):
        return None
    try:
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        if metrics["checkpoint"] != epoch_name(state.best_epoch):
            return None  # tools/evaluate.py was asked for another one
        tested = {"test_accuracy": metrics["accuracy"], "test_loss": metrics["loss"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    chosen = state.history[state.best_epoch - 1]
    return {
        "epochs": state.epoch,
        "val_accuracy": chosen.get("val_accuracy"),
        **tested,
        "seconds": state.seconds,
    }


def summarise_rows(rows: Sequence[Row]) -> tuple[Row, Row]:
    """Mean and sample standard deviation of each column; None where there are too few values."""
    mean, deviation = Row(seed="mean"), Row(seed="standard deviation")
    for column in COLUMNS:
        values = [row[column] for row in rows if row[column] is not None]
        mean[column] = statistics.fmean(values) if values else None
        deviation[column] = statistics.stdev(values) if len(values) > 1 else None
    return mean, deviation


def format_markdown(rows: Sequence[Row]) -> str:
    """The same as a table to read."""
    lines = [
        ["seed", *(column.replace("_", " ") for column in COLUMNS)],
        ["---"] * (1 + len(COLUMNS)),
    ]
    for row in [*rows, *summarise_rows(rows)]:
        cells = [(row[column], decimals) for column, decimals in COLUMNS.items()]
        shown = ["" if value is None else f"{value:.{decimals}f}" for value, decimals in cells]
        lines.append([str(row["seed"]), *shown])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
