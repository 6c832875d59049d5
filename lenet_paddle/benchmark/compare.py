"""Workers in turn, several rounds, medians and ratios."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.config import InputError
from lenet_paddle.progress import Progress

_log = logging.getLogger(__name__)

PEERS = {  # peer -> (its workers, the package they need)
    "tutorial": (("tutorial",), "paddle"),
    "pytorch": (("pytorch", "pytorch_loader"), "torch"),
    "jax": (("jax",), "jax"),
    "keras": (("keras",), "keras"),
}
WHAT = {  # what is measured -> (its workers, the batch sizes)
    "train": (("ours", "bare"), (64, 512)),
    "infer": (("network", "inference", "inference_onednn"), (1, 64, 256)),
    "evaluate": (("evaluation",), (256,)),
    "load": (("load", "load_fashion"), (64,)),
}


def choose_peers(names: Sequence[str]) -> list[str]:
    """The workers of the peers named; one whose package is missing is said and left out.

    Raises `InputError` for a name that is no peer.
    """
    workers: list[str] = []
    for name in names:
        if name not in PEERS:
            raise InputError(f"peer {name!r} is unknown; expected some of {', '.join(PEERS)}")
        of_peer, package = PEERS[name]
        if importlib.util.find_spec(package) is None:
            _log.warning("%s is left out: %s is not installed (.[peers])", name, package)
        else:
            workers += of_peer
    return workers


def compare(what: str, peers: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """Measure `what` (a key of WHAT), each worker in turn and `rounds` times.

    Returns a row for each worker and batch size: `worker`, `batch_size`, `rounds`, and the
    median of each figure; for training also `ratio`, the time of a step over ours.
    """
    own, sizes = WHAT[what]
    workers = [*own, *(choose_peers(peers) if what == "train" else [])]
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    total = rounds * len(sizes) * len(workers)
    progress = Progress(total, "measurements", plain_seconds=30)
    done = 0
    for _ in range(rounds):
        for size in sizes:
            for worker in workers:
                found.setdefault((worker, size), []).append(run_worker(worker, size))
                done += 1
                progress.show(done, f"{worker} at batch {size}: {done}/{total}")
    progress.clear()
    rows: list[dict[str, Any]] = [
        {"worker": worker, "batch_size": size, "rounds": rounds, **_medians(results)}
        for (worker, size), results in found.items()
    ]
    ours = {row["batch_size"]: row.get("ms_per_step") for row in rows if row["worker"] == "ours"}
    for row in rows:
        if "ms_per_step" in row:
            row["ratio"] = row["ms_per_step"] / ours[row["batch_size"]]
    return rows


def run_worker(worker: str, batch_size: int) -> dict[str, float]:
    """One measurement in a process of its own. Raises `InputError` with its last line."""
    command = [sys.executable, "-m", "lenet_paddle.benchmark.workers", worker, str(batch_size)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{worker} at batch {batch_size} failed: {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.median([r[key] for r in results])) for key in results[0]}


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a table for the screen."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [keys, *([_cell(row.get(key, "")) for key in keys] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    lines = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"
    return str(value)
