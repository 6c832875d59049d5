"""Export a run's model, check that it answers as the network does, and measure it.

  python tools/export.py --run output/lenet_builtin-mnist-001
  python tools/export.py --run output/lenet_builtin-mnist-001 --formats paddle,onnx,onnx-int8

Writes the formats with inference.yml and model_card.md into the run's inference/, or --out, and
prints for each the greatest difference to the network on 1,000 test images, the share of equal
answers, its size and its speed. All but paddle need pip install '.[export]', page needs npm too.
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
    formats: str = "paddle"
    """One or more of paddle,onnx,onnx-int8,triton,safetensors,page."""
    out: str | None = None
    """Where to (default: the run's inference/); an older export there is replaced."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.export.export import format_rows
    from lenet_paddle.export.formats import parse_formats
    from lenet_paddle.workflows.export import export_run

    out = None if args.out is None else Path(args.out)
    folder, rows = export_run(Path(args.run), args.checkpoint, parse_formats(args.formats), out)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    print(format_rows(rows))


if __name__ == "__main__":
    run_tool(main)
