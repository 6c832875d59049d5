"""Fine-tune a run's network on new data, and measure what it learns and forgets.

  python tools/finetune.py --init-from output/RUN --data-dir mnist_c --freeze 1
  python tools/finetune.py --init-from output/RUN --data-dir mnist_c --mode sequential
  python tools/finetune.py --init-from output/RUN --dataset folder --data-dir my_pictures
  python tools/finetune.py --resume output/NAME          # exactly where it stopped

Prints a line per epoch, and the accuracy on every test set before and after each stage; writes
the stages (each a run), matrix.csv, matrix.md and figures/forgetting.png to output/NAME.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.config import FinetuneConfig
from lenet_paddle.errors import quote, tool_line


def main() -> None:
    config = parse_args(FinetuneConfig, __doc__)

    from lenet_paddle.workflows.finetune import finetune

    folder = finetune(config)
    print((folder / "matrix.md").read_text(encoding="utf-8"))
    print(f"tables:   {quote(folder / 'matrix.csv')}, matrix.md, figures/forgetting.png")
    print(f"run:      {quote(folder / 'final')} (evaluate, predict and export take it as a run)")
    print(f"watch:    {tool_line('monitor', '--logdir', folder / 'stages')}")


if __name__ == "__main__":
    run_tool(main)
