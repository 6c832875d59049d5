"""Say what a data set holds before anybody trains, and draw samples of each class.

  python tools/inspect_data.py
  python tools/inspect_data.py --dataset folder --data-dir my_pictures --out pictures.png
  python tools/inspect_data.py --dataset csv --data-dir train.csv

Prints the form of the images, the images of each class and part, range and mean of the values,
copies within and across parts, and pictures that are empty or of unusual brightness or size; at
last the file of the sheet. What is odd about the files is said as in training.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.workflows.inspect_data import InspectConfig, inspect_data


def main() -> None:
    print(inspect_data(parse_args(InspectConfig, __doc__)))


if __name__ == "__main__":
    run_tool(main)
