"""Train a network, evaluate it on the test set, and export it.

  python tools/train.py                                  # LeNet on the embedded MNIST
  python tools/train.py --model mlp --epochs 1 --limit 5000 --name quick
  python tools/train.py --dataset folder --data-dir my_pictures --val-size 200
  python tools/train.py --config configs/mnist_best.yaml --seeds 0,1,2   # and a table of results

Prints a line per epoch, the test accuracy (0.98 or more with the defaults) and the run's folder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.config import TrainConfig
from lenet_paddle.errors import quote, tool_line


def main() -> None:
    config = parse_args(TrainConfig, __doc__)

    if config.seeds is not None:
        from lenet_paddle.workflows.seeds import run_seeds

        folder = run_seeds(config)
        print((folder / "seeds.md").read_text(encoding="utf-8"))
        print(f"tables:   {quote(folder / 'seeds.csv')} and seeds.md")
        return

    from lenet_paddle.workflows.train import train_and_evaluate

    result = train_and_evaluate(config)
    if "accuracy" not in result:  # a rank other than 0
        return
    run_dir = result["run_dir"]
    print(f"run:      {quote(run_dir)} (checkpoints/best, history.csv, metrics.json, figures/)")
    print(f"export:   {quote(run_dir + '/inference')} (inference.json, .pdiparams, .yml)")
    print(f"watch:    {tool_line('monitor', '--logdir', run_dir)}")


if __name__ == "__main__":
    run_tool(main)
