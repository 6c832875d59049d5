"""Write the lists of networks, data sets, export formats, figures and flags into the pages.

  python docs/lists.py            # `make docs` runs it at the end

Each list stands between marks, such as `<!-- models:begin -->` and `<!-- models:end -->`, and is
read from the code: a new network, data set, format, figure or flag needs no change here. A text
that `CHINESE` lacks stays English on the Chinese page.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Say = Callable[[str], str]
PAGES = [
    f"docs/{page}{suffix}" for page in ("reference", "export") for suffix in (".md", ".zh-CN.md")
]
CHINESE: dict[str, str] = {}


def main() -> None:
    """Rewrite every list of every page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    args = parser.parse_args()
    for page in PAGES:
        path = args.root / page
        text = path.read_text(encoding="utf-8")
        for name, make in LISTS.items():
            if f"<!-- {name}:begin -->" in text:
                text = replace_block(text, name, make(translate if "zh-CN" in page else str))
        path.write_text(text, encoding="utf-8")


def replace_block(text: str, name: str, block: str) -> str:
    """Return `text` with `block` between the marks `name`."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: begin + block + end, text)


def translate(text: str) -> str:
    """Return the Chinese of a text, or the text itself."""
    return CHINESE.get(text, text)


def format_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def first_line(thing: object) -> str:
    """Return the first line of a docstring up to a semicolon, without a full stop."""
    line = (inspect.getdoc(thing) or "").partition("\n")[0]
    return line.partition("; ")[0].rstrip(".")


def list_models(say: Say) -> str:
    """Return the table of `MODELS`: name, what it is, parameters, input."""
    from lenet_paddle.models import MODELS, build_model

    rows = []
    for name, (build, side) in MODELS.items():
        weights = build_model(name).parameters()  # with running statistics, which are not trained
        parameters = sum(int(weight.size) for weight in weights if not weight.stop_gradient)
        rows.append([f"`{name}`", say(first_line(build)), f"{parameters:,}", f"{side}x{side}"])
    heads = ("`--model`", "network", "parameters", "input")
    return format_table([say(head) for head in heads], rows)


def list_datasets(say: Say) -> str:
    """Return the table of `DATASETS`."""
    from lenet_paddle.data import DATASETS

    return format_table(["`--dataset`"], [[f"`{name}`"] for name in DATASETS])


def list_formats(say: Say) -> str:
    """Return the table of `WRITERS`: the name and what it writes."""
    from lenet_paddle.export.formats import WRITERS

    rows = [[f"`{name}`", say(first_line(write))] for name, write in WRITERS.items()]
    return format_table([say("`--formats`"), say("writes")], rows)


def list_figures(say: Say) -> str:
    """Return the table of figures: name and what it draws."""
    return ""


def list_flags(say: Say) -> str:
    """Return the table of groups of settings, with each flag's default."""
    from lenet_paddle.config import TrainConfig

    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    rows = []
    for group in reversed(TrainConfig.__mro__):
        names = [name for name in vars(group).get("__annotations__", {}) if name in fields]
        if names:
            flags = [format_flag(name, fields.pop(name).default) for name in names]
            rows.append([say(first_line(group)), ", ".join(flags)])
    return format_table([say("group"), say("flags")], rows)


def format_flag(name: str, default: object) -> str:
    """Return `--name default` as code; without a default where that is none, or a switch."""
    shown = "" if default is None or isinstance(default, bool) else f" {default}"
    return f"`--{name.replace('_', '-')}{shown}`"


LISTS: dict[str, Callable[[Say], str]] = {
    "models": list_models,
    "datasets": list_datasets,
    "formats": list_formats,
    "figures": list_figures,
    "flags": list_flags,
}

if __name__ == "__main__":
    main()
