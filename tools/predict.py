"""Say what pictures show, by a run or by an exported model.

  python tools/predict.py --run output/lenet_builtin-mnist-001 my_digit.jpg scans/
  python tools/predict.py --model output/lenet_builtin-mnist-001/inference my_digit.jpg
  python tools/predict.py --run output/lenet_builtin-mnist-001

Prints a line a picture: file, class, probability, the next best. Without pictures it answers for
the test images 5, 20, 48 and 210 and draws them. A file that cannot be read is reported, the
others are still answered, and the exit status is 1.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.export.engines import EngineChoice


@dataclass(frozen=True)
class Args:
    pictures: Annotated[list[str], tyro.conf.Positional] = field(default_factory=list)
    """Pictures, and folders of pictures."""
    run: str | None = None
    """A run's folder, output/<run>."""
    model: str | None = None
    """An exported folder, output/<run>/inference, instead of a run."""
    checkpoint: str = "best"
    """With --run: best, latest, or one such as epoch_0005."""
    engine: EngineChoice = "auto"
    """With --model: what runs it; auto is the faster one as measured when it was exported."""
    format: Literal["table", "json", "csv"] = "table"
    """How the answers are printed."""
    top_k: int = 3
    """How many classes are named for each picture."""
    figure: bool = False
    """Draw original, what the network saw, and the answer, into predictions.png."""


def main() -> int:
    args = parse_args(Args, __doc__)

    from lenet_paddle.workflows.predict import predict_pictures

    text, failed = predict_pictures(
        *(args.pictures, args.run, args.model, args.checkpoint, args.engine),
        style=args.format,
        top_k=args.top_k,
        figure=args.figure,
    )
    print(text, end="")
    return 1 if failed else 0


if __name__ == "__main__":
    run_tool(main)
