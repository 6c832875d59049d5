"""Measure how long things take, on this machine, beside others who do the same.

  python tools/benchmark.py train --peers tutorial,pytorch,jax,keras --chart speed.png
  python tools/benchmark.py infer
  python tools/benchmark.py load --json

Prints a row a worker and size: medians over the rounds, in which all take turns, each in a
process of its own. `ratio` is the time of a training step over the first worker's. Let nothing
else run meanwhile. `grow` writes a file of 4.7 GB into the temporary folder for a while.
"""

import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from lenet_paddle.cli import parse_args, run_tool

What = Literal[
    "train", "ranks", "profile", "start", "infer", "evaluate", "load", "grow", "fast", "serve"
]


@dataclass(frozen=True)
class Args:
    what: Annotated[What, tyro.conf.Positional] = "train"
    """What is measured: training steps, the same by two processes, their operators, the time to
    the first step, inference, evaluation of the test set, loading, training from ever larger
    files, the recipe configs/mnist_fast.yaml as a whole, the server under wrk (apt-get install
    wrk; 80 seconds a round)."""
    peers: str = ""
    """train: who else is measured, some of tutorial,pytorch,jax,keras (pip install '.[peers]');
    fast: pytorch."""
    rounds: int = 3
    """Each worker is measured so often, in turn."""
    json: bool = False
    """Print JSON: the rows, when and with what they were measured."""
    chart: str | None = None
    """Draw the rows as bars into this file (.png, .svg, .pdf)."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.benchmark.compare import check_chart, compare, draw_rows, format_rows
    from lenet_paddle.runtime import versions

    if args.chart:
        check_chart(args.what, Path(args.chart))
    rows = compare(args.what, [p for p in args.peers.split(",") if p], args.rounds)
    if args.json:
        when = f"{date.today():%Y-%m-%d}"
        print(json.dumps({"date": when, "versions": versions(), "rows": rows}, indent=2))
    else:
        print(format_rows(rows))
    if args.chart:
        draw_rows(rows, Path(args.chart))


if __name__ == "__main__":
    run_tool(main)
