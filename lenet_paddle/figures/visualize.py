"""Room 8: settings -> figures, one command each; what `tools/visualize.py` does.

The plots themselves are in `explain/`, which takes arrays; here runs, data sets and pictures are
loaded for them (`subject`) and given to them (`ideas`, `networks`, `results`). Paddle is imported
inside the functions, so that `--help` answers at once.
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

from lenet_paddle.data.datasets import DatasetName
from lenet_paddle.errors import InputError
from lenet_paddle.models import check_model
from lenet_paddle.settings import check_types

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    Drawn = Mapping[str, Figure | np.ndarray]
    """File stem -> figure, or the frames of an animation, uint8 (T, H, W, 3)."""

What = Literal[
    "samples",
    "augment",
    "corruptions",
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
MODULES = ("concepts", "network", "results")  # the modules with a dict `DRAWINGS`
USED_BY: dict[str, tuple[str, ...]] = {
    "layer": ("convolution", "pooling", "features", "saliency"),
    "model": ("architecture",),
    **dict.fromkeys(("size", "kernel", "pad", "stride"), ("padding",)),
    "images": (
        *("samples", "augment", "corruptions", "kernels", "convolution", "pooling"),
        *("activations", "dropout", "features", "edges", "receptive-field", "saliency"),
        "architecture",
    ),
}
"""Settings that only these figures know; elsewhere they are refused."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VisualizeConfig:
    """Settings of `tools/visualize.py`. Raises `InputError` for a wrong type or range."""

    what: Annotated[What, tyro.conf.Positional] = "samples"
    """The figure."""
    run: list[str] = field(default_factory=list)
    """The run whose model is drawn, output/<run>; curves takes several."""
    model: str | None = None
    """architecture: an untrained network by name, e.g. vision:resnet18, instead of a run's."""
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
    """convolution, pooling, features (its grid), saliency (Grad-CAM): a layer by name, such as
    features.0 (default: a choice that suits)."""
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
        own = {f.name: f.default for f in dataclasses.fields(self)}
        for name, figures in USED_BY.items():
            value = getattr(self, name)
            is_given = bool(value) if name == "images" else value != own[name]
            if is_given and self.what not in figures:
                raise InputError(
                    f"{name} is for {', '.join(figures)}; {self.what} has no use of it"
                )
        if self.model is not None:
            check_model(self.model)
            if self.run:
                raise InputError("run and model name two networks; give one of them")


def visualize(config: VisualizeConfig) -> list[Path]:
    """Draw `config.what`; the files written, of which the first is the figure asked for.

    Raises `InputError`.
    """
    from matplotlib.figure import Figure

    from lenet_paddle.figures import words
    from lenet_paddle.figures.style import find_chinese_font, save_animation, save_figure
    from lenet_paddle.run_folder import Run

    if config.lang == "zh" and not find_chinese_font():
        raise InputError(
            "lang zh needs a font with Chinese characters and none is installed; install one, on "
            "Debian and Ubuntu: apt install fonts-noto-cjk"
        )
    suffix = ""
    for run in config.run:
        own = Run.open(run).config  # report a folder that is not a run at once
        chosen = own.on_data(config.dataset, config.data_dir)
        suffix = "" if chosen is own else f"-{chosen.dataset}"
    with words.language(config.lang):
        drawn = find_drawing(config.what)(config)
        paths = choose_paths(config, list(drawn), suffix)
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
    """The function that draws `what`: settings -> {file stem: figure or frames}.

    Its module is loaded only now, since it loads Paddle and builds on this one.
    """
    for module in MODULES:
        drawings = importlib.import_module(f"lenet_paddle.figures.visualize.{module}").DRAWINGS
        if what in drawings:
            return drawings[what]
    raise InputError(f"what is {what!r}; expected one of {', '.join(typing.get_args(What))}")


def choose_paths(config: VisualizeConfig, stems: Sequence[str], suffix: str = "") -> list[Path]:
    """Where each figure goes; `--out a.png` names the first, others become a-<rest>.png, and all
    of them where none is the first. `suffix` keeps figures of a run on foreign data apart."""
    if config.out is None:
        folder = Path(config.run[0]) / "figures" if len(config.run) == 1 else Path()
        return [folder / f"{stem}{suffix}.png" for stem in stems]
    out = Path(config.out)
    is_family = all(stem.startswith(stems[0]) for stem in stems)  # else architecture-<model> ...
    rests = [stem.removeprefix(stems[0] if is_family else config.what) for stem in stems]
    return [out.with_name(f"{out.stem}{rest}{out.suffix}") for rest in rests]


def show_figures(figures: Sequence[Figure]) -> None:
    """Open a window for each figure and wait; without a display there is one warning."""
    from matplotlib import pyplot

    from lenet_paddle.figures.style import render

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
