"""SECURITY.md and the READMEs name only tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_promise_names_a_test_that_exists():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!promise|---).*$", text, re.MULTILINE)
    assert len(rows) > 10 and all("tests/" in row for row in rows)
    for path, name in re.findall(r"`(tests/\w+\.py)::(\w+)`", text):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_every_promise_of_a_readme_names_files_of_tests_that_exist(readme):
    named = set(re.findall(r"`(test_\w+\.py)`", (ROOT / readme).read_text(encoding="utf-8")))
    assert len(named) > 15
    assert named <= {path.name for path in (ROOT / "tests").glob("test_*.py")}
