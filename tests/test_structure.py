"""Imports point only to earlier packages; docs/design.md has the order."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lenet_paddle"
ORDER = [  # in the order in which the data passes through them
    *("_version", "errors", "tables", "files", "settings", "progress", "runtime"),
    *("data", "kernels", "models", "config", "cli", "evaluation", "analysis", "training"),
    *("run_folder", "export", "serve", "figures", "workflows", "benchmark"),
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


_ON_WINDOWS = """
import builtins, importlib, pkgutil, runpy, signal, sys
from pathlib import Path
kept = builtins.__import__
def imported(name, globals=None, *rest):
    ours = (globals or {}).get("__name__", "").partition(".")[0] in ("lenet_paddle", "tool")
    if ours and name in ("fcntl", "resource", "pwd", "grp", "termios", "posix"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return kept(name, globals, *rest)
builtins.__import__ = imported
import lenet_paddle
for module in pkgutil.walk_packages(lenet_paddle.__path__, "lenet_paddle."):
    if not module.name.startswith("lenet_paddle.benchmark.peers"):
        importlib.import_module(module.name)
for tool in Path("tools").glob("*.py"):
    runpy.run_path(str(tool), run_name="tool")
print("imported")
"""


def test_every_module_imports_without_those_that_windows_lacks():
    """Only these modules are hidden, and only from the project: nothing runs on Windows here."""
    done = subprocess.run(
        [sys.executable, "-c", _ON_WINDOWS], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "imported", done.stderr


def test_what_posix_alone_has_is_used_behind_a_check():
    """`if sys.platform`, `hasattr` or `getattr` with a default; forks are in no module."""
    names = r"os\.(killpg|fork|getuid|geteuid|O_NONBLOCK|O_NOCTTY|sync|mkfifo)|"
    names += r"signal\.(SIGKILL|SIGHUP|pthread_sigmask|alarm)|\b(fcntl|resource|pwd)\.\w+"
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.search(names, line.partition("#")[0]):
                before = "\n".join(lines[max(0, number - 6) : number])
                assert 'sys.platform == "win32"' in before or "sys.platform !=" in before, path
