"""Run workers in turn for several rounds; return medians and ratios, as a table or a chart."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lenet_paddle.benchmark.measurements import (
    MEASUREMENTS,
    find_measurement,
    is_peer,
)
from lenet_paddle.errors import InputError
from lenet_paddle.figures.options import SUFFIXES
from lenet_paddle.figures.style import BLUE, save_figure, styled
from lenet_paddle.progress import Progress
from lenet_paddle.runtime import BLAS_SWITCH, MEMORY_SWITCH, versions
from lenet_paddle.tables import format_cells

GREY = "#999999"
_log = logging.getLogger(__name__)


def use_cores(count: int) -> None:
    """Keep this process, and those it starts, on `count` cores. Raises `InputError`."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not 1 <= count <= len(usable):
        raise InputError(f"cores is {count}; expected 1 to {len(usable)} (Linux only)")
    os.sched_setaffinity(0, usable[:count])


def choose_peers(what: str, names: Sequence[str]) -> list[str]:
    """Return the workers of the peers named, without those whose package is missing.

    A missing package is logged as a warning. Raises `InputError` for an unknown peer.
    """
    peers = find_measurement(what).peers
    if names and not peers:
        having = [name for name, measurement in MEASUREMENTS.items() if measurement.peers]
        raise InputError(f"peers are measured by {' and '.join(having)}; {what} has none")
    workers: list[str] = []
    for name in names:
        if name not in peers:
            raise InputError(
                f"peer {name!r} is unknown; expected one or more of {', '.join(peers)}"
            )
        if importlib.util.find_spec(peers[name].package) is None:
            _log.warning(
                "%s is left out: %s is not installed (.[peers])", *(name, peers[name].package)
            )
        else:
            workers += peers[name].workers
    return workers


