"""tools/visualize.py: what is written where, what is refused, and that the figures are true."""

from __future__ import annotations

import ast
import itertools
import logging
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tools_help import ROOT, SMALL, assert_refused, tool

from lenet_paddle import TrainConfig, load_dataset, train_and_evaluate
from lenet_paddle.cli import parse_args
from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import CORRUPTIONS
from lenet_paddle.data.mnist_c import write_mnist_c
from lenet_paddle.data.transforms import Augmentation
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.metrics import compute_calibration
from lenet_paddle.figures import style as figures
from lenet_paddle.figures.concepts.sliding import (
    Sliding,
    _Scene,
    animate_convolution,
    choose_places,
)
from lenet_paddle.figures.grid import Cells, plain, two_places
from lenet_paddle.figures.results.charts import measure_pixels, plot_calibration, plot_samples
from lenet_paddle.figures.results.drawings import read_history
from lenet_paddle.figures.subject import choose_picture, load_subject
from lenet_paddle.figures.visualize import (
    VisualizeConfig,
    What,
    choose_paths,
    find_drawing,
    ideas,
    networks,
    results,
)
from lenet_paddle.figures.visualize import visualize as draw_files
from lenet_paddle.figures.words import ZH, language, say

PACKAGE = Path(__file__).resolve().parents[2] / "lenet_paddle"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    config = TrainConfig(
        model="lenet_builtin",
        data_dir=SMALL[1],
        val_size=300,
        limit=640,
        epochs=2,
        output_dir=str(tmp_path_factory.mktemp("visualize")),
        name="small",
    )
    return str(train_and_evaluate(config)["run_dir"])


def _texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def _draw(what: str, **settings: Any) -> dict[str, Any]:
    config = VisualizeConfig(what=what, **settings)  # type: ignore[arg-type]
    return dict(find_drawing(what)(config))


def _refusal(*argv: str) -> str:
    with pytest.raises(InputError) as caught:
        draw_files(parse_args(VisualizeConfig, "", argv))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def small_xo(monkeypatch: pytest.MonkeyPatch) -> None:
    """`xo` draws two empty figures at once."""
    empty = {"xo": Figure(figsize=(2, 1)), "xo-votes": Figure(figsize=(2, 1))}
    monkeypatch.setitem(ideas.DRAWINGS, "xo", lambda config: empty)


# Where it goes


@pytest.mark.usefixtures("small_xo")
def test_without_a_run_the_figure_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert draw_files(VisualizeConfig("xo")) == [Path("xo.png"), Path("xo-votes.png")]
    for name in ("xo.png", "xo-votes.png"):
        assert Image.open(tmp_path / name).size == (240, 120)


def test_with_a_run_it_lies_in_the_runs_figures(run: str) -> None:
    assert draw_files(VisualizeConfig("calibration", run=[run])) == [
        Path(run) / "figures" / "calibration.png"
    ]


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        [path] = draw_files(VisualizeConfig("padding", out=str(tmp_path / "new" / f"a{suffix}")))
        assert path == tmp_path / "new" / f"a{suffix}"
        assert path.read_bytes().startswith(start)


def test_an_animation_becomes_a_gif_beside_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sliding = Sliding(np.eye(6) * 255, np.ones((3, 3)))
    frames = animate_convolution(sliding, 8)
    drawn = {"convolution": Figure(), "convolution-sliding": frames}
    monkeypatch.setitem(ideas.DRAWINGS, "convolution", lambda config: drawn)
    paths = draw_files(VisualizeConfig("convolution", out=str(tmp_path / "c.svg")))
    assert [path.name for path in paths] == ["c.svg", "c-sliding.gif"]
    gif = Image.open(paths[1])
    assert gif.format == "GIF" and gif.n_frames == len(frames)
    for number, frame in enumerate(frames):  # all colours are near those that were drawn
        gif.seek(number)
        difference = np.abs(np.asarray(gif.convert("RGB"), int) - frame).max(axis=2)
        assert (difference > 40).mean() < 0.001


