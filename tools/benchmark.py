"""Measure speed on this machine, of this project and of other frameworks on the same task.

  python tools/benchmark.py train --peers tutorial,pytorch,jax,keras --chart speed.png
  python tools/benchmark.py networks --peers pytorch,torchvision --cores 1
  python tools/benchmark.py infer
  python tools/benchmark.py load --json

Prints a row per worker and size: medians over the rounds. In a round the workers take turns, each
in its own process. `ratio` is the time of a training step divided by the first worker's. Let
nothing else run meanwhile.
"""

import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from lenet_paddle.benchmark.measurements import MEASUREMENTS
from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.settings import PATH

HELP = "; ".join(f"{name}: {measurement.help}" for name, measurement in MEASUREMENTS.items())
PEERS = "; ".join(
    f"{name}: {','.join(measurement.peers)}"
    for name, measurement in MEASUREMENTS.items()
    if measurement.peers
)


@dataclass(frozen=True)
class Args:
    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help=HELP)] = "train"
    peers: Annotated[
        str, tyro.conf.arg(help=f"Frameworks to measure too (pip install '.[peers]'). {PEERS}")
    ] = ""
    rounds: int = 3
    """How often each worker is measured."""
    cores: int | None = None
    """Measure on this many cores only, in all frameworks."""
    json: bool = False
    """Print JSON: rows, date and versions."""
    chart: Annotated[str | None, PATH] = None
    """Draw the rows as a bar chart into this file (.png, .svg, .pdf)."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.benchmark.compare import (
        check_chart,
        compare,
        draw_rows,
        format_rows,
        use_cores,
    )
    from lenet_paddle.runtime import versions
    from lenet_paddle.tables import format_json

    if args.chart:
        check_chart(args.what, Path(args.chart))
    if args.cores is not None:
        use_cores(args.cores)
    rows = compare(args.what, [p for p in args.peers.split(",") if p], args.rounds)
    if args.json:
        when = f"{date.today():%Y-%m-%d}"
        print(format_json({"date": when, "versions": versions(), "rows": rows}))
    else:
        print(format_rows(rows))
    if args.chart:
        draw_rows(rows, Path(args.chart))


if __name__ == "__main__":
    run_tool(main)