def compare(what: str, peers: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Measure `what`, a key of MEASUREMENTS, `rounds` times with each worker in turn.

    Returns a row per worker and size: `worker`, the size (`batch_size`, `images` or
    `connections`), `rounds`, and the median of each value. Training rows also have `images_per_s`
    and `ratio`, the time of a step divided by the first worker's. `profile` has a row per operator,
    `networks` per network and worker, `fast` a row per worker over all seeds. Raises `InputError`.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; expected a whole number of 1 or more")
    measurement = find_measurement(what)
    kind, sizes = measurement.size, measurement.sizes
    workers = [*measurement.workers, *choose_peers(what, peers)]
    workers.sort(key=lambda worker: worker.split()[1:])  # the workers of a network take turns
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    total = rounds * len(sizes) * len(workers)
    progress = Progress(total, "measurements", plain_seconds=30)
    done = 0
    for _ in range(rounds):
        for size in sizes:
            for worker in workers:
                found.setdefault((worker, size), []).append(run_worker(worker, size))
                done += 1
                progress.show(done, f"{worker} at {size}: {done}/{total}")
    progress.clear()
    rows: list[dict[str, Any]] = [
        {"worker": worker, kind: size, "rounds": rounds, **_medians(results)}
        for (worker, size), results in found.items()
    ]
    if what == "profile":
        return _by_operator(rows)
    if what == "fast":
        return _over_seeds(rows)
    if what == "networks":
        return _by_network(rows)
    time = "seconds" if what == "epoch" else "ms_per_step"
    if time not in rows[0]:
        return rows
    first = {row[kind]: row[time] for row in rows if row["worker"] == workers[0]}
    return [_with_ratio(row, row[time] / first[row[kind]]) for row in rows]


def _by_operator(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per operator, the slowest first: milliseconds per step at each batch size."""
    about = ("worker", "batch_size", "rounds")
    names = dict.fromkeys(key for row in rows for key in row if key not in about)
    found = [
        {"operator": name, **{f"ms_at_{row['batch_size']}": row.get(name, 0.0) for row in rows}}
        for name in names
    ]
    return sorted(found, key=lambda row: -list(row.values())[1])


def _by_network(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per network and worker: milliseconds per step and ratio at each batch size."""
    ms = {(*row["worker"].split(), row["batch_size"]): row["ms_per_step"] for row in rows}
    sizes = dict.fromkeys(size for _, _, size in ms)
    return [
        {
            "network": network,
            "worker": worker,
            "rounds": rows[0]["rounds"],
            **{f"ms_at_{size}": ms[worker, network, size] for size in sizes},
            **{
                f"ratio_at_{size}": ms[worker, network, size] / ms["ours", network, size]
                for size in sizes
            },
        }
        for worker, network in dict.fromkeys(key[:2] for key in ms)
    ]


def _over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per worker: means over the seeds, and the accuracy's standard deviation."""
    found = []
    for worker in dict.fromkeys(row["worker"] for row in rows):
        of_worker = [row for row in rows if row["worker"] == worker]
        seconds, accuracy = ([row[key] for row in of_worker] for key in ("seconds", "accuracy"))
        found.append(
            {
                "worker": worker,
                "seeds": len(of_worker),
                "rounds": of_worker[0]["rounds"],
                "seconds": float(np.mean(seconds)),
                "accuracy": float(np.mean(accuracy)),
                "spread": float(np.std(accuracy, ddof=1)),
            }
        )
    return found


def _with_ratio(row: dict[str, Any], ratio: float) -> dict[str, Any]:
    first = {key: row.pop(key) for key in ("worker", "batch_size", "rounds")} | {"ratio": ratio}
    if "ms_per_step" in row:
        first["images_per_s"] = first["batch_size"] / row["ms_per_step"] * 1000
    return {**first, **row}


def run_worker(worker: str, size: int) -> dict[str, float]:
    """Run one worker in its own process. Raises `InputError` with the last line of its error."""
    command = [sys.executable, "-m", "lenet_paddle.benchmark.workers", worker, str(size)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    if is_peer(worker):  # without this project's tuning
        environment |= {BLAS_SWITCH: "off", MEMORY_SWITCH: "off"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{worker} at {size} failed: {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _medians(results: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each value; one missing in a round (a quick operator) counts as 0."""
    keys = dict.fromkeys(key for result in results for key in result)
    return {key: float(np.median([r.get(key, 0.0) for r in results])) for key in keys}


CHARTED = {  # the first of these that a row has is drawn
    "ms_per_step": "milliseconds per training step (less is better)",
    "images_per_s": "images per second (more is better)",
    "seconds": "seconds (less is better)",
    "requests_per_s": "requests per second (more is better)",
    "read_s": "seconds to read (less is better)",
}


def check_chart(what: str, path: Path) -> None:
    """Check before measuring that a chart of `what` can be written to `path`, else `InputError`."""
    if what in ("profile", "networks", "fast"):
        raise InputError(f"{what} has no chart, only a table; leave out --chart")
    if path.suffix not in SUFFIXES or not path.parent.is_dir():
        raise InputError(
            f"--chart {path}: expected a .png, .svg or .pdf file in an existing folder"
        )


@styled
def plot_rows(rows: Sequence[dict[str, Any]], title: str) -> Figure:
    """Return a bar chart with a panel per size and a bar per worker: ours blue, peers grey."""
    figure_of = next(key for key in CHARTED if key in rows[0])
    kind = next(key for key in ("batch_size", "connections", "images") if key in rows[0])
    sizes = sorted({row[kind] for row in rows})
    most = max(sum(row[kind] == size for row in rows) for size in sizes)
    figure = Figure(figsize=(5 * len(sizes), 1.2 + 0.42 * max(most, 2)), layout="constrained")
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        chosen = [row for row in rows if row[kind] == size]
        names = [row["worker"] for row in chosen]
        colours = [GREY if name == "limit" or is_peer(name) else BLUE for name in names]
        bars = axes.barh(names, [row[figure_of] for row in chosen], color=colours)
        axes.bar_label(bars, [_bar_text(row, figure_of) for row in chosen], padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.3)
        axes.set_title(f"{kind.replace('_', ' ')} {size:,}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(CHARTED[figure_of], fontsize=10)
    figure.suptitle(title, fontsize=10)
    return figure


def draw_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the chart of `plot_rows`, with machine and versions in its title."""
    found = versions()
    title = f"{found['cpu']}, {found['num_cpus']} cores, Paddle {found.get('paddlepaddle', '?')}"
    save_figure(plot_rows(rows, f"{title}, {date.today():%Y-%m-%d}"), path)


def _bar_text(row: dict[str, Any], figure_of: str) -> str:
    ratio = f" ({row['ratio']:.2f}x)" if row.get("ratio", 1.0) != 1.0 else ""
    return f"{_cell(row[figure_of])}{ratio}"


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Format rows as a text table."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key, "")) for key in keys] for row in rows]
    return format_cells(keys, cells, left=keys[:1])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.{3 if value >= 1 else 4}f}"
    return str(value)
