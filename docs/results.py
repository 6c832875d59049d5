"""Take the results of recipes from output/ into docs/recipes.md and the recipes.

  python tools/train.py --config configs/mnist_best.yaml --seeds 0,1,2
  python docs/results.py            # reads each new output/<recipe>/seeds.csv

Copies each seeds.csv to docs/results/, writes the table between the marks `results` of
docs/recipes.md and docs/recipes.zh-CN.md, and the result into the head of configs/<recipe>.yaml.
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

from lists import replace_block

from lenet_paddle.settings import read_yaml
from lenet_paddle.tables import format_markdown

HEADS = {
    "recipes.md": ("recipe", "network", "data", "epochs", "test accuracy", "seeds", "time"),
    "recipes.zh-CN.md": ("配方", "网络", "数据", "轮数", "测试准确率", "种子数", "用时"),
}
RESULT = re.compile(r"^# Test accuracy .*\n", re.MULTILINE)


def main() -> None:
    """Copy new tables, then write the pages and the recipes."""
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
            check_runs(args.output, recipe, read_rows(made)[:-2])
            shutil.copyfile(made, kept / f"{recipe.stem}.csv")
    write_heads(args.root)
    for page in HEADS:
        path = args.root / "docs" / page
        text = path.read_text(encoding="utf-8")
        path.write_text(replace_block(text, "results", make_table(args.root, page)), "utf-8")


def check_runs(output: Path, recipe: Path, rows: list[dict[str, str]]) -> None:
    """Exit with an error unless these rows come from two or more runs of the recipe."""
    if len(rows) < 2:
        sys.exit(f"results.py: error: {recipe.stem}: one seed has no spread; train two or more")
    wanted = {"limit": None, **read_yaml(recipe)}
    wanted.pop("init_from", None)  # there it is a file's full name
    for row in rows:
        run_dir = output / f"{recipe.stem}-seed-{row['seed']}"
        found = read_yaml(run_dir / "config.yaml")
        other = [key for key in wanted if found.get(key) != wanted[key]]
        if other:
            names = ", ".join(other)
            sys.exit(f"results.py: error: {run_dir} is not the recipe's ({names} differ)")


def format_seconds(seconds: float) -> str:
    """Return the time as 8.4 min, or 19 s."""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a seeds.csv; the last two are mean and standard deviation."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make_table(root: Path, page: str) -> str:
    """Return the Markdown table of all kept results, MNIST first, by accuracy."""
    rows = []
    for path in (root / "docs" / "results").glob("*.csv"):
        *seeds, mean, deviation = read_rows(path)
        recipe = read_yaml(root / "configs" / f"{path.stem}.yaml")
        accuracy = float(mean["test_accuracy"])
        cells = [
            f"[`{path.stem}`](../configs/{path.stem}.yaml)",
            f"`{recipe['model']}`",
            f"`{recipe.get('dataset', 'mnist')}`",
            recipe["epochs"],
            f"{accuracy:.4f} ± {float(deviation['test_accuracy']):.4f}",
            len(seeds),
            format_seconds(float(mean["seconds"])),
        ]
        rows.append((recipe.get("dataset", "mnist") != "mnist", -accuracy, cells))
    return format_markdown(HEADS[page], [cells for *_, cells in sorted(rows)])


def write_heads(root: Path) -> None:
    """Write the line with the result after the other comments at the head of each recipe."""
    for path in sorted((root / "docs" / "results").glob("*.csv")):
        *seeds, mean, deviation = read_rows(path)
        names = ", ".join(row["seed"] for row in seeds)
        accuracy, spread = (float(row["test_accuracy"]) for row in (mean, deviation))
        line = (
            f"# Test accuracy {accuracy:.4f} ± {spread:.4f} (seeds {names}), "
            f"{format_seconds(float(mean['seconds']))} a seed.\n"
        )
        recipe = root / "configs" / path.with_suffix(".yaml").name
        text = RESULT.sub("", recipe.read_text(encoding="utf-8"))
        start = re.search(r"^[^#]", text, re.MULTILINE)
        assert start is not None, f"{recipe} has no settings"
        at = start.start()
        recipe.write_text(text[:at] + line + text[at:], encoding="utf-8")


if __name__ == "__main__":
    main()
