"""The results in docs/recipes.md and the recipes are those of the kept tables."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("recipes.md", "recipes.zh-CN.md")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of what docs/results.py reads and writes."""
    for folder in ("configs", "docs/results"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for page in PAGES:
        shutil.copy(ROOT / "docs" / page, tmp_path / "docs")
    return tmp_path


def make(root: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "results.py"), "--root", str(root)]
    command += ["--output", str(root / "output")]
    subprocess.run(command, check=True, capture_output=True, text=True)


def read_all(root: Path) -> dict[str, str]:
    paths = [root / "docs" / page for page in PAGES] + sorted((root / "configs").iterdir())
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def test_pages_and_recipes_show_what_the_kept_tables_hold(copy: Path) -> None:
    before = read_all(copy)
    make(copy)
    assert read_all(copy) == before


def test_a_new_table_is_kept_and_shown(copy: Path) -> None:
    save_table(copy)
    make(copy)
    shown = read_all(copy)
    for page in PAGES:
        [line] = [line for line in shown[page].splitlines() if "configs/mlp.yaml" in line]
        assert line.endswith("| 0.6000 ± 0.1414 | 2 | 2.0 min |")
    assert "# Test accuracy 0.6000 ± 0.1414 (seeds 0, 1), 2.0 min a seed" in shown["mlp.yaml"]
    made, kept = (copy / folder / "mlp" for folder in ("output", "docs/results"))
    assert kept.with_suffix(".csv").read_text() == (made / "seeds.csv").read_text()


@pytest.mark.parametrize(
    ("seeds", "limit", "error"), [((0,), None, "one seed"), ((0, 1), 64, "limit differ")]
)
def test_other_runs_than_the_recipes_are_refused(copy, seeds, limit, error) -> None:
    before = read_all(copy)
    save_table(copy, seeds, limit)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        make(copy)
    assert error in failed.value.stderr and "Traceback" not in failed.value.stderr
    assert read_all(copy) == before


def save_table(root: Path, seeds: tuple[int, ...] = (0, 1), limit: int | None = None) -> None:
    """Write what `tools/train.py --config configs/mlp.yaml --seeds ...` writes."""
    settings = {**yaml.safe_load((ROOT / "configs" / "mlp.yaml").read_text()), "limit": limit}
    for seed in seeds:
        run_dir = root / "output" / f"mlp-seed-{seed}"
        run_dir.mkdir(parents=True)
        (run_dir / "config.yaml").write_text(yaml.safe_dump({**settings, "seed": seed}))
    own = ["0,5,,0.5,1.0,60", "1,5,,0.7,1.0,180"]
    rows = [own[seed] for seed in seeds] + ["mean,5,,0.6,1.0,120", "deviation,0,,0.1414,0,9"]
    (root / "output" / "mlp").mkdir()
    text = "seed,epochs,val_accuracy,test_accuracy,test_loss,seconds\n" + "\n".join(rows) + "\n"
    (root / "output" / "mlp" / "seeds.csv").write_text(text)


def test_every_recipe_but_that_for_own_pictures_has_a_result() -> None:
    recipes = {path.stem for path in (ROOT / "configs").glob("*.yaml")} - {"folder_best"}
    assert recipes == {path.stem for path in (ROOT / "docs" / "results").glob("*.csv")}
