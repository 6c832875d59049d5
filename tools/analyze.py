"""Analyse a network layer by layer, or compare networks or trained runs.

  python tools/analyze.py --model lenet5
  python tools/analyze.py --model vision:resnet18 --format json
  python tools/analyze.py --compare lenet5,lenet_builtin,vision:resnet18 --format markdown
  python tools/analyze.py --runs output/*

MACs are multiply-adds of weights with values in convolutions and linear layers; FLOPs are 2 per
MAC plus those of biases, batch norms, poolings and activations. The output defines all columns.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.errors import InputError
from lenet_paddle.models import ModelName, check_model
from lenet_paddle.settings import COUNT, PATH, Settings, between


@dataclass(frozen=True)
class Args(Settings):
    model: ModelName | str = "lenet_builtin"
    """The network; vision:NAME takes any classifier of paddle.vision.models."""
    input_size: Annotated[int | None, between(1, 1024, "a whole number")] = None
    """Side of the picture in pixels (default: the network's own)."""
    num_classes: Annotated[int, COUNT] = 10
    """Classes of the last layer."""
    compare: str | None = None
    """Networks to compare instead: lenet5,mlp,vision:resnet18."""
    runs: Annotated[list[str], PATH] = field(default_factory=list)
    """Runs to compare instead, such as output/*."""
    format: Literal["table", "json", "markdown"] = "table"
    """Output format."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in [self.model, *self.compared]:
            check_model(name)
        if self.compare is not None and self.runs:
            raise InputError("compare and runs are two tables; ask for one of them")

    @property
    def compared(self) -> list[str]:
        """The names in `compare`."""
        return [] if self.compare is None else [name.strip() for name in self.compare.split(",")]


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.analysis.tables import format_model
    from lenet_paddle.benchmark.side_by_side import format_models, format_runs

    if args.runs:
        print(format_runs(args.runs, args.format))
    elif args.compare is not None:
        print(
            format_models(
                args.compared, args.format, num_classes=args.num_classes, size=args.input_size
            )
        )
    else:
        print(
            format_model(
                args.model, args.format, num_classes=args.num_classes, size=args.input_size
            )
        )


if __name__ == "__main__":
    run_tool(main)
