"""Evaluate a run's model on its own test set, or on another data set.

  python tools/evaluate.py --run output/lenet_builtin-mnist-001
  python tools/evaluate.py --run output/lenet_builtin-mnist-001 --checkpoint latest --json
  python tools/evaluate.py --run output/lenet_builtin-mnist-001 --dataset mnist_c --generated

Prints loss, accuracy, top-k, calibration error and a line a class; writes metrics.json (or
metrics-<dataset>.json), a confusion matrix and a sheet of the worst mistakes into the run.

For mnist_c it prints a line a corruption with accuracy, loss, the hardest class, and with
--baseline the error divided by that run's; writes metrics-mnist_c.json, mnist_c.csv, a chart and
a sheet of the worst mistakes.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.data.datasets import DatasetName
from lenet_paddle.runtime import Device


@dataclass(frozen=True)
class Args:
    run: str
    """The run's folder, output/<run>."""
    checkpoint: str = "best"
    """best, latest, or one such as epoch_0005."""
    dataset: DatasetName | None = None
    """Another data set than the run's own; its test images are used."""
    data_dir: str | None = None
    """Where that data set lies."""
    generated: bool = False
    """With --dataset mnist_c: corrupt the run's own test images, instead of --data-dir."""
    baseline: str | None = None
    """With --dataset mnist_c: a run to compare with, output/<run>; its best checkpoint is taken."""
    json: bool = False
    """Print JSON and nothing else."""
    device: Device = "auto"
    """auto takes a GPU when Paddle sees one."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.workflows.evaluate import evaluate_any

    result, table = evaluate_any(
        *(Path(args.run), args.checkpoint, args.dataset, args.data_dir, args.generated),
        baseline=None if args.baseline is None else Path(args.baseline),
        device=args.device,
    )
    print(json.dumps(result, indent=2) if args.json else table)


if __name__ == "__main__":
    run_tool(main)
