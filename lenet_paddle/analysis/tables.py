"""A network's layers as a table for the screen, as Markdown, or as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lenet_paddle.analysis.layers import (
    DEFINITIONS,
    LayerRow,
    analyse_model,
    input_shape,
    totals,
)
from lenet_paddle.data.form import SIZE
from lenet_paddle.tables import (
    Style,
    format_cells,
    format_json,
    format_lines,
    format_notes,
    show_number,
    show_size,
)


def format_model(
    name: str, style: Style, num_classes: int = 10, channels: int = 1, image_size: int = SIZE
) -> str:
    """Analyse the network `name` and format its layers, see `analyse_model`."""
    rows = analyse_model(name, num_classes, channels, image_size)
    return format_layers(name, input_shape(name, channels, image_size), rows, style)


def format_layers(name: str, shape: tuple[int, ...], rows: list[LayerRow], style: Style) -> str:
    """Format the layers of the network `name` for an input of `shape` (C, H, W), with their sums
    and what the words mean."""
    sums = totals(rows)
    if style == "json":
        layers = [_layer_dict(row, sums) for row in rows]
        record = {"model": name, "input_shape": shape, "layers": layers, "totals": sums}
        return format_json({**record, "definitions": DEFINITIONS})
    cells = [_layer_cells(row, sums) for row in rows]
    parts = [
        f"{name}, input {show_size(shape)}",
        format_cells(
            list(cells[0]), [list(row.values()) for row in cells], style, left=("layer", "kind")
        ),
        *format_lines(_total_lines(sums), style),
        *format_notes(DEFINITIONS, style),
    ]
    return "\n\n".join(parts)


def show_field(field: Sequence[float]) -> str:
    """Format a receptive field or stride: one number for a square one, `?` where it is unknown."""
    return show_number(field[0]) if len(set(field)) == 1 else show_size(field)


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
    share = _percent(sums["covered_macs"], sums["macs"])
    lines = [
        f"Total params: {sums['parameters']:,}",
        f"MACs: {sums['macs']:,}",
        f"FLOPs: {sums['flops']:,}",
        f"Depth: {sums['depth']} layers with weights, one after the other",
        f"Receptive field of the last map: {show_field(sums['field'])}",
        f"Activations: {sums['activation_bytes']:,} bytes for a picture",
        f"Weights: {sums['weight_bytes'] / 1e6:.2f} MB (10^6 bytes, float32)",
        f"Own operators in training: {sums['covered']} of {sums['layers']} layers, "
        f"{share} % of the MACs",
    ]
    if sums["frozen"]:
        trainable = sums["parameters"] - sums["frozen"]
        lines.insert(1, f"Trainable: {trainable:,}; non-trainable (frozen): {sums['frozen']:,}")
    if sums["not_trained"]:
        lines.insert(1, f"Running statistics, not trained: {sums['not_trained']:,}")
    if sums["unknown_kinds"]:
        lines.append(f"FLOPs of these kinds are not counted: {', '.join(sums['unknown_kinds'])}")
    return lines
