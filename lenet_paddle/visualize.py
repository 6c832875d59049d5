"""One command a figure: what `tools/visualize.py` draws, from its settings.

The plots themselves are in `explain/`, which takes arrays; here runs, data sets and pictures are
loaded for them. Paddle is imported inside the functions, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lenet_paddle.config import DatasetName, InputError, check_types

if TYPE_CHECKING:
    import numpy as np
    import paddle
    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure

    from lenet_paddle.config import TrainConfig
    from lenet_paddle.data.imageset import ImageSet

    Drawn = Mapping[str, Figure | FuncAnimation]

What = Literal[
    "samples",
    "kernels",
    "xo",
    "convolution",
    "padding",
    "pooling",
    "activations",
    "dropout",
    "operators",
    "filters",
    "features",
    "edges",
    "receptive-field",
    "saliency",
    "curves",
    "confusion",
    "mistakes",
    "calibration",
    "embedding",
    "architecture",
]
SUFFIXES = (".png", ".svg", ".pdf")
MAX_SIZE = 512  # pixels a side that `padding` draws
DRAWINGS = (("visualize_concepts", "CONCEPT_DRAWINGS"), ("visualize_model", "MODEL_DRAWINGS"))
"""Where the functions are: module and dict."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VisualizeConfig:
    """Settings of `tools/visualize.py`. Raises `InputError` for a wrong type or range."""

    what: Annotated[What, tyro.conf.Positional] = "samples"
    """The figure."""
    run: list[str] = field(default_factory=list)
    """The run whose model is drawn, output/<run>; curves takes several."""
    checkpoint: str = "best"
    """best, latest, or one such as epoch_0005."""
    images: list[str] = field(default_factory=list)
    """Positions of test images (0 3 17), or picture files; default: a choice that suits."""
    dataset: DatasetName | None = None
    """The data set, default: the run's own, or mnist."""
    data_dir: str | None = None
    """Where that data set lies."""
    out: str | None = None
    """The file; .png, .svg or .pdf (default: figures/<what>.png of the run, else <what>.png)."""
    show: bool = False
    """Open the figure in a window too."""
    lang: Literal["en", "zh"] = "en"
    """Language of titles and labels; zh needs a Chinese font."""
    layer: str | None = None
    """convolution, features, saliency: a layer by name, e.g. features.0 (default: suits)."""
    size: int = 32
    """padding: N, pixels a side of the input."""
    kernel: int = 5
    """padding: F, pixels a side of the kernel."""
    pad: int = 0
    """padding: P, pixels of padding on each side."""
    stride: int = 1
    """padding: S, the step of the kernel."""

    def __post_init__(self) -> None:
        check_types(self)
        for name, low in (("size", 1), ("kernel", 1), ("pad", 0), ("stride", 1)):
            if not low <= getattr(self, name) <= MAX_SIZE:
                raise InputError(
                    f"{name} is {getattr(self, name)}; expected a whole number from {low} to "
                    f"{MAX_SIZE}"
                )
        if self.kernel > self.size + 2 * self.pad:
            raise InputError(
                f"kernel is {self.kernel}, but the input has only {self.size} + 2 * {self.pad} = "
                f"{self.size + 2 * self.pad} pixels a side; take a smaller --kernel or more --pad"
            )
        if self.out is not None and Path(self.out).suffix.lower() not in SUFFIXES:
            raise InputError(f"out is {self.out!r}; expected a name that ends in .png, .svg, .pdf")
        if len(self.run) > 1 and self.what != "curves":
            raise InputError(f"{self.what} draws one run; {len(self.run)} came after --run")


def visualize(config: VisualizeConfig) -> list[Path]:
    """Draw `config.what`; the files written, of which the first is the figure asked for.

    Raises `InputError`.
    """
    from matplotlib.figure import Figure

    from lenet_paddle.deploy.predictor import read_config
    from lenet_paddle.explain import words
    from lenet_paddle.explain.figures import find_chinese_font, save_animation, save_figure

    if config.lang == "zh" and not find_chinese_font():
        raise InputError(
            "lang zh needs a font with Chinese characters and none is installed; install one, on "
            "Debian and Ubuntu: apt install fonts-noto-cjk"
        )
    for run in config.run:
        read_config(Path(run))  # a folder that is no run is said at once
    with words.language(config.lang):
        drawn = find_drawing(config.what)(config)
        paths = choose_paths(config, list(drawn))
        written = []
        for path, figure in zip(paths, drawn.values(), strict=True):
            if isinstance(figure, Figure):
                save_figure(figure, path)
            else:
                path = path.with_suffix(".gif")
                save_animation(figure, path)
            written.append(path)
    if config.show:
        show_figures([figure for figure in drawn.values() if isinstance(figure, Figure)])
    return written


def find_drawing(what: str) -> Callable[[VisualizeConfig], Drawn]:
    """The function that draws `what`: settings -> {file stem: figure or animation}.

    The modules are named by strings, since they build on this one and only the one needed is
    loaded.
    """
    for module, name in DRAWINGS:
        drawings = getattr(importlib.import_module(f"lenet_paddle.{module}"), name)
        if what in drawings:
            return drawings[what]
    raise InputError(f"what is {what!r}; expected one of {', '.join(typing.get_args(What))}")


