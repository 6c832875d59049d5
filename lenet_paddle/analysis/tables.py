"""Rows of figures as text: a table for the screen, Markdown, or JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lenet_paddle.analysis.layers import DEFINITIONS, LayerRow, totals

Style = Literal["table", "json", "markdown"]
Format = Callable[[Any], str]

# What is text stands on the left, numbers on the right.
_LEFT = ("layer", "kind", "model", "run", "corruption")


def format_layers(name: str, shape: tuple[int, ...], rows: list[LayerRow], style: Style) -> str:
    """The layers of the network `name` for an input of `shape` (C, H, W), their sums, and what
    the words mean."""
    sums = totals(rows)
    if style == "json":
        layers = [_layer_dict(row, sums) for row in rows]
        record = {"model": name, "input_shape": shape, "layers": layers, "totals": sums}
        return to_json({**record, "definitions": DEFINITIONS})
    cells = [_layer_cells(row, sums) for row in rows]
    parts = [
        f"{name}, input {show_size(shape)}",
        format_cells(list(cells[0]), [list(row.values()) for row in cells], style),
        *_bulleted(_total_lines(sums), style),
        *_bulleted([f"{word}: {meaning}" for word, meaning in DEFINITIONS.items()], style),
    ]
    return "\n\n".join(parts)


def format_records(
    records: Sequence[Mapping[str, Any]],
    titles: Mapping[str, tuple[str, Format]],
    style: Style,
    notes: Mapping[str, str],
) -> str:
    """Records with equal keys, one a line. `titles` gives a key's title and how its values are
    written (another key keeps its name, and `str`); `notes` say what the titles mean."""
    if style == "json":
        return to_json({"rows": records, "definitions": notes})
    keys = list(records[0])
    columns = [titles.get(key, (key, str)) for key in keys]
    cells = [
        [
            "-" if record[key] is None else write(record[key])
            for key, (_, write) in zip(keys, columns, strict=True)
        ]
        for record in records
    ]
    table = format_cells([title for title, _ in columns], cells, style)
    lines = [f"{word}: {meaning}" for word, meaning in notes.items()]
    return "\n\n".join([table, *_bulleted(lines, style)])


def format_cells(titles: Sequence[str], cells: Sequence[Sequence[str]], style: Style) -> str:
    """A table with aligned columns; in Markdown with pipes."""
    if style == "markdown":
        cells = [[text.replace("*", "\\*").replace("|", "\\|") for text in row] for row in cells]
    widths = [max(2, *map(len, column)) for column in zip(titles, *cells, strict=True)]
    lines = [
        [
            text.ljust(width) if title in _LEFT else text.rjust(width)
            for text, width, title in zip(line, widths, titles, strict=True)
        ]
        for line in [titles, *cells]
    ]
    if style == "table":
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rules = [
        ":" + "-" * (width - 1) if title in _LEFT else "-" * (width - 1) + ":"
        for title, width in zip(titles, widths, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rules, *lines[1:]])


def to_json(value: Any) -> str:
    """Indented JSON; NaN and infinity, which JSON has not, become null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def show_size(sides: Sequence[float]) -> str:
    """`28x28`, or `5` for a square one when `sides` are of a receptive field."""
    return "x".join(show_number(side) for side in sides)


def show_field(field: Sequence[float]) -> str:
    """A receptive field or stride: one number for a square one, `?` where it is not known."""
    return show_number(field[0]) if len(set(field)) == 1 else show_size(field)


def show_number(value: float) -> str:
    """A whole number without, another with one decimal place."""
    if math.isnan(value):
        return "?"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def show_count(value: int) -> str:
    """`61,706`."""
    return f"{value:,}"


def _layer_cells(row: LayerRow, sums: Mapping[str, Any]) -> dict[str, str]:
    parameters = f"{row.formula} = {row.parameters:,}" if row.formula else "0"
    if row.not_trained:
        parameters += f" (+{row.formula} running)"
    return {
        "layer": row.name,
        "kind": row.kind,
        "output": show_size(row.output_shape),
        "parameters": parameters,
        "% of params": _percent(row.parameters, sums["parameters"]),
        "MACs": f"{row.macs:,}",
        "% of MACs": _percent(row.macs, sums["macs"]),
        "FLOPs": f"{row.flops:,}" if row.is_counted else "?",
        "field": show_field(row.field),
        "stride": show_field(row.stride) if row.stride else "-",
        "memory": f"{row.memory:,}",
    }


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if part else "0"


def _layer_dict(row: LayerRow, sums: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **dataclasses.asdict(row),
        "share_of_parameters": row.parameters / max(sums["parameters"], 1),
        "share_of_macs": row.macs / max(sums["macs"], 1),
    }


def _total_lines(sums: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Total params: {sums['parameters']:,}",
        f"MACs: {sums['macs']:,}",
        f"FLOPs: {sums['flops']:,}",
        f"Depth: {sums['depth']} layers with weights, one after the other",
        f"Receptive field of the last map: {show_field(sums['field'])}",
        f"Activations: {sums['activation_bytes']:,} bytes for a picture",
        f"Weights: {sums['weight_bytes'] / 1e6:.2f} MB (10^6 bytes, float32)",
    ]
    if sums["frozen"]:
        trainable = sums["parameters"] - sums["frozen"]
        lines.insert(1, f"Trainable: {trainable:,}; non-trainable (frozen): {sums['frozen']:,}")
    if sums["not_trained"]:
        lines.insert(1, f"Running statistics, not trained: {sums['not_trained']:,}")
    if sums["unknown_kinds"]:
        lines.append(f"FLOPs of these kinds are not counted: {', '.join(sums['unknown_kinds'])}")
    return lines


def _bulleted(lines: Sequence[str], style: Style) -> list[str]:
    mark = "- " if style == "markdown" else ""
    return ["\n".join(mark + line for line in lines)] if lines else []


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