def test_convolution_draws_one_place_the_channels_and_the_slide() -> None:
    drawn = _draw("convolution", images=["3"])
    assert list(drawn) == ["convolution", "convolution-channels", "convolution-sliding"]
    assert "vertical edges (Sobel) of mnist test image 3" in _texts(drawn["convolution"])
    text = _texts(drawn["convolution-channels"])
    assert "8 × 8 × 3 → 8 × 8 × 2" in text and "56 parameters" in text
    frames = drawn["convolution-sliding"]
    assert frames.ndim == 4 and all((a != b).any() for a, b in itertools.pairwise(frames))


def test_a_frame_drawn_on_the_still_part_is_the_whole_figure_drawn_anew() -> None:
    sliding = Sliding(np.eye(6) * 255, np.ones((3, 3)), title="eye")
    frames = animate_convolution(sliding, 8)
    scene = _Scene(sliding)
    figures.render(scene.figure, dpi=72)
    scene.figure.set_layout_engine("none")  # as there: laid out once
    for number in (0, len(frames) - 1):
        scene.show_until(int(choose_places(scene.map, 8)[number]))
        whole = figures.render(scene.figure, dpi=72)
        assert (frames[number] != whole).mean() < 0.001  # where the frame crosses an axis


def test_each_operator_has_a_file_of_its_own() -> None:
    assert list(_draw("operators")) == [
        "operators",
        *("operators-1x1", "operators-strided", "operators-dilated", "operators-transposed"),
        *("operators-3d", "operators-spatially-separable", "operators-depthwise-separable"),
        "operators-grouped",
    ]


def test_the_figures_of_a_foreign_set_do_not_replace_the_runs_own(run: str) -> None:
    def written(**settings: Any) -> list[str]:
        return [path.name for path in draw_files(VisualizeConfig(run=[run], **settings))]

    foreign = {"dataset": "mnist", "data_dir": SMALL[1]}
    assert written(what="confusion", **foreign) == ["confusion-mnist.png"]
    assert written(what="filters", **foreign) == ["filters-mnist.png"]
    assert written(what="confusion") == ["confusion.png"]
    assert written(what="confusion", dataset="mnist") == ["confusion.png"]


