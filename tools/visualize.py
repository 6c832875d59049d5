"""Draw one idea of a convolutional network, or a look into a trained one.

  python tools/visualize.py kernels
  python tools/visualize.py padding --size 32 --kernel 5 --stride 3 --out padding.svg
  python tools/visualize.py architecture --model lenet5
  python tools/visualize.py confusion --run output/lenet_builtin-mnist-001
  python tools/visualize.py curves --run output/first output/second --lang zh

Prints the files written: figures/<what>.png of the run, or <what>.png here; some draw several, and
convolution a GIF too. --run is needed for what looks into a trained model, and for curves,
confusion, mistakes, calibration and embedding; samples, augment, corruptions, convolution,
pooling, activations, dropout and architecture take one if they get it. --images names positions of
test images, or picture files (samples and augment take positions only, corruptions too with
--dataset mnist_c).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.figures.visualize import VisualizeConfig, visualize


def main() -> None:
    config = parse_args(VisualizeConfig, __doc__)
    for path in visualize(config):
        print(path)


if __name__ == "__main__":
    run_tool(main)
