"""Run the tutorials, and write their outputs and figures into them.

  python docs/make.py                     # `make docs` runs it; some minutes
  python docs/make.py --quick --docs DIR  # on few images, in a copy of this folder: a test

Run every ```bash and ```python block of tutorial.md and tutorial.zh-CN.md in order in one temporary
folder, and replace the ```text block after it with its output: names of pictures and where a run
lies are left out, legends of tables are folded. Copy pictures that a block or its output names and
the page shows into figures/ (figures/zh/ for Chinese text). At the end run the notebooks from top
to bottom and keep their outputs.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"tutorial.md": "figures", "tutorial.zh-CN.md": "figures/zh"}
NOTEBOOKS = ("tutorial.ipynb", "tutorial.zh-CN.ipynb")
MORE = {"tutorial.md": "the rest of the output", "tutorial.zh-CN.md": "其余输出"}
_TEXT = r"(?:\n```text\n.*?```\n)?"
_FOLDED = r"(?:\n<details><summary>(?:%s)</summary>\n%s\n</details>\n)?"
BLOCK = re.compile(
    r"```(bash|python)\n(.*?)```\n" + _TEXT + _FOLDED % ("|".join(MORE.values()), _TEXT), re.DOTALL
)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
# Lines that depend on the machine: on its speed, and on what it has built before.
PASSING = re.compile(r"epoch \d+/\d+  step |.*building operators|[IW]\d{4} ")
LEFT_OUT = re.compile(r"\S+\.(png|gif)$|(run|export|watch): {2,}")  # what was written, and where
REST = re.compile(  # the legend below a table
    r"(parameters|MACs|FLOPs|depth|field|activations B|weights MB|ms/image"
    r"|settings|test|val|seconds|images/s|stride|memory|not counted): (?![\d,]+$)"
)
QUICK = " --limit 320 --epochs 1"  # the last of a repeated flag counts


def main() -> None:
    """Make both pages, then the notebook."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the pages' folder")
    parser.add_argument("--quick", action="store_true", help="few images, and no notebook")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    docs = args.docs.resolve()
    with tempfile.TemporaryDirectory(prefix="tutorial-") as folder:
        place = Path(folder)
        for name in ("tools", "lenet_paddle"):
            (place / name).symlink_to(ROOT / name)
        printed: dict[str, str] = {}
        for page, figures in PAGES.items():
            make_page(docs / page, docs / figures, place, printed, args.quick)
        check_pictures(docs)
        if not args.quick:
            for name in NOTEBOOKS:
                if (docs / name).is_file():
                    run_notebook(docs / name, place)


def make_page(page: Path, figures: Path, place: Path, printed: dict[str, str], quick: bool) -> None:
    """Run the page's blocks and rewrite it.

    `printed` keeps the output of each block, so that a block of both pages runs once.
    """
    text = page.read_text(encoding="utf-8")
    shown = {page.parent / link for link in PICTURE.findall(text)}

    def run_block(match: re.Match[str]) -> str:
        language, code = match.groups()
        if code not in printed:
            print(f"{page.name}: {code.splitlines()[0]}", flush=True)
            printed[code] = run(language, code, place, quick)
            copy_pictures(code + printed[code], place, figures, shown)
        return f"```{language}\n{code}```\n" + show(
            printed[code], MORE[page.name] if language == "bash" else ""
        )

    page.write_text(BLOCK.sub(run_block, text), encoding="utf-8")


def show(output: str, more: str) -> str:
    """Return the output as blocks of the page, lines of little interest folded below `more`."""
    lines = [line for line in output.splitlines() if not LEFT_OUT.match(line)]
    rest = [line for line in lines if more and REST.match(line)]
    parts = [[line for line in lines if line not in rest], rest]
    shown, folded = ("\n".join(part).strip("\n") for part in parts)
    text = f"\n```text\n{shown}\n```\n" if shown else ""
    if folded:
        text += f"\n<details><summary>{more}</summary>\n\n```text\n{folded}\n```\n\n</details>\n"
    return text


def run(language: str, code: str, place: Path, quick: bool) -> str:
    """Run a block in `place` and return its output. Exit with an error when the block fails."""
    if language == "python":
        code = re.sub(r"(\.fit\(.*?)verbose=", r"\1num_iters=5, verbose=", code) if quick else code
        command = [sys.executable, "-W", "ignore", "-c", code]
    else:
        lines = [hasten(line) for line in code.splitlines()] if quick else [code]
        python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\n'
        command = ["bash", "-ec", python + "\n".join(lines)]
    process = subprocess.Popen(
        command,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    if "tools/monitor.py" in code:  # serves until Ctrl-C; its first line has the address
        output = process.stdout.readline()
        os.killpg(process.pid, signal.SIGTERM)  # a background job ignores SIGINT
        process.wait()
        failed = "http" not in output
    else:
        output = process.communicate()[0]
        failed = process.returncode != 0
    if failed:
        sys.exit(f"make.py: error: this failed with status {process.returncode}:\n{code}{output}")
    lines = output.replace(f"{place}/", "").splitlines()
    return "".join(line.rstrip() + "\n" for line in lines if not PASSING.match(line))


def hasten(line: str) -> str:
    """Return the command for few images; give a server a free port."""
    if "tools/train.py" in line:
        return line + QUICK
    if "tools/monitor.py" in line:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"{line} --port {probe.getsockname()[1]}"
    return line


def copy_pictures(text: str, place: Path, figures: Path, shown: set[Path]) -> None:
    """Copy each picture that a block or its output names and the page shows, with few colours."""
    for word in re.findall(r"[^\s\"']+\.(?:png|gif)", text):
        target = figures / Path(word).name
        if target in shown and (place / word).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            data = (place / word).read_bytes()
            target.write_bytes(shrink(data) if target.suffix == ".png" else data)


def shrink(png: bytes) -> bytes:
    """Return the picture with at most 256 colours."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        palette = picture.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
        palette.save(small, "PNG", optimize=True)
    return min(png, small.getvalue(), key=len)


def check_pictures(docs: Path) -> None:
    """Exit with an error if a page's picture is missing; remove pictures that no page shows."""
    texts = [(docs / page).read_text(encoding="utf-8") for page in PAGES]
    shown = {docs / link for text in texts for link in PICTURE.findall(text)}
    missing = sorted(str(path) for path in shown if not path.is_file())
    if missing:
        sys.exit(f"make.py: error: no command made {', '.join(missing)}")
    for path in (docs / "figures").rglob("*.*"):
        if path not in shown:
            path.unlink()


def run_notebook(path: Path, place: Path) -> None:
    """Run the notebook in `place` and keep its outputs, pictures with a small palette."""
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError:
        sys.exit("make.py: error: the notebook needs pip install '.[notebook]'; the pages are done")
    print(path.name, flush=True)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(place)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran: differs at every run
        if cell.cell_type == "code":  # progress: its times differ at every run
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                png = shrink(base64.b64decode(data["image/png"]))
                data["image/png"] = base64.b64encode(png).decode()
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
