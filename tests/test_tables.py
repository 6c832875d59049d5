"""Tables come out byte for byte as files and scripts have them."""

import json
import math
from types import MappingProxyType

import pytest

from lenet_paddle.benchmark.compare import format_rows
from lenet_paddle.evaluation.forgetting import format_matrix
from lenet_paddle.tables import (
    format_cells,
    format_json,
    format_markdown,
    format_records,
    show_count,
    show_number,
    show_size,
)

TITLES, ROWS = ["corruption", "n"], [["fog", "1"], ["a|b*", "2,000"]]


def test_columns_are_aligned_to_the_right_or_the_left() -> None:
    assert format_cells(TITLES, ROWS, left=("corruption",)) == (
        "corruption      n\nfog             1\na|b*        2,000"
    )
    assert format_cells(TITLES, ROWS) == ("corruption      n\n       fog      1\n      a|b*  2,000")


def test_aligned_markdown_escapes_what_markdown_reads() -> None:
    assert format_cells(TITLES, ROWS, "markdown", left=("corruption",)) == (
        "| corruption |     n |\n"
        "| :--------- | ----: |\n"
        "| fog        |     1 |\n"
        "| a\\|b\\*     | 2,000 |"
    )


def test_plain_markdown_ends_with_a_line_end() -> None:
    assert format_markdown(["setting", "value"], [("epochs", 5), ("seed", "0")]) == (
        "| setting | value |\n| --- | --- |\n| epochs | 5 |\n| seed | 0 |\n"
    )


def test_records_have_titles_notes_and_a_dash_for_none() -> None:
    records = [{"model": "mlp", "macs": 1000}, {"model": "lenet5", "macs": None}]
    titles, notes = {"macs": ("MACs", show_count)}, {"MACs": "multiply-adds", "b": "c"}
    assert format_records(records, titles, "table", notes, left=("model",)) == (
        "model    MACs\nmlp     1,000\nlenet5      -\n\nMACs: multiply-adds\nb: c"
    )
    assert format_records(records, titles, "markdown", notes, left=("model",)) == (
        "| model  |  MACs |\n| :----- | ----: |\n| mlp    | 1,000 |\n| lenet5 |     - |\n\n"
        "- MACs: multiply-adds\n- b: c"
    )
    assert json.loads(format_records(records, titles, "json", notes)) == {
        "rows": records,
        "definitions": notes,
    }
    assert format_records(records, titles, "table", {}).count("\n") == 2


def test_json_has_null_for_what_it_lacks() -> None:
    text = format_json({"a": (math.nan, 1.5), "b": [math.inf, "猫"]})
    assert json.loads(text) == {"a": [None, 1.5], "b": [None, "猫"]} and "猫" in text
    read_only = MappingProxyType({"a": math.nan})
    assert format_json(read_only, None) == '{"a": null}' == format_json({"a": None}, None)


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "?"), (1234.0, "1,234"), (0.25, "0.2"), (5, "5")]
)
def test_numbers_have_no_needless_decimals(value: float, text: str) -> None:
    assert show_number(value) == text
    assert show_size((28, value)) == f"28x{text}"


def test_a_matrix_of_forgetting_marks_each_own_stage() -> None:
    matrix = {
        "before": {"clean": 0.98, "fog": 0.5},
        "01-fog": {"clean": 0.9, "fog": 0.95},
    }
    assert format_matrix(matrix) == (
        "| test accuracy | clean | fog | mean |\n"
        "| --- | --- | --- | --- |\n"
        "| before | 0.9800 | 0.5000 | 0.5000 |\n"
        "| 01-fog | 0.9000 | **0.9500** | 0.9500 |\n"
    )


def test_a_benchmarks_rows_may_lack_a_column() -> None:
    rows = [{"worker": "ours", "ms_per_step": 1.23456, "data": 0.01}, {"worker": "b"}]
    assert format_rows(rows) == (
        "worker  ms_per_step    data\nours          1.235  0.0100\nb                          "
    )
