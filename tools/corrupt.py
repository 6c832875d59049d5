"""Corrupt MNIST as MNIST-C does, and write the images in MNIST-C's layout.

  python tools/corrupt.py --out mnist_c --splits test
  python tools/corrupt.py --out mnist_c                  # with the training images: 0.9 GB
  python tools/corrupt.py --out foggy --corruptions fog,spatter --severity 3 --limit 1000

Prints the folders written; train and evaluate with --dataset mnist_c --data-dir mnist_c.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.data.datasets import ALL_CORRUPTIONS
from lenet_paddle.settings import PATH


@dataclass(frozen=True)
class Args:
    out: Annotated[str, PATH]
    """The folder to write, with one folder per corruption."""
    corruptions: str = ",".join(ALL_CORRUPTIONS)
    """Names of corruptions, with commas between them."""
    severity: int | None = None
    """1 (mild) to 5, for corruptions that have it (default: MNIST-C's own for each)."""
    seed: int = 0
    """Seed of all random draws."""
    limit: int | None = None
    """The first N images of each split only."""
    splits: str = "test,train"
    """test, train, or both."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.data.mnist_c import write_mnist_c

    files = write_mnist_c(
        Path(args.out),
        corruptions=[name.strip() for name in args.corruptions.split(",")],
        severity=args.severity,
        seed=args.seed,
        limit=args.limit,
        parts=[name.strip() for name in args.splits.split(",")],
    )
    for folder in dict.fromkeys(path.parent for path in files):
        print(folder)


if __name__ == "__main__":
    run_tool(main)
