"""Export a run's model, check its predictions against the network's, and measure it.

  python tools/export.py --run output/lenet_builtin-mnist-001
  python tools/export.py --run output/lenet_builtin-mnist-001 --formats paddle,onnx,onnx-int8

Writes the formats with inference.yml and model_card.md into the run's inference/, or --out.
Prints for each the largest difference of a logit on 1,000 test images, the share of equal
predictions, size and speed. All but paddle need pip install '.[export]'; page needs npm too.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.export.formats import FORMATS, parse_formats
from lenet_paddle.settings import PATH

HELP = f"One or more of {','.join(FORMATS)}."


@dataclass(frozen=True)
class Args:
    run: Annotated[str, PATH]
    """The run's folder, output/<run>."""
    checkpoint: str = "best"
    """best, latest, or one such as epoch_0005."""
    formats: Annotated[str, tyro.conf.arg(help=HELP)] = "paddle"
    out: Annotated[str | None, PATH] = None
    """The folder to write (default: the run's inference/); an older export there is replaced."""
    compare: Annotated[str | None, PATH] = None
    """Another export with onnx, output/<run>/inference, that the page shows beside this one."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.export.export import format_rows
    from lenet_paddle.workflows.export import export_run

    out = None if args.out is None else Path(args.out)
    compare = None if args.compare is None else Path(args.compare)
    formats = parse_formats(args.formats)
    folder, rows = export_run(Path(args.run), args.checkpoint, formats, out, compare)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    print(format_rows(rows))


if __name__ == "__main__":
    run_tool(main)
