"""Show a network: every layer's shapes and parameters, totals, sizes in MB.

  python tools/analyze.py --model lenet5

Prints paddle.summary's table; for lenet5 the total is 61,706 parameters.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.config import ModelName


@dataclass(frozen=True)
class Args:
    model: ModelName = "lenet_builtin"
    """The network."""
    num_classes: int = 10
    """Classes of its last layer."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.explain.analysis import summarise_model

    print(summarise_model(args.model, args.num_classes))


if __name__ == "__main__":
    run_tool(main)
