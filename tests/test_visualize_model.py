"""The glue: runs and pictures are found, wrong ones are refused in a line, both languages draw."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from lenet_paddle import TrainConfig, train_and_evaluate
from lenet_paddle.config import InputError
from lenet_paddle.explain.figures import render
from lenet_paddle.explain.words import language
from lenet_paddle.models import MODELS
from lenet_paddle.visualize_input import choose_pictures, load_subject
from lenet_paddle.visualize_model import MODEL_DRAWINGS


@dataclass(frozen=True)
class Settings:
    run: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    checkpoint: str = "best"
    dataset: str | None = None
    data_dir: str | None = None
    layer: str | None = None


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


@pytest.mark.parametrize("what", MODEL_DRAWINGS)
def test_every_drawing_of_a_run_can_be_rendered_in_chinese(what, runs):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    with language("zh"):  # a template without a translation raises KeyError
        figures = MODEL_DRAWINGS[what](Settings([runs["lenet_builtin"]]))
    assert what in figures
    for figure in figures.values():
        pixels = render(figure, dpi=20)
        assert pixels.std() > 5  # something is on the paper


def test_what_needs_a_convolution_says_so_of_an_mlp(runs):
    for what in ("filters", "receptive-field"):
        with pytest.raises(InputError, match="mlp has no convolution"):
            MODEL_DRAWINGS[what](Settings([runs["mlp"]]))
    assert list(MODEL_DRAWINGS["features"](Settings([runs["mlp"]]))) == ["features"]
    titles = [
        axes.get_title()
        for axes in MODEL_DRAWINGS["saliency"](Settings([runs["mlp"]]))["saliency"].axes
    ]
    assert not any("Grad-CAM" in title for title in titles)


def test_without_a_run_every_models_architecture_is_drawn_and_the_rest_asks_for_one():
    figures = MODEL_DRAWINGS["architecture"](Settings())
    assert list(figures) == [f"architecture-{name}" for name in MODELS]
    with pytest.raises(InputError, match=r"no run came.*--run"):
        MODEL_DRAWINGS["filters"](Settings())
    with pytest.raises(InputError, match="2 runs came"):
        MODEL_DRAWINGS["filters"](Settings(["a", "b"]))


def test_pictures_are_one_of_each_class_or_the_chosen(runs, tmp_path, write_picture):
    pytest.importorskip("skimage")
    subject = load_subject(Settings([runs["lenet_builtin"]]))
    assert choose_pictures(Settings(), subject, 3).names == ["#0", "#1", "#2"]
    path = write_picture(tmp_path / "mine.png", np.full((28, 28), 7))
    chosen = choose_pictures(Settings(images=["5", str(path)]), subject, 3)
    assert chosen.names == ["#5", "mine"]
    assert chosen.images.shape == (2, 28, 28) and (chosen.images[1] == 7).all()
    stems = MODEL_DRAWINGS["features"](Settings([runs["lenet_builtin"]], ["5", str(path)]))
    assert list(stems) == ["features-5", "features-mine", "features-grid"]
    twice = MODEL_DRAWINGS["edges"](Settings([runs["lenet_builtin"]], ["5", "5"]))
    assert list(twice) == ["edges-5-0", "edges-5-1"]


@pytest.mark.parametrize(
    ("images", "layer", "message"),
    [
        (["60"], None, "test image 60 came; expected a position from 0 to 59"),
        (["none.png"], None, "none.png"),
        ([], "fc.0", r"'fc\.0' has no feature maps; expected one of features\.0"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(runs, images, layer, message):
    with pytest.raises(InputError, match=message) as error:
        MODEL_DRAWINGS["features"](Settings([runs["lenet_builtin"]], images, layer=layer))
    assert "\n" not in str(error.value)
