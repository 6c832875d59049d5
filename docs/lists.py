"""Write the lists of networks, data sets, export formats, figures and flags into the pages.

  python docs/lists.py            # `make docs` runs it at the end

Each list stands between marks, such as `<!-- models:begin -->` and `<!-- models:end -->`, and is
read from the code: a new network, data set, format, figure or flag needs no change here.
chinese.yaml translates the texts for the Chinese pages. The command names each text that it lacks,
which stays English, and a test fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lenet_paddle.settings import read_yaml
from lenet_paddle.tables import format_markdown

Say = Callable[[str], str]
PAGES = [
    f"docs/{page}{suffix}" for page in ("reference", "export") for suffix in (".md", ".zh-CN.md")
]
CHINESE: dict[str, str] = read_yaml(ROOT / "docs" / "chinese.yaml")


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
    for text in find_untranslated():
        print(f"docs/chinese.yaml has no Chinese for: {text}")


def replace_block(text: str, name: str, block: str) -> str:
    """Return `text` with `block` between the marks `name`."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: begin + block + end, text)


def translate(text: str) -> str:
    """Return the Chinese of a text, or the text itself."""
    return CHINESE.get(text, text)


def find_untranslated() -> list[str]:
    """Return the texts that chinese.yaml lacks; code and names such as MIT need no Chinese."""
    texts: dict[str, None] = {}
    for make in LISTS.values():
        make(lambda text: texts.setdefault(text) or text)
    return [
        text
        for text in texts
        if text not in CHINESE and re.search("[a-z]{2}", re.sub("`[^`]*`", "", text))
    ]


def first_line(thing: object) -> str:
    """Return the first line of a docstring up to a semicolon, without a full stop."""
    line = (inspect.getdoc(thing) or "").partition("\n")[0]
    return line.partition("; ")[0].rstrip(".")


def list_models(say: Say) -> str:
    """Return the table of `MODELS`."""
    from lenet_paddle.models import MODELS, build_model, input_size

    rows = []
    for name, record in MODELS.items():
        builder = getattr(importlib.import_module(f"lenet_paddle.models.{record.module}"), name)
        weights = build_model(name).parameters()  # with running statistics, which are not trained
        count = sum(int(weight.size) for weight in weights if not weight.stop_gradient)
        side = input_size(name)
        rows.append([f"`{name}`", say(first_line(builder)), f"{count:,}", f"{side}x{side}"])
    heads = ("network", "parameters", "input")
    return format_markdown(["`--model`", *map(say, heads)], rows)


def list_datasets(say: Say) -> str:
    """Return the table of `DATASETS`."""
    from lenet_paddle.data.datasets import DATASETS

    rows = []
    for name, record in DATASETS.items():
        division = "stratified draw" if record.is_sorted else "the last images"
        content = f"{record.title}: {record.content}" if record.title else record.content
        cells = [content, record.data_dir or "not needed", division, record.licence or "your own"]
        rows.append([f"`{name}`", *map(say, cells)])
    heads = ("what it is", "`--data-dir`", "validation images", "licence")
    return format_markdown(["`--dataset`", *map(say, heads)], rows)


def list_formats(say: Say) -> str:
    """Return the table of `FORMATS`."""
    from lenet_paddle.export.formats import FORMATS

    rows = []
    for name, form in FORMATS.items():
        text = first_line(form.write).removeprefix("Write ")
        rows.append([f"`{name}`", ", ".join(f"`{file}`" for file in form.names), say(text)])
    return format_markdown(["`--formats`", *map(say, ("files", "what they hold"))], rows)


def list_figures(say: Say) -> str:
    """Return the table of `DRAWINGS`."""
    from lenet_paddle.figures.catalog import DRAWINGS

    rows = []
    for name, drawing in DRAWINGS.items():
        text = first_line(drawing.draw).removeprefix("Draw ")
        rows.append([f"`{name}`", say(text), say(drawing.run)])
    return format_markdown([say("figure"), say("draws"), "`--run`"], rows)


def list_flags(say: Say) -> str:
    """Return the table of `TrainConfig`'s groups, in the order of `--help`."""
    from lenet_paddle.config import TrainConfig

    rows = []
    for group in reversed(TrainConfig.__bases__):
        fields = dataclasses.fields(group)
        flags = ", ".join(format_flag(field.name, field.default) for field in fields)
        rows.append([say(group.__name__.removesuffix("Config").lower()), flags])
    return format_markdown([say("group"), say("flags and defaults")], rows)


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
