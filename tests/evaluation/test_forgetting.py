"""The matrix of forgetting: its measures, its file, its table."""

import pytest

from lenet_paddle.evaluation.forgetting import (
    format_matrix,
    measure_forgetting,
    read_matrix,
    write_matrix,
)

MATRIX = {
    "before": {"clean": 0.98, "fog": 0.5, "shear": 0.9, "stripe": 0.3},
    "01-fog": {"clean": 0.9, "fog": 0.95, "shear": 0.8, "stripe": 0.2},
    "02-shear": {"clean": 0.95, "fog": 0.7, "shear": 0.85, "stripe": 0.25},
    "03-stripe": {"clean": 0.8, "fog": 0.75, "shear": 0.6, "stripe": 0.9},
}


def test_forgetting_is_what_was_known_after_the_own_stage_and_at_best_minus_the_end():
    since_own, since_best = measure_forgetting(MATRIX)
    assert since_own == pytest.approx(((0.95 - 0.75) + (0.85 - 0.6)) / 2)
    assert since_best == pytest.approx(((0.95 - 0.75) + (0.9 - 0.6)) / 2)
    first = dict(list(MATRIX.items())[:2])
    assert measure_forgetting(first) is None
    text = format_matrix(MATRIX)
    assert "| 02-shear | 0.9500 | 0.7000 | **0.8500** | 0.2500 | 0.6000 |\n" in text
    assert "Forgetting: 0.2250" in text and "0.2500 against" in text


def test_the_table_is_read_back_as_it_was_and_never_half(tmp_path):
    path, names = tmp_path / "matrix.csv", list(MATRIX["before"])
    write_matrix(path, MATRIX)
    assert read_matrix(path, names) == MATRIX
    assert list(read_matrix(path, names)) == list(MATRIX)
    assert read_matrix(path, names[:2]) == {}  # of other test sets
    assert read_matrix(tmp_path / "none.csv", names) == {}
    for damage in ("0.95,x,0.85", "0.95,7.0,0.85", "0.95"):
        path.write_text(f"stage,{','.join(names)},mean\nbefore,{damage}\n")
        assert read_matrix(path, names) == {}
