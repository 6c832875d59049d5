"""Measure how long things take, on this machine, beside others who do the same.

  python tools/benchmark.py train --peers tutorial,pytorch,jax,keras --rounds 3
  python tools/benchmark.py infer
  python tools/benchmark.py load --json

Prints a row a worker and batch size: medians over the rounds, in which all take turns, each in a
process of its own. `ratio` is the time of a step over ours. Let nothing else run meanwhile.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from lenet_paddle.cli import parse_args, run_tool


@dataclass(frozen=True)
class Args:
    what: Annotated[Literal["train", "infer", "evaluate", "load"], tyro.conf.Positional] = "train"
    """What is measured."""
    peers: str = ""
    """train: who else is measured, some of tutorial,pytorch,jax,keras (pip install '.[peers]')."""
    rounds: int = 3
    """Each worker is measured so often, in turn."""
    json: bool = False
    """Print JSON: the rows, and what they were measured with."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.benchmark.compare import compare, format_rows
    from lenet_paddle.runtime import versions

    rows = compare(args.what, [p for p in args.peers.split(",") if p], args.rounds)
    if args.json:
        print(json.dumps({"versions": versions(), "rows": rows}, indent=2))
    else:
        print(format_rows(rows))


if __name__ == "__main__":
    run_tool(main)
