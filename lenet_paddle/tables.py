"""Tables as text: aligned columns for the screen, Markdown, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

Style = Literal["table", "json", "markdown"]
Format = Callable[[Any], str]
"""Writes a value as a cell."""


def format_markdown(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a Markdown table whose columns are not aligned, as for a file."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def format_cells(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    style: Literal["table", "markdown"] = "table",
    left: Collection[str] = (),
) -> str:
    """Format a table with aligned columns, as for the screen.

    The columns of the titles in `left` are aligned to the left, the others to the right.
    """
    if style == "markdown":
        rows = [[text.replace("*", "\\*").replace("|", "\\|") for text in row] for row in rows]
    lines = [list(titles), *map(list, rows)]
    widths = [max(2, *map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        [
            text.ljust(width) if title in left else text.rjust(width)
            for text, width, title in zip(line, widths, titles, strict=True)
        ]
        for line in lines
    ]
    if style == "table":
        return "\n".join("  ".join(line) for line in aligned)
    rules = [
        ":" + "-" * (width - 1) if title in left else "-" * (width - 1) + ":"
        for title, width in zip(titles, widths, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [aligned[0], rules, *aligned[1:]])


def format_records(
    records: Sequence[Mapping[str, Any]],
    titles: Mapping[str, tuple[str, Format]],
    style: Style,
    notes: Mapping[str, str],
    left: Collection[str] = (),
) -> str:
    """Format records with equal keys, one in a row, and notes on what the titles mean.

    `titles` gives a key's title and how to write its values (default: the key, and `str`); None
    becomes "-". `left` is as in `format_cells`.
    """
    if style == "json":
        return format_json({"rows": records, "definitions": notes})
    keys = list(records[0])
    columns = [titles.get(key, (key, str)) for key in keys]
    cells = [
        [
            "-" if record[key] is None else write(record[key])
            for key, (_, write) in zip(keys, columns, strict=True)
        ]
        for record in records
    ]
    table = format_cells([title for title, _ in columns], cells, style, left)
    return "\n\n".join([table, *format_notes(notes, style)])


def format_notes(notes: Mapping[str, str], style: Style) -> list[str]:
    """Format notes as one paragraph (in Markdown a list); no paragraph without notes."""
    return format_lines([f"{word}: {meaning}" for word, meaning in notes.items()], style)


def format_lines(lines: Sequence[str], style: Style) -> list[str]:
    """Join lines to one paragraph (in Markdown a list); no paragraph without lines."""
    mark = "- " if style == "markdown" else ""
    return ["\n".join(mark + line for line in lines)] if lines else []


def format_json(value: Any, indent: int | None = 2) -> str:
    """Format a value as JSON, in one line without `indent`; NaN and infinity, which JSON lacks,
    become null."""
    write = partial(json.dumps, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        return write(value)
    except (TypeError, ValueError):  # NaN, or a mapping that is no dict: rare, and slow to look for
        return write(_to_json(value))


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_count(value: int) -> str:
    """Format a count: `61,706`."""
    return f"{value:,}"


def show_number(value: float) -> str:
    """Format a whole number without decimals, any other with one, NaN as `?`."""
    if math.isnan(value):
        return "?"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def show_size(sides: Iterable[float]) -> str:
    """Format sides: `28x28`."""
    return "x".join(show_number(side) for side in sides)
