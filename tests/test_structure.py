"""Imports point only to earlier packages; docs/design.md has the order."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lenet_paddle"
ORDER = [  # in the order in which the data passes through them
    *("_version", "errors", "files", "settings", "progress", "tables", "runtime"),
    *("data", "models", "config", "cli", "evaluation", "analysis", "training", "run_folder"),
    *("export", "serve", "figures", "workflows", "benchmark"),
]


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "lenet_paddle":
                names = [alias.name for alias in node.names if alias.name in ORDER]
                modules = [f"lenet_paddle.{name}" for name in names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A name for importlib, or the start of one in an f-string.
            modules = re.findall(r"\Alenet_paddle\.\w+(?=[\w.:]*\Z)", node.value)
        for module in modules:
            if module.startswith("lenet_paddle."):
                yield module.split(".")[1]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_point_to_earlier_packages_only(path):
    package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if package == "__init__":
        return  # the public API names all packages
    for other in imported_packages(path):
        assert ORDER.index(other) <= ORDER.index(package), f"{path} imports {other}"


def test_every_module_public_class_and_function_has_a_docstring():
    """So do public methods, but for those of a subclass, which override, and properties."""
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), path
        if path.parent.name == "tools":
            continue
        classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
        methods = [node for cls in classes if not cls.bases for node in cls.body]
        for node in [*tree.body, *methods]:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name[0] == "_":
                continue
            if not any("property" in ast.unparse(d) for d in node.decorator_list):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_module_names_in_strings_count_as_imports(tmp_path):
    path = tmp_path / "module.py"
    lines = [
        'import_module("lenet_paddle.serve.app")',
        'import_module(f"lenet_paddle.figures.{name}")',
        'print("lenet_paddle.workflows is the place for that")',
    ]
    path.write_text("\n".join(lines))
    assert list(imported_packages(path)) == ["serve", "figures"]
