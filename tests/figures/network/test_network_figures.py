"""Figures of a run: every one in both languages, the pictures chosen, wrong choices refused."""

from pathlib import Path

import numpy as np
import paddle
import pytest
from marks import slow

from lenet_paddle import TrainConfig, train_and_evaluate
from lenet_paddle.errors import InputError
from lenet_paddle.figures.catalog import DRAWINGS
from lenet_paddle.figures.network.saliency import explain, plot_saliency
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.style import render
from lenet_paddle.figures.subject import choose_pictures
from lenet_paddle.figures.words import language
from lenet_paddle.models import MODELS, build_model


def draw(what, *run, **settings):
    return DRAWINGS[what].draw(VisualizeConfig(what, list(run), **settings))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, module_data):
    """A barely trained run of two networks on a few images: {model: its folder}."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        model: str(
            train_and_evaluate(
                TrainConfig(
                    model=model,
                    dataset="npz",
                    data_dir=str(module_data),
                    epochs=1,
                    output_dir=str(folder),
                    name=model,
                )
            )["run_dir"]
        )
        for model in ("lenet_builtin", "mlp")
    }


@pytest.fixture(scope="module")
def module_data(tmp_path_factory) -> Path:
    """200 + 60 blobs in ten places, as a .npz."""
    rng = np.random.default_rng(0)

    def draw(count):
        labels = np.arange(count) % 10
        images = rng.integers(0, 40, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            row, col = 4 + 10 * (label // 5), 2 + 5 * (label % 5)
            image[row : row + 8, col : col + 5] = 250
        return images.astype(np.uint8), labels

    (x_train, y_train), (x_test, y_test) = draw(200), draw(60)
    path = tmp_path_factory.mktemp("data") / "blobs.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


NEED_RUN = [
    name for name, drawing in DRAWINGS.items() if drawing.run in ("one run", "several runs")
]


@pytest.mark.parametrize("lang", [slow("en"), "zh"])
@pytest.mark.parametrize("what", [*NEED_RUN, "architecture", "operators"])
def test_every_drawing_of_a_run_can_be_rendered_in_both_languages(what, lang, runs):
    if what == "edges":
        pytest.importorskip("skimage")
    if what == "embedding":
        pytest.importorskip("sklearn")
    with language(lang):
        figures = draw(what, runs["lenet_builtin"])
    assert what in figures
    for figure in figures.values():
        pixels = render(figure, dpi=20)
        assert pixels.std() > 5  # something is on the paper


def test_what_needs_a_convolution_says_so_of_an_mlp(runs):
    for what in ("filters", "receptive-field"):
        with pytest.raises(InputError, match="mlp has no convolution"):
            draw(what, runs["mlp"])
    with pytest.raises(InputError, match="mlp has no convolution of one grey channel"):
        draw("convolution", runs["mlp"])
    assert list(draw("features", runs["mlp"])) == ["features"]
    titles = [axes.get_title() for axes in draw("saliency", runs["mlp"])["saliency"].axes]
    assert not any("Grad-CAM" in title for title in titles)


def test_without_a_run_every_models_architecture_is_drawn_or_the_one_that_is_named():
    assert list(draw("architecture")) == [f"architecture-{name}" for name in MODELS]
    figures = draw("architecture", model="mlp")
    assert list(figures) == ["architecture"]
    assert any(
        text.get_text().startswith("mlp: ") for text in figures["architecture"].axes[0].texts
    )


def test_pictures_are_test_images_and_files_as_they_are_named(runs, tmp_path, write_picture):
    run = runs["lenet_builtin"]

    def labels(count, *images):
        config = VisualizeConfig("features", [run], images=list(images))
        return [picture.label for picture in choose_pictures(config, count)]

    assert labels(1) == ["#0"] and labels(3) == ["#0", "#1", "#2"]  # one of each class
    path = write_picture(tmp_path / "mine.png", np.full((28, 28), 7))
    mixed = VisualizeConfig("features", [run], images=["5", str(path)])
    five, mine = choose_pictures(mixed, 3)
    assert (five.name, five.label) == ("npz test image 5", "#5")
    assert (mine.name, mine.label) == ("mine.png", "mine")
    assert (mine.image == 7).all() and mine.image.shape == five.image.shape == (28, 28)
    stems = list(draw("features", run, images=["5", str(path)]))
    assert stems == ["features-5", "features-mine", "features-grid"]


def test_pictures_of_one_name_have_files_of_their_own(runs):
    pytest.importorskip("skimage")
    assert list(draw("edges", runs["lenet_builtin"], images=["5", "5"])) == [
        "edges-5-0",
        "edges-5-1",
    ]


@pytest.mark.parametrize("what", ["receptive-field", "architecture", "dropout"])
def test_what_draws_one_picture_refuses_two(runs, what):
    with pytest.raises(InputError, match=f"{what} draws one picture; 2 came"):
        draw(what, runs["lenet_builtin"], images=["1", "2"])


@pytest.mark.parametrize(
    ("what", "images", "layer", "message"),
    [
        ("features", ["60"], None, "images has '60'; expected positions of test images, 0 to 59"),
        ("features", ["none.png"], None, "none.png: No such file"),
        ("features", [], "fc.0", r"'fc\.0' has no feature maps; expected one of features\.0"),
        ("saliency", [], "no", "'no' has no feature maps; expected one of"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(runs, what, images, layer, message):
    with pytest.raises(InputError, match=message) as error:
        draw(what, runs["lenet_builtin"], images=images, layer=layer)
    assert "\n" not in str(error.value)


def test_the_figure_has_a_row_a_picture_and_no_grad_cam_without_a_layer(rng):
    network, batch = build_model("mlp"), rng.normal(size=(2, 1, 28, 28)).astype(np.float32)
    methods = explain(network, batch, np.array([0, 1]), None)
    figure = plot_saliency(batch[:, 0], ["a", "b"], methods)
    assert len(figure.axes) == 2 * 4
    assert not any("Grad-CAM" in axes.get_title() for axes in figure.axes)


def test_a_logit_that_no_occlusion_lowers_falls_by_0():
    network = paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(28 * 28, 2))
    network[1].weight.set_value(np.full((28 * 28, 2), -1e-5, np.float32))
    batch = np.ones((1, 1, 28, 28), np.float32)
    assert explain(network, batch, np.array([0]), None)[-1][2] == ["logit falls by up to 0.0"]
