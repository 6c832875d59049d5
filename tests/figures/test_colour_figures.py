"""Every figure of a run on colour pictures of an odd size, and what is refused for one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures_help import draw, refusal, texts_of
from marks import slow
from matplotlib.figure import Figure
from PIL import Image
from refusal_help import refusal as refusal_of
from tools_help import assert_refused, tool

from lenet_paddle import TrainConfig, train_and_evaluate
from lenet_paddle.figures.catalog import DRAWINGS
from lenet_paddle.figures.grid import as_colours
from lenet_paddle.figures.network.architecture import plot_architecture
from lenet_paddle.figures.network.filters import plot_filters
from lenet_paddle.figures.network.saliency import plot_saliency
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.results.images import plot_answers, plot_images, plot_rows
from lenet_paddle.figures.results.samples import measure_pixels
from lenet_paddle.figures.style import render
from lenet_paddle.figures.subject import choose_pictures
from lenet_paddle.models import build_model
from lenet_paddle.workflows.robustness import evaluate_robustness

SIDE = 45
COLOURS = {"blue": (30, 40, 220), "green": (20, 200, 60), "red": (230, 30, 30)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of three colours on noise, in pictures of 60x50 pixels."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("photos")
    for part, count in (("train", 16), ("test", 6)):
        for name, colour in COLOURS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                picture = rng.integers(0, 90, (60, 50, 3), np.uint8)
                top, left = rng.integers(5, 25, 2)
                picture[top : top + 25, left : left + 20] = colour
                Image.fromarray(picture).save(folder / part / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> str:
    """A run of an epoch, with all that VisualDL shows."""
    config = TrainConfig(
        model="lenet_relu",
        dataset="folder",
        data_dir=str(photos),
        channels=3,
        image_size=SIDE,
        val_size=6,
        epochs=1,
        augment="strong",
        hue=0.02,
        vdl="rich",
        output_dir=str(tmp_path_factory.mktemp("colour")),
        name="colour",
    )
    return str(train_and_evaluate(config)["run_dir"])


def images_of(figure: Figure) -> list[np.ndarray]:
    """Every array that is drawn in the axes of a figure."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


QUICK = ("samples", "filters", "mistakes", "architecture")
OF_A_RUN = [
    name for name, drawing in DRAWINGS.items() if drawing.run != "no run" and name != "corruptions"
]


@pytest.mark.parametrize(
    "what",
    [name if name in QUICK else slow(name) for name in OF_A_RUN],
)
def test_every_figure_of_a_colour_run_is_drawn(what: str, colour_run: str) -> None:
    settings: dict[str, Any] = {"run": [colour_run]}
    for figure in draw(what, **settings).values():
        if isinstance(figure, Figure):
            assert render(figure, dpi=20).std() > 5


@pytest.mark.parametrize("what", ["samples", "augment", "features", "mistakes", "architecture"])
def test_pictures_are_shown_in_their_colours(what: str, colour_run: str) -> None:
    [figure, *_] = draw(what, run=[colour_run]).values()
    assert any(
        image.ndim == 3 and np.ptp(image[..., :3].astype(float), axis=2).max() > 0.4
        for image in images_of(figure)
    )


def test_a_file_is_prepared_in_the_runs_form(colour_run: str, photos: Path) -> None:
    file = photos / "test" / "red" / "0.png"
    config = VisualizeConfig("features", [colour_run], images=[str(file), "0"])
    own, stored = choose_pictures(config, 1)
    assert own.original.shape == (60, 50, 3) and own.grey.shape == (60, 50)
    assert own.image.shape == stored.image.shape == (SIDE, SIDE, 3)


def test_a_folder_is_drawn_in_its_own_form_without_a_run(photos: Path) -> None:
    figure = draw("samples", dataset="folder", data_dir=str(photos))["samples"]
    assert images_of(figure)[0].shape == (32, 32, 3)  # of 60x50
    figure = draw("convolution", dataset="folder", data_dir=str(photos))["convolution"]
    assert "input 32 × 32" in texts_of(figure)


