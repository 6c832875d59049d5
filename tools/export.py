"""Export a run's model for inference without this package, and check it.

  python tools/export.py --run output/lenet_builtin-mnist-001

Writes inference.json, inference.pdiparams and inference.yml into the run's inference/ and prints
the greatest difference to the network on 256 test images (at most 1e-5).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool


@dataclass(frozen=True)
class Args:
    run: str
    """The run's folder, output/<run>."""
    checkpoint: str = "best"
    """best, latest, or one such as epoch_0005."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.run import export_run

    folder, difference = export_run(Path(args.run), args.checkpoint)
    print(f"{folder}: inference.json, inference.pdiparams, inference.yml")
    print(f"greatest difference to the network on test images: {difference:.2g}")


if __name__ == "__main__":
    run_tool(main)
