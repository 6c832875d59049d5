"""The results that the READMEs and the recipes tell are those of the kept tables."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "README.zh-CN.md")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What docs/results.py reads and writes."""
    for folder in ("configs", "docs/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for page in PAGES:
        shutil.copy(ROOT / page, tmp_path)
    return tmp_path


def make(root: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "results.py"), "--root", str(root)]
    subprocess.run([*command, "--output", str(root / "output")], check=True)


def read_all(root: Path) -> dict[str, str]:
    paths = [root / page for page in PAGES] + sorted((root / "configs").iterdir())
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def test_readmes_and_recipes_tell_what_the_kept_tables_hold(copy: Path) -> None:
    before = read_all(copy)
    make(copy)
    assert read_all(copy) == before


def test_a_new_table_is_kept_and_told(copy: Path) -> None:
    (copy / "output" / "mlp").mkdir(parents=True)
    rows = ["0,5,,0.5,1.0,60", "1,5,,0.7,1.0,180", "mean,5,,0.6,1.0,120", "deviation,0,,0.1414,0,9"]
    text = "seed,epochs,val_accuracy,test_accuracy,test_loss,seconds\n" + "\n".join(rows) + "\n"
    (copy / "output" / "mlp" / "seeds.csv").write_text(text)
    make(copy)
    told = read_all(copy)
    for page in PAGES:
        [line] = [line for line in told[page].splitlines() if "configs/mlp.yaml" in line]
        assert line.endswith("| 0.6000 ± 0.1414 | 2 | 2.0 |")
    assert "# Test accuracy 0.6000 ± 0.1414 (seeds 0, 1), 2.0 minutes a seed" in told["mlp.yaml"]
    assert (copy / "docs" / "results" / "mlp.csv").read_text() == text


def test_every_recipe_has_a_result() -> None:
    recipes = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert recipes == {path.stem for path in (ROOT / "docs" / "results").glob("*.csv")}
