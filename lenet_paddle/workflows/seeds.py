"""Train one recipe with several seeds and tabulate the results."""

from __future__ import annotations

import dataclasses
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lenet_paddle import runtime, tables
from lenet_paddle.config import TrainConfig, parse_seeds, to_name
from lenet_paddle.errors import InputError
from lenet_paddle.files import format_csv, make_folder, write_text
from lenet_paddle.models import VISION_PREFIX
from lenet_paddle.run_folder import Run, dump_config
from lenet_paddle.workflows.start import resolve_source
from lenet_paddle.workflows.train import train_and_evaluate

_log = logging.getLogger(__name__)

# Columns of the table, and their decimals.
COLUMNS = {
    "epochs": 0,
    "val_accuracy": 4,
    "test_accuracy": 4,
    "test_loss": 4,
    "seconds": 1,
}
Row = dict[str, Any]
FREE = ("device", "vdl", "log_every", "keep_last", "keep_every")  # do not change the result


def run_seeds(config: TrainConfig) -> Path:
    """Train `config` with each of `config.seeds`; write seeds.csv and seeds.md.

    The runs are `output_dir/<name>-seed-N`; the tables are in `output_dir/<name>`, which is
    returned. The default name is that of the config file. Existing runs are resumed, finished ones
    kept. Raises `InputError` for a run made with other settings, and what `train_and_evaluate`
    raises.
    """
    seeds = parse_seeds(str(config.seeds))
    if runtime.count_ranks() > 1:
        raise InputError("seeds runs in one process; leave paddle.distributed.launch out")
    name = config.name or _default_name(config)
    folder = Path(config.output_dir) / name
    if Run(folder).config_file.exists() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is not a folder of tables; choose another --name")
    rows: list[Row] = []
    for seed in seeds:
        own = dataclasses.replace(
            config, seed=seed, seeds=None, config=None, name=f"{name}-seed-{seed}"
        )
        rows.append({"seed": seed, **_result_of(own)})
        form = Run(Path(own.output_dir) / str(own.name)).config.form
        config = config.with_form(form)  # the next runs are like this one, whatever was auto
    make_folder(folder)
    write_text(folder / "seeds.csv", format_csv([*rows, *summarise_rows(rows)]))
    write_text(folder / "seeds.md", format_markdown(rows))
    return folder


def _default_name(config: TrainConfig) -> str:
    if config.config is None:
        return f"{config.model.removeprefix(VISION_PREFIX)}-{config.dataset}"
    return to_name(Path(config.config).stem)


def _result_of(config: TrainConfig) -> Row:
    """Train the remaining epochs of a run and return its row."""
    run = Run(Path(config.output_dir) / str(config.name))
    if run.path.exists():
        _check_settings(Run.open(run.path), config)
        if (row := run.read_result()) is not None:
            _log.info("%s is finished: test accuracy %.4f", run, row["test_accuracy"])
            return row
        config = TrainConfig(resume=str(run), device=config.device)
    elif config.init_from is not None:
        _check_source(config)
    train_and_evaluate(config)
    if (row := run.read_result()) is None:
        raise InputError(f"{run}: changed while it was trained; run the command again")
    return row


def _check_source(config: TrainConfig) -> None:
    """Raise `InputError` if `init_from` is a run that is not finished."""
    source = Path(str(config.init_from).replace("{seed}", str(config.seed)))
    run = Run(source)
    if run.config_file.exists() and run.read_result() is None:
        raise InputError(f"{source} is not finished; run its own command first")


def _check_settings(run: Run, config: TrainConfig) -> None:
    """Raise `InputError` if `run` was made with settings that change the result."""
    free = {*FREE, *(key for key in ("channels", "image_size") if getattr(config, key) == "auto")}
    if config.init_from is not None and run.read_result() is not None:
        free.add("init_from")  # it may have been removed since
    elif config.init_from is not None:
        config = resolve_source(config)
    wanted, found = (yaml.safe_load(dump_config(settings)) for settings in (config, run.config))
    other = [
        f"{key} {found[key]}, now {wanted[key]}"
        for key in wanted.keys() - free
        if wanted[key] != found[key]
    ]
    if other:
        raise InputError(
            f"{run} was made with other settings ({'; '.join(other)}); choose another --name"
        )


def summarise_rows(rows: Sequence[Row]) -> tuple[Row, Row]:
    """Return mean and sample standard deviation per column; None for too few values."""
    mean, deviation = Row(seed="mean"), Row(seed="standard deviation")
    for column in COLUMNS:
        values = [row[column] for row in rows if row[column] is not None]
        mean[column] = statistics.fmean(values) if values else None
        deviation[column] = statistics.stdev(values) if len(values) > 1 else None
    return mean, deviation


def format_markdown(rows: Sequence[Row]) -> str:
    """Return the rows, mean and deviation as a Markdown table."""
    lines = []
    for row in [*rows, *summarise_rows(rows)]:
        cells = [(row[column], decimals) for column, decimals in COLUMNS.items()]
        shown = ["" if value is None else f"{value:.{decimals}f}" for value, decimals in cells]
        lines.append([str(row["seed"]), *shown])
    return tables.format_markdown(["seed", *(c.replace("_", " ") for c in COLUMNS)], lines)