def choose_paths(config: VisualizeConfig, stems: Sequence[str]) -> list[Path]:
    """Where each figure goes; `--out a.png` names the first, others become a-<rest>.png."""
    if config.out is None:
        folder = Path(config.run[0]) / "figures" if len(config.run) == 1 else Path()
        return [folder / f"{stem}.png" for stem in stems]
    out = Path(config.out)
    rests = [stem.removeprefix(stems[0]) for stem in stems]
    return [out.with_name(f"{out.stem}{rest}{out.suffix}") for rest in rests]


def show_figures(figures: Sequence[Figure]) -> None:
    """Open a window for each figure and wait; without a display there is one warning."""
    from matplotlib import pyplot

    from lenet_paddle.explain.figures import render

    try:
        interactive = pyplot.figure().canvas.required_interactive_framework is not None
    except ImportError:  # a backend was demanded that does not run here
        interactive = False
    pyplot.close("all")
    if not interactive:
        _log.warning("no window: matplotlib finds no display here; open the written file instead")
        return
    for figure in figures:
        pixels = render(figure, dpi=100)
        window = pyplot.figure(figsize=figure.get_size_inches())
        window.figimage(pixels)
    pyplot.show()


def need_run(config: VisualizeConfig) -> Path:
    """The run that was named. Raises `InputError` when there is none."""
    if not config.run:
        raise InputError(f"{config.what} needs a trained run: --run output/<run>")
    return Path(config.run[0])


def load_images(config: VisualizeConfig, split: str = "test") -> tuple[ImageSet, str]:
    """The images that the settings name, and the data set's name: --dataset, else the run's own,
    else mnist. Raises `InputError`."""
    from lenet_paddle.data import load_data

    settings = data_settings(config)
    [image_set] = load_data(settings, split)
    return image_set, settings.dataset


def data_settings(config: VisualizeConfig) -> TrainConfig:
    """The run's settings (or the defaults) with --dataset and --data-dir put in."""
    from lenet_paddle.config import TrainConfig
    from lenet_paddle.deploy.predictor import read_config

    settings = read_config(Path(config.run[0])) if config.run else TrainConfig()
    if config.dataset is None and config.data_dir is None:
        return settings
    return dataclasses.replace(
        settings,
        dataset=config.dataset or settings.dataset,
        data_dir=config.data_dir,
        preprocess=settings.picture_mode,
    )


def choose_positions(config: VisualizeConfig, image_set: ImageSet) -> list[int]:
    """`--images` as positions in `image_set`. Raises `InputError` for what is none."""
    positions = []
    for text in config.images:
        if not (text.isascii() and text.isdigit()) or int(text) >= len(image_set):
            raise InputError(
                f"images has {text!r}; expected positions of test images, 0 to "
                f"{len(image_set) - 1}" + (", or picture files" if config.what != "samples" else "")
            )
        positions.append(int(text))
    return positions


def choose_picture(config: VisualizeConfig, prepared: bool = True) -> tuple[np.ndarray, str]:
    """The first of `--images`, else test image 0: grey uint8 (28, 28), or a file as it is when
    not `prepared`; and what to call it. Raises `InputError`."""
    from lenet_paddle.data.preprocess import load_picture, prepare_picture
    from lenet_paddle.explain.words import say

    if len(config.images) > 1:
        raise InputError(
            f"{config.what} draws one picture; {len(config.images)} came after --images"
        )
    if config.images and not config.images[0].lstrip("-").isdigit():
        path = Path(config.images[0])
        picture = load_picture(path)
        if prepared:
            picture = prepare_picture(picture, data_settings(config).picture_mode)
        return picture, path.name
    image_set, dataset = load_images(config)
    position = (choose_positions(config, image_set) or [0])[0]
    name = say("{dataset} test image {n}", dataset=dataset, n=position)
    return image_set.images[position], name


def load_model(config: VisualizeConfig) -> tuple[paddle.nn.Layer, int]:
    """The run's network with the checkpoint's weights, and the side of its input."""
    from lenet_paddle import runtime
    from lenet_paddle.deploy.predictor import load_run
    from lenet_paddle.models import input_size

    runtime.select_device("auto")
    settings, network, _ = load_run(need_run(config), config.checkpoint)
    return network, input_size(settings.model)


def predict_test_set(config: VisualizeConfig) -> tuple[ImageSet, np.ndarray, str, str]:
    """The test images, their logits (N, C), a title, and a suffix for files of a foreign set."""
    from lenet_paddle import runtime
    from lenet_paddle.data import load_test_set
    from lenet_paddle.deploy.predictor import load_run
    from lenet_paddle.evaluation.evaluate import predict_logits
    from lenet_paddle.explain.words import say
    from lenet_paddle.models import input_size

    runtime.select_device("auto")
    run_dir = need_run(config)
    own, network, classes = load_run(run_dir, config.checkpoint)
    settings = data_settings(config)
    test_set = load_test_set(settings, classes)
    logits = predict_logits(network, test_set, input_size(own.model))
    accuracy = float((logits.argmax(axis=1) == test_set.labels).mean())
    title = say(
        "{run}, {dataset} test accuracy {accuracy:.4f}",
        run=run_dir.resolve().name,
        dataset=settings.dataset,
        accuracy=accuracy,
    )
    return test_set, logits, title, "" if settings == own else f"-{settings.dataset}"
