"""Make the results table true: from seeds.csv of each recipe to the READMEs and the recipes.

  python tools/train.py --config configs/mnist_best.yaml --seeds 0,1,2
  python docs/results.py            # takes output/<recipe>/seeds.csv, where there is a new one

Keeps a copy of each seeds.csv in docs/results/, writes the table between the marks `results` of
both READMEs, and the result into the head of each configs/<recipe>.yaml.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lenet_paddle.config import load_yaml

HEADS = {
    "README.md": ("recipe", "network", "data", "epochs", "test accuracy", "seeds", "minutes"),
    "README.zh-CN.md": ("配方", "网络", "数据", "轮数", "测试准确率", "种子数", "分钟"),
}
TABLE = re.compile(r"(?<=<!-- results -->\n)(.*?)(?=<!-- /results -->)", re.DOTALL)
RESULT = re.compile(r"^# Test accuracy .*\n", re.MULTILINE)


def main() -> None:
    """Copy, then write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    parser.add_argument("--output", type=Path, default=ROOT / "output", help="where the runs are")
    args = parser.parse_args()
    kept = args.root / "docs" / "results"
    for recipe in sorted((args.root / "configs").glob("*.yaml")):
        made = args.output / recipe.stem / "seeds.csv"
        if made.exists():
            shutil.copyfile(made, kept / f"{recipe.stem}.csv")
    write_heads(args.root)
    for page in HEADS:
        path = args.root / page
        before, _, after = TABLE.split(path.read_text(encoding="utf-8"))
        path.write_text(before + format_table(args.root, page) + after, encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a seeds.csv; the last two are mean and standard deviation."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def format_table(root: Path, page: str) -> str:
    """The Markdown table of all results that are kept, the best of each data set first."""
    lines = []
    for path in (root / "docs" / "results").glob("*.csv"):
        *seeds, mean, deviation = read_rows(path)
        recipe = load_yaml(root / "configs" / f"{path.stem}.yaml")
        accuracy = float(mean["test_accuracy"])
        cells = [
            f"[`{path.stem}`](configs/{path.stem}.yaml)",
            f"`{recipe['model']}`",
            f"`{recipe.get('dataset', 'mnist')}`",
            recipe["epochs"],
            f"{accuracy:.4f} ± {float(deviation['test_accuracy']):.4f}",
            len(seeds),
            f"{float(mean['seconds']) / 60:.1f}",
        ]
        row = f"| {' | '.join(map(str, cells))} |\n"
        lines.append((recipe.get("dataset", "mnist") != "mnist", -accuracy, row))
    head = f"| {' | '.join(HEADS[page])} |\n{'| --- ' * len(HEADS[page])}|\n"
    return head + "".join(row for *_, row in sorted(lines))


def write_heads(root: Path) -> None:
    """Put the line with the result behind the other comments at the head of each recipe."""
    for path in sorted((root / "docs" / "results").glob("*.csv")):
        *seeds, mean, deviation = read_rows(path)
        names = ", ".join(row["seed"] for row in seeds)
        accuracy, spread = (float(row["test_accuracy"]) for row in (mean, deviation))
        line = (
            f"# Test accuracy {accuracy:.4f} ± {spread:.4f} (seeds {names}), "
            f"{float(mean['seconds']) / 60:.1f} minutes a seed, two at a time on two cores.\n"
        )
        recipe = root / "configs" / path.with_suffix(".yaml").name
        text = RESULT.sub("", recipe.read_text(encoding="utf-8"))
        start = re.search(r"^[^#]", text, re.MULTILINE)
        assert start is not None, f"{recipe} has no settings"
        at = start.start()
        recipe.write_text(text[:at] + line + text[at:], encoding="utf-8")


if __name__ == "__main__":
    main()
