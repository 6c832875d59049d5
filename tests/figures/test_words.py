"""Both languages, fonts, and numbers in cells."""

from __future__ import annotations

import ast
import string
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from figures_help import refusal
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from lenet_paddle.figures import style
from lenet_paddle.figures.grid import Cells, plain, two_places
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.results.confusion import plot_confusion
from lenet_paddle.figures.results.embedding import plot_embedding
from lenet_paddle.figures.results.mistakes import plot_mistakes
from lenet_paddle.figures.results.samples import plot_samples
from lenet_paddle.figures.results.thresholds import plot_roc
from lenet_paddle.figures.visualize import visualize
from lenet_paddle.figures.words import language, say

PACKAGE = Path(__file__).resolve().parents[2] / "lenet_paddle"


def _cached(fonts: list[str]) -> Any:
    families = lambda: fonts  # noqa: E731
    families.cache_clear = lambda: None  # type: ignore[attr-defined]
    return families


def test_a_figure_does_not_depend_on_the_users_settings_of_matplotlib(tmp_path: Path) -> None:
    plain_file, own_file = tmp_path / "plain.png", tmp_path / "own.png"
    visualize(VisualizeConfig("padding", out=str(plain_file)))
    own: Any = {
        **{"text.usetex": True, "axes.grid": True, "lines.linewidth": 9, "savefig.bbox": "tight"},
        **{"font.size": 30, "savefig.format": "pdf", "image.origin": "lower", "figure.dpi": 300},
    }
    with matplotlib.rc_context(own):
        visualize(VisualizeConfig("padding", out=str(own_file)))
        assert matplotlib.rcParams["text.usetex"] is True  # and they are left as they were
    assert own_file.read_bytes() == plain_file.read_bytes()


@pytest.mark.skipif(not style.find_chinese_font(), reason="no Chinese font is installed")
def test_chinese_figures_have_chinese_titles_and_no_missing_glyph(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    visualize(VisualizeConfig("padding", lang="zh", stride=2, out=str(tmp_path / "a.svg")))
    visualize(VisualizeConfig("dropout", lang="zh", out=str(tmp_path / "b.pdf")))
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_cells_write_the_numbers_legibly() -> None:
    axes = Figure().subplots()
    cells = Cells(axes, np.array([[-1.0, np.nan], [0.0, 2.0]]), limits=(-2, 2), cmap="gray")
    texts = {place: (t.get_text(), t.get_color()) for place, t in cells.texts.items()}
    assert texts[0, 0] == ("-1", "white") and texts[1, 1] == ("2", "black")
    assert texts[0, 1][0] == ""
    cells.show(np.ones((2, 2)))
    assert cells.texts[0, 1].get_text() == "1"
    assert [plain(v) for v in (-1016.0, 0.5, -0.0)] == ["-1016", "0.5", "0"]
    assert [two_places(v) for v in (-0.001, 7 / 9)] == ["0.00", "0.78"]


def _pairs() -> list[tuple[str, str]]:
    """Every English text in the package with its Chinese."""
    return [
        tuple(ast.literal_eval(text) for text in node.args[:2])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "say"
        and isinstance(node.args[0], ast.Constant)
    ]


def test_the_chinese_fills_in_the_same_values() -> None:
    assert len(_pairs()) > 150
    for pair in _pairs():
        english, chinese = (
            {f"{name}:{spec}" for _, name, spec, _ in string.Formatter().parse(text) if name}
            for text in pair
        )
        assert english == chinese, pair


def test_say_speaks_the_language_of_its_block() -> None:
    assert say("draw {n}", "第 {n} 次抽样", n=2) == "draw 2"
    with language("zh"):
        assert say("draw {n}", "第 {n} 次抽样", n=2) == "第 2 次抽样"
        assert (say("value", "函数值"), say("value", "像素值")) == ("函数值", "像素值")
    assert say("draw {n}", "第 {n} 次抽样", n=2) == "draw 2"


def test_chinese_without_a_font_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_font_families", _cached(["DejaVu Sans"]))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    assert "fonts-noto-cjk" in refusal("padding", "--lang", "zh")


@pytest.fixture
def no_chinese_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_font_families", _cached(["DejaVu Sans"]))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    style._log_missing_font.cache_clear()
    style._label_classes.cache_clear()


def _texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}


def test_classes_that_no_font_shows_are_numbered_and_the_numbers_explained_once(
    no_chinese_font: None, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    classes, labels = ("猫", "dog", "飞机"), np.array([0, 1, 2])
    images, probs = np.zeros((3, 28, 28), np.uint8), np.eye(3)[[1, 2, 0]]
    figures = [
        plot_mistakes(images, labels, probs, classes),
        plot_confusion(np.eye(3, dtype=int), classes),
        plot_samples(images, labels, classes, labels),
        plot_roc(probs, labels, classes),
        plot_embedding({"PCA": np.eye(3, 2)}, labels, classes, {"SVM": 1.0}),
    ]
    for figure in figures:
        style.render(figure)
        assert not [text for text in _texts(figure) if set(text) & set("猫飞机?")]
    assert "0\nread as 1\np = 1.00, #0" in _texts(figures[0])
    [record] = caplog.records
    assert "0 猫, 1 dog, 2 飞机; install one" in record.message
    assert "apt install fonts-noto-cjk" in record.message
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_classes_that_a_font_shows_keep_their_names(caplog: pytest.LogCaptureFixture) -> None:
    assert style.label_classes(["Ankle boot", "T-shirt/top", "é"]) == (
        *("Ankle boot", "T-shirt/top", "é"),
    )
    assert not caplog.records


def test_other_text_that_no_font_shows_gets_question_marks(no_chinese_font: None) -> None:
    figure = style.new_figure(2, 1)
    figure.suptitle("图1.png: 7")
    style.render(figure)
    assert _texts(figure) == {"?1.png: 7"}


def test_missing_glyphs_are_one_line_and_other_warnings_stay(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(style, "_font_families", _cached(["DejaVu Sans"]))
    style._log_missing_font.cache_clear()

    @style.styled
    def plot() -> Figure:
        figure = style.new_figure(2, 1)
        figure.suptitle("混淆矩阵")
        warnings.warn("a real one", RuntimeWarning, stacklevel=2)
        return figure

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            style.render(plot())
    assert [str(warning.message) for warning in caught] == ["a real one"] * 2
    assert len(caplog.records) == 1 and "apt install fonts-noto-cjk" in caplog.text
