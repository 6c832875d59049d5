"""Classify pictures with a run or with an exported model.

  python tools/predict.py --run output/lenet_builtin-mnist-001 my_digit.jpg scans/
  python tools/predict.py --model output/lenet_builtin-mnist-001/inference my_digit.jpg
  python tools/predict.py --run output/lenet_builtin-mnist-001
  python tools/predict.py --run output/lenet_builtin-mnist-001 --many page.jpg

Prints a line per picture: file, class, probability, the next best; or `unclear  perhaps ...` where
a calibrated run sees no digit. Without pictures it classifies and draws the test images 5, 20, 48
and 210. A file that cannot be read is reported, the others are still classified, and the exit
status is 1.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.export.engines import EngineChoice
from lenet_paddle.export.predictor import Rotate
from lenet_paddle.figures.words import Lang
from lenet_paddle.settings import PATH


@dataclass(frozen=True)
class Args:
    pictures: Annotated[list[str], tyro.conf.Positional, PATH] = field(default_factory=list)
    """Pictures, and folders of pictures with those below."""
    run: Annotated[str | None, PATH] = None
    """A run's folder, output/<run>."""
    model: Annotated[str | None, PATH] = None
    """An exported folder, output/<run>/inference, instead of a run."""
    checkpoint: str = "best"
    """With --run: best, latest, or one such as epoch_0005."""
    engine: EngineChoice = "auto"
    """With --model: the engine; auto is the faster one, as measured at the export."""
    format: Literal["table", "json", "csv"] = "table"
    """Output format."""
    top_k: int = 3
    """Classes named per picture; with --many it is one."""
    rotate: Rotate = "none"
    """auto: try the four turns by 90 degrees; costs answers for pictures that are upright."""
    figure: bool = False
    """Draw each picture, the network's input and the prediction into predictions.png."""
    lang: Lang = "en"
    """With --figure: the language of the figure; zh needs a Chinese font."""
    many: bool = False
    """Find all digits of each picture and join them into numbers, a line per row."""


def main() -> int:
    args = parse_args(Args, __doc__)

    from lenet_paddle.workflows.predict import predict_pictures

    text, failed = predict_pictures(
        args.pictures,
        run=args.run,
        model=args.model,
        checkpoint=args.checkpoint,
        engine=args.engine,
        style=args.format,
        top_k=args.top_k,
        figure=args.figure,
        rotate=args.rotate,
        many=args.many,
        lang=args.lang,
    )
    print(text, end="")
    return 1 if failed else 0


if __name__ == "__main__":
    run_tool(main)
