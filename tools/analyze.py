"""Analyse a network layer by layer, or compare networks or trained runs.

  python tools/analyze.py --model lenet5
  python tools/analyze.py --model lenet5 --channels 3 --image-size 32
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
from lenet_paddle.data.form import LARGEST, SIZE, SMALLEST
from lenet_paddle.errors import InputError
from lenet_paddle.models import ModelName, check_model
from lenet_paddle.settings import COUNT, PATH, Settings, between


@dataclass(frozen=True)
class Args(Settings):
    model: ModelName | str = "lenet_builtin"
    """The network; vision:NAME takes any classifier of paddle.vision.models."""
    channels: Literal[1, 3] = 1
    """Channels of the pictures for which the networks are built: 1 grey, 3 colour."""
    image_size: Annotated[int, between(SMALLEST, LARGEST, "a whole number")] = SIZE
    """Side of these pictures in pixels; lenet5 pads those below 32."""
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

    form = {
        "num_classes": args.num_classes,
        "channels": args.channels,
        "image_size": args.image_size,
    }
    from lenet_paddle.analysis.tables import format_model
    from lenet_paddle.benchmark.side_by_side import format_models, format_runs

    if args.runs:
        print(format_runs(args.runs, args.format))
    elif args.compare is not None:
        print(format_models(args.compared, args.format, **form))
    else:
        print(format_model(args.model, args.format, **form))


if __name__ == "__main__":
    run_tool(main)
