"""Draw an idea of convolutional networks, or a look into a trained one.

  python tools/visualize.py kernels
  python tools/visualize.py padding --size 32 --kernel 5 --stride 3 --out padding.svg
  python tools/visualize.py architecture --model lenet5
  python tools/visualize.py confusion --run output/lenet_builtin-mnist-001
  python tools/visualize.py curves --run output/first output/second --lang zh

Prints the files written: figures/<what>.png of the run, or <what>.png here; some draw several
figures, convolution a GIF too. --images takes positions of test images, or picture files (samples
and augment take positions only, so does corruptions with --dataset mnist_c).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.visualize import list_figures, visualize


def main() -> None:
    about = f"{__doc__}\nFigures, and the flags that they take:\n\n{list_figures()}\n"
    config = parse_args(VisualizeConfig, about)
    for path in visualize(config):
        print(path)


if __name__ == "__main__":
    run_tool(main)