def test_the_first_kernels_are_one_row_in_colour(rng: np.random.Generator) -> None:
    kernels = {"a": rng.normal(size=(4, 3, 5, 5)), "b": rng.normal(size=(5, 4, 3, 3))}
    first, second = images_of(plot_filters(kernels, in_colour=True))[:2]
    limit = np.abs(kernels["a"]).max()
    scale = (len(first) // 5) or 1
    np.testing.assert_allclose(
        first[: 5 * scale : scale, : 5 * scale : scale],
        0.5 + kernels["a"][0].transpose(1, 2, 0) / (2 * limit),
    )
    assert second.ndim == 2
    colours = as_colours(kernels["a"], limit)
    assert colours.shape == (4, 5, 5, 3) and colours.min() >= 0 and colours.max() <= 1
    figure = plot_filters(kernels)  # of a hidden layer with three inputs
    assert images_of(figure)[0].ndim == 2


def test_rows_of_colour_images_have_a_ground_between_them(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (2, 63, 63, 3), np.uint8)
    [sheet] = images_of(plot_rows({"a": images, "b": 255 - images}, ["x", "y"]))
    np.testing.assert_allclose(sheet[:63, :63] * 255, images[0])
    np.testing.assert_allclose(sheet[70:133, 70:133] * 255, 255 - images[1])
    np.testing.assert_allclose(
        sheet[63:70, :63] * 255, np.broadcast_to((198, 212, 232), (7, 63, 3))
    )


def test_grids_of_images_take_colour(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (3, 30, 40, 3), np.uint8)
    for figure in (
        plot_images(images, ["a", "b", "c"]),
        plot_answers(list(images), list(images[:, :30, :30]), ["a", "b", "c"]),
    ):
        np.testing.assert_array_equal(images_of(figure)[0], images[0])


def test_pixels_of_colour_images_are_measured_by_channel(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (50, 30, 30, 3), np.uint8)
    counts, mean, deviation = measure_pixels(images)
    np.testing.assert_array_equal(counts, np.bincount(images.ravel(), minlength=256))
    np.testing.assert_allclose(mean, images.mean(axis=0))
    np.testing.assert_allclose(deviation, images.std(axis=0))


def test_a_map_lies_over_the_lightness_of_a_colour_picture(rng: np.random.Generator) -> None:
    pictures = rng.uniform(-1, 1, (1, 40, 40, 3)).astype(np.float32)
    maps = rng.normal(size=(1, 20, 20))
    figure = plot_saliency(pictures, ["a"], [("signed", maps, ["n"])])
    shown, lightness, drawn = images_of(figure)
    np.testing.assert_allclose(shown, (pictures[0] + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(lightness, pictures[0].mean(axis=2), atol=1e-6)
    np.testing.assert_array_equal(drawn, maps[0])


def test_the_kernel_at_work_says_whose_channel_it_sees(colour_run: str) -> None:
    figure = draw("pooling", run=[colour_run])["pooling"]
    assert any(f"the {name} channel's part" in texts_of(figure) for name in COLOURS)


def test_the_architecture_names_a_long_answer_inside_the_figure(colour_run: str) -> None:
    figure = draw("architecture", run=[colour_run])["architecture"]
    assert "3@45x45" in texts_of(figure)
    [answer] = [text for text in figure.axes[0].texts if text.get_text() in COLOURS]
    figure.canvas.draw()
    assert answer.get_window_extent().x1 < figure.bbox.x1


def test_large_numbers_of_parameters_do_not_overlap() -> None:
    network = build_model("lenet_relu", 3, 3, 224)
    figure = plot_architecture(network, np.zeros((1, 3, 224, 224), np.float32), "", list(COLOURS))
    figure.canvas.draw()
    numbers = {f"{count:,}" for count in (168, 2416, 376_440, 10_164, 255)}
    boxes = [
        text.get_window_extent() for text in figure.axes[0].texts if text.get_text() in numbers
    ]
    assert len(boxes) == 5
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_numbers_of_parameters_side_by_side_are_apart() -> None:
    network = build_model("lenet_relu", 2, 3, 64)
    figure = plot_architecture(network, np.zeros((1, 3, 64, 64), np.float32), "", ("a", "b"))
    figure.canvas.draw()
    boxes = {
        text.get_text(): text.get_window_extent()
        for text in figure.axes[0].texts
        if text.get_text() in ("376,440", "10,164")
    }
    one, other = boxes["376,440"], boxes["10,164"]
    assert other.x0 - one.x1 > 5 or other.y1 < one.y0 + 1


def test_corruptions_of_mnist_are_refused_for_other_pictures(colour_run: str, photos: Path) -> None:
    words = ("45x45 colour", "mnist_c", "28x28 grey")
    message = refusal("corruptions", "--run", colour_run)
    assert all(word in message for word in words)
    message = refusal_of(lambda: evaluate_robustness(Path(colour_run), generated=True))
    assert all(word in message for word in words) and colour_run in message
    before = sorted(Path(colour_run).rglob("*"))
    done = tool("evaluate", "--run", colour_run, "--dataset", "mnist_c", "--generated")
    assert_refused(done, *words)
    assert sorted(Path(colour_run).rglob("*")) == before
