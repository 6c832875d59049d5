"""Corrupt MNIST as MNIST-C does, and write it in MNIST-C's layout.

  python tools/corrupt.py --out mnist_c --splits test
  python tools/corrupt.py --out mnist_c                  # with the training images: 0.9 GB
  python tools/corrupt.py --out foggy --corruptions fog,spatter --severity 3 --limit 1000

Prints the folders written; train and evaluate with --dataset mnist_c --data-dir mnist_c.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.data.datasets import CORRUPTIONS, IDENTITY


@dataclass(frozen=True)
class Args:
    out: str
    """The folder that gets one folder a corruption."""
    corruptions: str = ",".join((*CORRUPTIONS, IDENTITY))
    """Which, with commas between them."""
    severity: int | None = None
    """1 (mild) to 5, for those that have it (default: MNIST-C's own choice for each)."""
    seed: int = 0
    """Decides everything that is left to chance."""
    limit: int | None = None
    """The first N images of each split only."""
    splits: str = "test,train"
    """test, train, or both."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.data.mnist_c import write_mnist_c

    names, splits = (
        [name.strip() for name in text.split(",")] for text in (args.corruptions, args.splits)
    )
    files = write_mnist_c(Path(args.out), names, args.severity, args.seed, args.limit, splits)
    for folder in dict.fromkeys(path.parent for path in files):
        print(folder)


if __name__ == "__main__":
    run_tool(main)
