"""tools/visualize.py: what is written where, what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures_help import refusal
from matplotlib.figure import Figure
from PIL import Image
from tools_help import ROOT, SMALL, assert_refused, tool

from lenet_paddle.errors import InputError
from lenet_paddle.figures.catalog import DRAWINGS, Drawing
from lenet_paddle.figures.concepts.convolution import Sliding, animate_convolution
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.visualize import choose_paths, list_figures, visualize


@pytest.fixture
def small_xo(monkeypatch: pytest.MonkeyPatch) -> None:
    """`xo` draws two empty figures at once."""
    empty = {"xo": Figure(figsize=(2, 1)), "xo-votes": Figure(figsize=(2, 1))}
    monkeypatch.setitem(DRAWINGS, "xo", Drawing(lambda config: empty, "no run"))


@pytest.mark.usefixtures("small_xo")
def test_without_a_run_the_figure_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert visualize(VisualizeConfig("xo")) == [Path("xo.png"), Path("xo-votes.png")]
    for name in ("xo.png", "xo-votes.png"):
        assert Image.open(tmp_path / name).size == (240, 120)


def test_with_a_run_it_lies_in_the_runs_figures(run: str) -> None:
    assert visualize(VisualizeConfig("calibration", run=[run])) == [
        Path(run) / "figures" / "calibration.png"
    ]


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        [path] = visualize(VisualizeConfig("padding", out=str(tmp_path / "new" / f"a{suffix}")))
        assert path == tmp_path / "new" / f"a{suffix}"
        assert path.read_bytes().startswith(start)


def test_an_animation_becomes_a_gif_beside_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sliding = Sliding(np.eye(6) * 255, np.ones((3, 3)))
    frames = animate_convolution(sliding, 8)
    drawn = {"convolution": Figure(), "convolution-sliding": frames}
    drawing = DRAWINGS["convolution"]._replace(draw=lambda config: drawn)
    monkeypatch.setitem(DRAWINGS, "convolution", drawing)
    paths = visualize(VisualizeConfig("convolution", out=str(tmp_path / "c.svg")))
    assert [path.name for path in paths] == ["c.svg", "c-sliding.gif"]
    gif = Image.open(paths[1])
    assert gif.format == "GIF" and gif.n_frames == len(frames)
    for number, frame in enumerate(frames):  # all colours are near those that were drawn
        gif.seek(number)
        difference = np.abs(np.asarray(gif.convert("RGB"), int) - frame).max(axis=2)
        assert (difference > 40).mean() < 0.001


def test_the_figures_of_a_foreign_set_do_not_replace_the_runs_own(run: str) -> None:
    def written(**settings: Any) -> list[str]:
        return [path.name for path in visualize(VisualizeConfig(run=[run], **settings))]

    foreign = {"dataset": "mnist", "data_dir": SMALL[1]}
    assert written(what="confusion", **foreign) == ["confusion-mnist.png"]
    assert written(what="filters", **foreign) == ["filters-mnist.png"]
    assert written(what="confusion") == ["confusion.png"]
    assert written(what="confusion", dataset="mnist") == ["confusion.png"]


@pytest.mark.parametrize(
    ("stems", "names"),
    [
        (["xo", "xo-votes"], ["a.svg", "a-votes.svg"]),
        (["architecture-lenet5", "architecture-mlp"], ["a-lenet5.svg", "a-mlp.svg"]),
    ],
)
def test_out_names_the_first_figure_and_the_others_after_it(stems, names):
    config = VisualizeConfig(what=stems[0].split("-")[0], out="there/a.svg")
    assert [path.name for path in choose_paths(config, stems)] == names
    assert {str(path.parent) for path in choose_paths(config, stems)} == {"there"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nonsense"], ["nonsense", "samples", "architecture"]),
        (["confusion"], ["confusion needs a trained run", "--run"]),
        (["mistakes"], ["needs a trained run"]),
        (["calibration"], ["needs a trained run"]),
        (["curves"], ["needs a trained run"]),
        (["curves", "--run", "nowhere"], ["nowhere", "config.yaml"]),
        (["filters"], ["filters needs a trained run"]),
        (["confusion", "--run", "a", "b"], ["one run", "2"]),
        (["architecture", "--model", "resnet18"], ["'resnet18' is unknown", "vision:NAME"]),
        (["filters", "--model", "mlp"], ["model is for architecture", "filters"]),
        (["architecture", "--model", "mlp", "--run", "a"], ["two networks"]),
        (["xo", "--layer", "fc.0"], ["layer is for convolution, pooling, features, saliency"]),
        (["convolution", "--layer", "fc.0"], ["'fc.0' needs a run", "--run"]),
        (["samples", "--images", "10000"], ["'10000'", "0 to 9999"]),
        (["samples", "--images", "-1"], ["'-1'"]),
        (["convolution", "--images", "no.png"], ["no.png"]),
        (["convolution", "--images", "1", "2"], ["one picture", "2"]),
        (["padding", "--out", "a.jpg"], ["a.jpg", ".png, .svg, .pdf"]),
        (["padding", "--kernel", "33"], ["kernel is 33", "32", "--pad"]),
        (["padding", "--kernel", "1 0/0 1"], ["'1 0/0 1'", "a whole number"]),
        (["convolution", "--kernel", "3"], ["kernel is 3", "1 0 1/0 1 0/1 0 1"]),
        (["convolution", "--kernel", "1 0/1"], ["kernel has rows of 2, 1 numbers"]),
        (["convolution", "--kernel", "1 0 1"], ["kernel is 1 x 3", "rows as columns"]),
        (["convolution", "--kernel", "1 x/0 1"], ["kernel has 'x'", "expected numbers"]),
        (["convolution", "--kernel", "1 nan/0 1"], ["kernel has a number", "1,000,000"]),
        (["convolution", "--kernel", "1 0/0 1e9"], ["kernel has a number", "1,000,000"]),
        (["convolution", "--kernel", "/"], ["kernel is '/'", "1 to 11 numbers a side"]),
        (["convolution", "--kernel", "1 " * 999], ["...", "1 to 11 numbers a side"]),
        (["convolution", "--picture", "1 0/0 1"], ["picture is 2 x 2", "3 x 3"]),
        (["convolution", "--picture", "1 0/0 1", "--images", "3"], ["images and numbers"]),
        (["convolution", "--picture", "1 0/0 1", "--run", "a"], ["run"]),
        (["samples", "--picture", "1 0/0 1"], ["picture is for convolution"]),
        (["padding", "--size", "0"], ["size is 0"]),
        (["padding", "--size", "513"], ["size is 513", "512"]),
        (["padding", "--stride", "0"], ["stride is 0"]),
        (["padding", "--pad", "-1"], ["pad is -1"]),
        (["padding", "--lang", "fr"], ["fr", "en", "zh"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(argv: list[str], words: list[str], tmp_path: Path) -> None:
    message = refusal(*argv)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "settings",
    [
        {"what": "curves", "size": 9},
        {"what": "xo", "images": ["3"]},
        {"what": "filters", "model": "lenet5"},
        {"what": "kernels", "layer": "features.0"},
    ],
    ids=str,
)
def test_a_setting_that_a_figure_does_not_use_is_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="does not use it"):
        visualize(VisualizeConfig(**settings))


@pytest.mark.parametrize(
    ("what", "modules"),
    [("edges", ("skimage", "skimage.feature")), ("embedding", ("sklearn", "sklearn.manifold"))],
)
def test_a_missing_library_is_one_line_with_its_extra(
    run: str, what: str, modules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    message = refusal(what, "--run", run)
    assert "is not installed" in message and message.endswith("pip install '.[vision]'")


def test_the_tool_ends_with_2_and_one_line() -> None:
    assert_refused(tool("visualize", "padding", "--kernel", "40"), "kernel is 40")


def test_the_tool_prints_what_it_wrote(tmp_path: Path) -> None:
    done = tool("visualize", "padding", "--stride", "3", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "padding.png\n", "")


@pytest.mark.usefixtures("small_xo")
def test_show_without_a_display_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda: pytest.fail("nothing to show on"))
    pyplot.switch_backend("agg")
    with caplog.at_level(logging.WARNING):
        visualize(VisualizeConfig("xo", out=str(tmp_path / "x.png"), show=True))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no display" in caplog.text and (tmp_path / "x.png").exists()


@pytest.mark.usefixtures("small_xo")
def test_show_opens_a_window_for_each_figure_where_there_is_a_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot
    from matplotlib.backend_bases import FigureCanvasBase

    shown = []
    pyplot.switch_backend("agg")
    monkeypatch.setattr(FigureCanvasBase, "required_interactive_framework", "tk")
    monkeypatch.setattr(pyplot, "show", lambda: shown.extend(pyplot.get_fignums()))
    visualize(VisualizeConfig("xo", out=str(tmp_path / "x.png"), show=True))
    assert len(shown) == 2
    pyplot.close("all")


def test_help_needs_neither_paddle_nor_matplotlib() -> None:
    code = (
        "import sys, lenet_paddle.figures.visualize; "
        "print({'paddle', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("module", ["options", "subject", "catalog"])
def test_each_module_can_be_imported_first(module: str) -> None:
    command = [sys.executable, "-c", f"import lenet_paddle.figures.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_help_lists_every_figure_with_the_flags_that_it_takes() -> None:
    lines = dict(line.split(maxsplit=1) for line in list_figures().splitlines())
    assert list(lines) == list(DRAWINGS)
    assert lines["xo"].endswith("number by number")
    assert lines["padding"].endswith("([--size] [--kernel] [--pad] [--stride])")
    assert lines["curves"].endswith("(--run ...)")
    assert lines["saliency"].endswith("(--run [--layer] [--images])")


def test_every_figure_names_settings_that_there_are() -> None:
    for drawing in DRAWINGS.values():
        assert set(drawing.uses) <= set(VisualizeConfig.__dataclass_fields__)