# What is refused


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
        (["convolution", "--layer", "fc.0"], ["'fc.0' is of no run", "--run"]),
        (["samples", "--images", "10000"], ["'10000'", "0 to 9999"]),
        (["samples", "--images", "-1"], ["'-1'"]),
        (["convolution", "--images", "no.png"], ["no.png"]),
        (["convolution", "--images", "1", "2"], ["one picture", "2"]),
        (["padding", "--out", "a.jpg"], ["a.jpg", ".png, .svg, .pdf"]),
        (["padding", "--kernel", "33"], ["kernel is 33", "32", "--pad"]),
        (["padding", "--size", "0"], ["size is 0"]),
        (["padding", "--size", "513"], ["size is 513", "512"]),
        (["padding", "--stride", "0"], ["stride is 0"]),
        (["padding", "--pad", "-1"], ["pad is -1"]),
        (["padding", "--lang", "fr"], ["fr", "en", "zh"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(argv: list[str], words: list[str], tmp_path: Path) -> None:
    message = _refusal(*argv)
    for word in words:
        assert word in message


def test_a_layer_that_does_not_see_the_picture_is_refused(run: str) -> None:
    message = _refusal("convolution", "--run", run, "--layer", "features.3")
    assert "features.3" in message and message.endswith("features.0")


def test_chinese_without_a_font_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_font_families", _cached(["DejaVu Sans"]))
    monkeypatch.setattr(figures.font_manager, "findSystemFonts", lambda: [])
    assert "fonts-noto-cjk" in _refusal("padding", "--lang", "zh")


def _cached(fonts: list[str]) -> Any:
    families = lambda: fonts  # noqa: E731
    families.cache_clear = lambda: None  # type: ignore[attr-defined]
    return families


def test_the_tool_ends_with_2_and_one_line() -> None:
    assert_refused(tool("visualize", "padding", "--kernel", "40"), "kernel is 40")


def test_the_tool_prints_what_it_wrote(tmp_path: Path) -> None:
    done = tool("visualize", "padding", "--stride", "3", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "padding.png\n", "")


def test_an_unreadable_history_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has this run trained"):
        read_history(tmp_path)
    for text, word in (("epoch,train_loss\n1,x\n", "damaged"), ("epoch\n", "no epoch")):
        (tmp_path / "history.csv").write_text(text)
        with pytest.raises(InputError, match=word):
            read_history(tmp_path)


# --show


@pytest.mark.usefixtures("small_xo")
def test_show_without_a_display_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda: pytest.fail("nothing to show on"))
    pyplot.switch_backend("agg")
    with caplog.at_level(logging.WARNING):
        draw_files(VisualizeConfig("xo", out=str(tmp_path / "x.png"), show=True))
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
    draw_files(VisualizeConfig("xo", out=str(tmp_path / "x.png"), show=True))
    assert len(shown) == 2
    pyplot.close("all")


# The dict


def test_every_figure_has_one_place() -> None:
    drawings = [*ideas.DRAWINGS, *networks.DRAWINGS, *results.DRAWINGS]
    assert sorted(drawings) == sorted(get_args(What))
    assert find_drawing("xo") is ideas.DRAWINGS["xo"]
    assert find_drawing("filters") is networks.DRAWINGS["filters"]


def test_help_needs_neither_paddle_nor_matplotlib() -> None:
    code = (
        "import sys, lenet_paddle.figures.visualize; "
        "print({'paddle', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("module", ["ideas", "networks", "results", "subject"])
def test_each_module_can_be_imported_first(module: str) -> None:
    command = [sys.executable, "-c", f"import lenet_paddle.figures.visualize.{module}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# The words


def _templates() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                [template, *_] = node.args
                if isinstance(template, ast.Constant):
                    found.add(template.value)
    return found


def test_every_text_has_its_chinese() -> None:
    assert len(_templates()) > 100 and not _templates() - set(ZH)


def test_the_chinese_fills_in_the_same_values() -> None:
    for english, chinese in ZH.items():
        fields = [
            sorted(f"{name}:{spec}" for _, name, spec, _ in string.Formatter().parse(text) if name)
            for text in (english, chinese)
        ]
        assert set(fields[0]) == set(fields[1]), english


def test_say_speaks_the_language_of_its_block() -> None:
    assert say("feature map") == "feature map"
    with language("zh"):
        assert say("draw {n}", n=2) == "第 2 次抽样"
    assert say("draw {n}", n=2) == "draw 2"


@pytest.mark.skipif(not figures.find_chinese_font(), reason="no Chinese font is installed")
def test_chinese_figures_have_chinese_titles_and_no_missing_glyph(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    draw_files(VisualizeConfig("padding", lang="zh", stride=2, out=str(tmp_path / "a.svg")))
    draw_files(VisualizeConfig("dropout", lang="zh", out=str(tmp_path / "b.pdf")))
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


# What is drawn


def test_padding_says_why_14_and_a_half_is_no_size() -> None:
    text = _texts(_draw("padding", stride=2)["padding"])
    assert "(32 − 5 + 2·0) / 2 + 1 = 14.5" in text
    assert "no size" in text and "rounds down to 14" in text
    assert "63 of 1024 pixels never seen" in text  # a row and a column of 32
    text = _texts(_draw("padding", stride=3)["padding"])
    assert "/ 3 + 1 = 10" in text and "no size" not in text


def test_xo_shows_the_courses_numbers_and_the_votes() -> None:
    drawn = _draw("xo")
    text = _texts(drawn["xo"])
    assert "of 0.77, -0.11, -0.11, 1.00\nit keeps 1.00" in text and "mean 5/9\n= 0.55" in text
    assert "/ 5 = 0.912" in _texts(drawn["xo-votes"])


def test_kernels_show_each_sum_and_take_a_picture_of_the_users(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    Image.fromarray(rng.integers(0, 256, (300, 400)).astype(np.uint8)).save(tmp_path / "own.png")
    text = _texts(_draw("kernels", images=[str(tmp_path / "own.png")])["kernels"])
    assert "own.png" in text and text.count("1/9") == 9
    assert re.findall(r"sum (\d)", text) == list("11100001")


def test_kernels_fall_back_to_a_digit_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert "mnist test image 0" in _texts(_draw("kernels")["kernels"])
    assert caplog.text.count("pip install '.[vision]'") == 1


@pytest.mark.parametrize(
    ("what", "modules"),
    [("edges", ("skimage", "skimage.feature")), ("embedding", ("sklearn", "sklearn.manifold"))],
)
def test_a_missing_library_is_one_line_with_its_extra(
    run: str, what: str, modules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    message = _refusal(what, "--run", run)
    assert "is not installed" in message and message.endswith("pip install '.[vision]'")


def test_a_runs_convolution_is_what_its_layer_computes(run: str) -> None:
    import paddle

    config = VisualizeConfig("convolution", run=[run], images=["7"])
    sliding, digit = ideas._find_sliding(config)
    subject = load_subject(config)
    with paddle.no_grad():
        batch = paddle.to_tensor(subject.normalise(digit[None]))
        maps = subject.network.features[0](batch)[0].numpy()
    number = int(re.findall(r"kernel (\d)", sliding.title)[0])
    np.testing.assert_allclose(sliding.compute_map(), maps[number - 1], atol=1e-5)
    np.testing.assert_array_equal(digit, choose_picture(config).image)


def test_activations_measure_only_with_a_run(run: str) -> None:
    assert "features" not in _texts(_draw("activations")["activations"])
    text = _texts(_draw("activations", run=[run])["activations"])
    assert "features.1 (ReLU)" in text and "features.4 (ReLU)" in text
    assert "300 mnist test images" in text
    chosen = _draw("activations", run=[run], images=["3", "4"])["activations"]
    assert "2 chosen pictures" in _texts(chosen)


def test_dropout_takes_the_runs_last_hidden_layer(run: str) -> None:
    assert "of 84 units dropped" in _texts(_draw("dropout", run=[run])["dropout"])
    assert "of 120 units dropped" in _texts(_draw("dropout")["dropout"])


def test_augment_shows_each_original_above_its_variants() -> None:
    image = _pixels(_draw("augment", images=["3", "17"])["augment"])
    originals = load_dataset("mnist", "test").images[[3, 17]]
    np.testing.assert_array_equal(image[:28, :28], originals[0])
    np.testing.assert_array_equal(image[:28, 31:59], originals[1])
    light = Augmentation(augment="light")(originals, np.random.default_rng(1))
    np.testing.assert_array_equal(image[31:59, :28], light[0])


def test_augment_draws_a_small_set_whole(tmp_path: Path) -> None:
    few = load_dataset("mnist", "test").take(slice(0, 8))
    arrays = {
        f"{k}_{s}": v
        for s in ("train", "test")
        for k, v in zip("xy", (few.images, few.labels), strict=True)
    }
    np.savez(tmp_path / "few.npz", **arrays)
    drawn = _draw("augment", dataset="npz", data_dir=str(tmp_path / "few.npz"))
    assert set(drawn) == {"augment", "augment-ranges"}


def _pixels(figure: Figure) -> np.ndarray:
    """The pixels of the figure's one image."""
    [axes] = figure.axes
    return np.asarray(axes.images[0].get_array())


def test_samples_count_what_the_set_holds(run: str) -> None:
    text = _texts(_draw("samples", run=[run])["samples"])
    assert "64 of 640 training images" in text
    images = np.zeros((4, 28, 28), np.uint8)
    images[3] = 200
    figure = plot_samples(images, np.array([0, 0, 0, 1]), ("a", "b"), np.array([0, 3]))
    text = _texts(figure)
    assert "class balance: 1 to 3" in text
    assert "mean 50.0, deviation 86.6, 75% are 0" in text


def _rows(train: list[float], val: list[float]) -> list[dict[str, float]]:
    return [
        {
            "epoch": n + 1,
            "train_loss": t,
            "val_loss": v,
            "train_accuracy": 1 - t / 10,
            "val_accuracy": 1 - v / 10,
        }
        for n, (t, v) in enumerate(zip(train, val, strict=True))
    ]


def test_the_overfitting_gap_starts_at_the_lowest_val_loss() -> None:
    figure = figures.plot_curves({"a": _rows([3, 2, 1, 0.5], [3, 2, 2.5, 3])})
    loss, _ = figure.axes
    [band] = loss.collections
    assert band.get_paths()[0].vertices[:, 0].min() == 2  # the epoch
    assert "overfitting gap, 2.500 at the end" in _texts(figure)


def test_no_gap_is_marked_where_the_val_loss_still_falls() -> None:
    figure = figures.plot_curves({"a": _rows([3, 2, 1], [3, 2.5, 2])})
    assert not figure.axes[0].collections


def test_curves_compare_runs_of_one_name(run: str) -> None:
    [figure] = _draw("curves", run=[run, run]).values()
    assert len(figure.axes[0].lines) >= 2
    other = {"first": _rows([2, 1], [2, 1]), "second": _rows([3, 1], [3, 2])}
    text = _texts(figures.plot_curves(other))
    assert all(f"{name}, {split}" in text for name in other for split in ("train", "val"))


def test_the_reliability_diagram_shows_the_bins_and_the_error(rng: np.random.Generator) -> None:
    probs = rng.dirichlet(np.full(4, 0.5), 300)
    error, bins = compute_calibration(probs, rng.integers(0, 4, 300))
    figure = plot_calibration(error, bins)
    bars = figure.axes[0].containers[0]
    used = bins["count"] > 0
    np.testing.assert_allclose([bar.get_height() for bar in bars], bins["accuracy"][used])
    tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].containers[1]]
    np.testing.assert_allclose(tops, bins["confidence"][used])
    assert f"{error:.4f}" in _texts(figure)


def test_confusion_and_mistakes_are_those_of_the_evaluation(run: str) -> None:
    import json

    metrics = json.loads((Path(run) / "metrics.json").read_text())
    matrix = np.array(metrics["confusion_matrix"])
    figure = _draw("confusion", run=[run])["confusion"]
    numbers = [int(text.get_text()) for text in figure.axes[0].texts]
    assert numbers == matrix[matrix > 0].tolist()
    wrong = matrix.sum() - np.trace(matrix)
    assert f"of {wrong} mistakes in 300 images" in _texts(_draw("mistakes", run=[run])["mistakes"])


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


def test_the_pixels_of_a_set_are_measured_slice_by_slice(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (5000, 6, 5)).astype(np.uint8)
    counts, mean, deviation = measure_pixels(images)
    np.testing.assert_array_equal(counts, np.bincount(images.ravel(), minlength=256))
    np.testing.assert_allclose(mean, images.mean(axis=0))
    np.testing.assert_allclose(deviation, images.std(axis=0))


def test_samples_of_memory_mapped_arrays_are_drawn(tmp_path: Path) -> None:
    digits = load_dataset("mnist", "test").take(slice(0, 200))
    for name, array in (("x", digits.images), ("y", digits.labels)):
        np.save(tmp_path / f"{name}_train.npy", array)
        np.save(tmp_path / f"{name}_test.npy", array)
    out = tmp_path / "a.png"
    config = VisualizeConfig("samples", dataset="npz", data_dir=str(tmp_path), out=str(out))
    assert draw_files(config) == [out] and out.is_file()


def test_corruptions_are_drawn_of_chosen_digits_or_as_a_folder_has_them(tmp_path: Path) -> None:
    digits = load_dataset("mnist", "test").take(slice(0, 5))
    names = ("fog", "canny_edges", "identity")
    write_mnist_c(tmp_path, names, limit=5, parts=["test"])
    folder = {"dataset": "mnist_c", "data_dir": str(tmp_path), "images": ["4", "1"]}
    shown = _draw("corruptions", **folder)["corruptions"].axes[0].images[0].get_array()
    for row, name in enumerate(names):
        corrupted = corrupt(digits.images, name)
        for col, position in enumerate((4, 1)):
            part = shown[31 * row : 31 * row + 28, 31 * col : 31 * col + 28]
            np.testing.assert_array_equal(part, corrupted[position])
    texts = _texts(_draw("corruptions", images=["4", "1"])["corruptions"])
    assert [name for name in CORRUPTIONS if name.replace("_", " ") not in texts] == []
    with pytest.raises(InputError, match="'5'; expected positions of test images, 0 to 4"):
        _draw("corruptions", **{**folder, "images": ["5"]})


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
def test_a_setting_that_a_figure_has_no_use_for_is_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="has no use of it"):
        VisualizeConfig(**settings)
