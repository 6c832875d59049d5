"""tools/predict.py --many: the numbers on pages, in each format and as a figure."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from number_pages import NumberPage, load_digits, make_pages
from PIL import Image
from serve_help import write_model
from tools_help import assert_refused, tool

from lenet_paddle.errors import InputError
from lenet_paddle.export.pages import Page, PageDigit
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.workflows.predict import format_pages, predict_pictures


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of handwritten digits, with classes zero, one and two, that guesses."""
    folder = write_model(tmp_path_factory.mktemp("model"))
    path = folder / "inference.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"preprocess": "digit"}))
    return folder


@pytest.fixture(scope="module")
def page() -> NumberPage:
    [made] = make_pages(load_digits("val"), "plain", 1, seed=6)
    return made


@pytest.fixture
def folder(tmp_path: Path, page: NumberPage) -> Path:
    """A page and a blank sheet."""
    pages = tmp_path / "pages"
    pages.mkdir()
    Image.fromarray(page.picture).convert("RGB").save(pages / "page.png")
    Image.new("L", (300, 200), 255).save(pages / "blank.png")
    return pages


def digit(row: int, number: str, place: int, best: str, p: float, known: bool | None) -> PageDigit:
    return PageDigit(row, number, place, (10 * place, 5, 10 * place + 8, 25), best, p, known)


PAGES = [
    Page("a.png", np.zeros((40, 60), np.uint8), 60, [
        digit(1, "42", 1, "4", 0.98, True), digit(1, "42", 2, "2", 0.93, False),
        digit(1, "7", 1, "7", 0.99, True), digit(2, "31", 1, "3", 0.9, None),
        digit(2, "31", 2, "1", 0.8, None),
    ]),
    Page("blank.png", np.zeros((40, 60), np.uint8), 60, []),
]  # fmt: skip


def test_a_table_has_a_line_for_each_row() -> None:
    assert format_pages(PAGES, "table").splitlines() == [
        "a.png      row 1   42 7  (lowest probability 0.93, 1 unclear)",
        "a.png      row 2   31    (lowest probability 0.80)",
        "blank.png  nothing written",
    ]


def test_json_and_csv_have_every_digit() -> None:
    rows = json.loads(format_pages(PAGES, "json"))
    assert rows[1] == {
        "file": "a.png", "row": 1, "number": "42", "place": 2, "box": [20, 5, 28, 25],
        "class": "2", "probability": 0.93, "is_digit": False,
    }  # fmt: skip
    assert len(rows) == 6 and rows[5]["file"] == "blank.png" and rows[5]["class"] is None
    cells = list(csv.DictReader(io.StringIO(format_pages(PAGES, "csv"))))
    assert len(cells) == 6 and cells[5]["file"] == "blank.png" and cells[5]["left"] == ""
    for cell, row in zip(cells[:5], rows, strict=False):
        box = [int(cell[name]) for name in ("left", "top", "right", "bottom")]
        assert box == row["box"] and float(cell["probability"]) == row["probability"]
        assert (cell["number"], cell["class"]) == (row["number"], row["class"])
        assert cell["is_digit"] == {True: "true", False: "false", None: ""}[row["is_digit"]]


def test_pages_are_read_from_files_and_drawn(
    model: Path, folder: Path, page: NumberPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    pictures = [str(folder), "missing.png"]
    text, failed = predict_pictures(
        pictures, None, str(model), style="json", figure=True, many=True
    )
    rows = json.loads(text)
    assert failed == 1
    assert rows[0]["file"].endswith("blank.png") and rows[0]["box"] is None
    expected = Predictor(model).read_page("", page.picture).digits
    assert [row["box"] for row in rows[1:]] == [list(found.box) for found in expected]
    assert len(expected) > 5
    with Image.open("predictions.png") as figure:
        assert min(figure.size) > 300


def test_numbers_are_read_by_models_of_digits_only(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="expected one of handwritten digits"):
        predict_pictures([str(folder)], None, str(write_model(tmp_path)), many=True)


def test_pages_are_not_turned(model: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="leave it out with many"):
        predict_pictures([str(folder)], None, str(model), rotate="auto", many=True)


def test_without_pages_there_is_one_line(model: Path) -> None:
    done = tool("predict", "--model", model, "--many")
    assert_refused(done, "--many", "give at least one picture")


def test_the_figure_that_cannot_be_written_leaves_the_answers(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("predictions.png").mkdir()
    with caplog.at_level(logging.WARNING):
        text, failed = predict_pictures(
            [str(folder / "blank.png")], None, str(model), figure=True, many=True
        )
    assert failed == 1 and "not drawn" in caplog.text and "nothing written" in text
