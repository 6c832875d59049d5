"""Evaluate a run's model on its own test set, or on another data set.

  python tools/evaluate.py --run output/lenet_builtin-mnist-001
  python tools/evaluate.py --run output/lenet_builtin-mnist-001 --checkpoint latest --json
  python tools/evaluate.py --run output/lenet_builtin-mnist-001 --dataset mnist_c --generated

Of a folder of pictures all are evaluated, of one that has test/ those, and of the folder that the
run was trained on those that were held out. They may show a part of the run's classes.

Prints loss, accuracy, top-k accuracy, calibration error (of a calibrated run a second line) and a
line per class; writes metrics.json (or metrics-<dataset>.json), a confusion matrix and the worst
mistakes into the run.

For mnist_c it prints a line per corruption with accuracy, loss, the hardest class, what is unclear,
and with --baseline the error divided by that run's; writes metrics-mnist_c.json, mnist_c.csv, a
chart and the worst mistakes.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.data.datasets import SPECIAL, DatasetName, EmnistSplit
from lenet_paddle.runtime import Device
from lenet_paddle.settings import PATH


@dataclass(frozen=True)
class Args:
    run: Annotated[str, PATH]
    """The run's folder, output/<run>."""
    checkpoint: str = "best"
    """best, latest, or one such as epoch_0005."""
    dataset: DatasetName | None = None
    """Evaluate on the test images of this data set (default: the run's own)."""
    data_dir: Annotated[str | None, PATH] = None
    """Where that data set is."""
    scale: float | None = None
    """With --dataset npz and csv: factor that brings the values of the images to 0..255."""
    label_column: Literal["first", "last"] | None = None
    """With --dataset csv: where the labels are."""
    emnist_split: EmnistSplit | None = None
    """With --dataset emnist: which of its divisions (default: balanced)."""
    skip_unreadable: bool = False
    """With --dataset folder: leave out pictures that cannot be read, and name them."""
    generated: bool = False
    """With --dataset mnist_c: corrupt the run's own test images, instead of --data-dir."""
    baseline: Annotated[str | None, PATH] = None
    """With --dataset mnist_c: a run to compare with, output/<run>, at its best checkpoint."""
    json: bool = False
    """Print JSON and nothing else."""
    device: Device = "auto"
    """auto takes a GPU when Paddle sees one."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.tables import format_json
    from lenet_paddle.workflows.evaluate import evaluate_any

    result, table = evaluate_any(
        Path(args.run),
        checkpoint=args.checkpoint,
        dataset=args.dataset,
        data_dir=args.data_dir,
        generated=args.generated,
        baseline=None if args.baseline is None else Path(args.baseline),
        device=args.device,
        **{name: getattr(args, name) for name in SPECIAL if hasattr(args, name)},
    )
    print(format_json(result) if args.json else table)


if __name__ == "__main__":
    run_tool(main)
