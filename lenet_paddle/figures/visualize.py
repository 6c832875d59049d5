"""Draw a figure of `catalog.DRAWINGS` and write it: what `tools/visualize.py` does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_paddle.errors import InputError
from lenet_paddle.figures.catalog import DRAWINGS
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN_FLAG = {
    "no run": [],
    "optional": ["[--run]"],
    "one run": ["--run"],
    "several runs": ["--run ..."],
}
_log = logging.getLogger(__name__)


def list_figures() -> str:
    """Return a line for each figure, for `--help`: its name, what it draws, the flags it takes."""
    width = max(map(len, DRAWINGS))
    lines = []
    for name, drawing in DRAWINGS.items():
        about = str(drawing.draw.__doc__).partition("\n")[0].removeprefix("Draw ").rstrip(".")
        flags = " ".join([*RUN_FLAG[drawing.run], *(f"[--{setting}]" for setting in drawing.uses)])
        lines.append(f"  {name:<{width}}  {about}" + (f" ({flags})" if flags else ""))
    return "\n".join(lines)


def check_options(config: VisualizeConfig) -> None:
    """Raise `InputError` for an unknown figure and for settings that the figure does not use."""
    what = config.what
    if what not in DRAWINGS:
        raise InputError(f"figure {what!r} is unknown; expected one of {', '.join(DRAWINGS)}")
    drawing = DRAWINGS[what]
    if len(config.run) > 1 and drawing.run != "several runs":
        raise InputError(f"{what} draws one run; {len(config.run)} came after --run")
    default = VisualizeConfig()
    for name in dict.fromkeys(setting for other in DRAWINGS.values() for setting in other.uses):
        if getattr(config, name) != getattr(default, name) and name not in drawing.uses:
            users = [other for other in DRAWINGS if name in DRAWINGS[other].uses]
            raise InputError(f"{name} is for {', '.join(users)}; {what} does not use it")
    if not config.run and drawing.run in ("one run", "several runs"):
        raise InputError(f"{what} needs a trained run: --run output/<run>")


def visualize(config: VisualizeConfig) -> list[Path]:
    """Draw `config.what` and return the files written, first the figure asked for.

    Raises `InputError`.
    """
    check_options(config)

    from matplotlib.figure import Figure

    from lenet_paddle.figures.style import drawn_in, save_animation, save_figure

    suffix = ""
    for run in config.run:  # refuse a folder that is not a run before anything is drawn
        own = Run.open(run).config
        chosen = own.on_data(config.dataset, config.data_dir)
        suffix = "" if chosen is own else f"-{chosen.dataset}"
    with drawn_in(config.lang):
        drawn = DRAWINGS[config.what].draw(config)
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


def choose_paths(config: VisualizeConfig, stems: Sequence[str], suffix: str = "") -> list[Path]:
    """Return each figure's file. `--out a.png` names the first, the others become a-<rest>.png.

    Where the stems do not start with the first (architecture-<model>), all become a-<rest>.png.
    `suffix` keeps a run's figures on another data set apart.
    """
    if config.out is None:
        folder = Run.open(config.run[0]).figures if len(config.run) == 1 else Path()
        return [folder / f"{stem}{suffix}.png" for stem in stems]
    out = Path(config.out)
    is_family = all(stem.startswith(stems[0]) for stem in stems)
    rests = [stem.removeprefix(stems[0] if is_family else config.what) for stem in stems]
    return [out.with_name(f"{out.stem}{rest}{out.suffix}") for rest in rests]


def show_figures(figures: Sequence[Figure]) -> None:
    """Open a window for each figure and wait; without a display, log one warning."""
    from matplotlib import pyplot

    from lenet_paddle.figures.style import render

    try:
        interactive = pyplot.figure().canvas.required_interactive_framework is not None
    except ImportError:  # a backend is set that does not run here
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
