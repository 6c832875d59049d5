"""How figures look and are written: colours, fonts, pixels, files.

Figures are made without pyplot, so they need no display and no global state. Matplotlib is
imported inside the functions, here and wherever `catalog` leads, so that `--help` starts fast.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.figures.words import language, say
from lenet_paddle.files import make_folder, replacing

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito 2008: colour-blind-safe
OKABE_ITO = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MAX_NAME = 16  # characters of a class name that a figure shows
CJK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "SimHei")
CJK_FILES = ("NotoSansCJK", "wqy-microhei", "simhei", "SimHei")
CJK_PACKAGE = "apt install fonts-noto-cjk"

Plot = TypeVar("Plot", bound=Callable[..., Any])
Item = TypeVar("Item")
_log = logging.getLogger(__name__)


def styled(plot: Plot) -> Plot:
    """Plot with a Chinese font, where one is installed, with `$` as plain text, and without the
    user's own settings of matplotlib, such as LaTeX for all text."""

    @functools.wraps(plot)
    def plotted(*args: Any, **kwargs: Any) -> Any:
        import matplotlib.style

        settings: Any = {"text.parse_math": False, "font.family": _font_families()}
        with matplotlib.style.context(["default", settings]), _one_line_for_glyphs():
            return plot(*args, **kwargs)

    return plotted  # type: ignore[return-value]


def number_log_axis(axis: Axis, form: str) -> None:
    """Label a logarithmic axis with plain numbers, as `form` formats them: no mathtext, see
    `styled`. Numbers between powers of ten are shown where matplotlib has room for them."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return format(x, form) if super().__call__(x, pos) else ""

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain())


@functools.cache
def _font_families() -> list[str]:
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]


@contextlib.contextmanager
def _one_line_for_glyphs() -> Iterator[None]:
    """Turn matplotlib's warning for every missing glyph into one line with the package to install.

    Other warnings are issued again when the block ends.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = [w for w in caught if "missing from font" in str(w.message)]
    if missing:
        _log_missing_font()
    for warning in caught:
        if warning not in missing:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@functools.cache
def _log_missing_font() -> None:
    _log.warning(
        "figures show ? for characters that no installed font has; install one, on Debian and "
        "Ubuntu: %s",
        CJK_PACKAGE,
    )


@contextlib.contextmanager
def drawn_in(lang: str) -> Iterator[None]:
    """Write the figures made inside the block in `lang`, "en" or "zh"; `InputError` without a font
    for it."""
    if lang == "zh" and not find_chinese_font():
        raise InputError(
            "lang zh needs a font with Chinese characters and none is installed; install one, on "
            f"Debian and Ubuntu: {CJK_PACKAGE}"
        )
    with language(lang):
        yield


def find_chinese_font() -> bool:
    """Return whether figures can show Chinese.

    Also finds a font that was installed after matplotlib listed the machine's fonts.
    """
    from matplotlib import font_manager

    if len(_font_families()) == 1:
        for path in font_manager.findSystemFonts():
            if Path(path).name.startswith(CJK_FILES):
                font_manager.fontManager.addfont(path)
        _font_families.cache_clear()
    return len(_font_families()) > 1


def label_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the class names as figures show them: 0, 1, 2 ... if no installed font has them.

    The meaning of the numbers is then logged, once.
    """
    return _label_classes(tuple(classes))


@functools.cache
def _label_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    text = "".join(classes)
    if _can_show(text) or (find_chinese_font() and _can_show(text)):
        return classes
    legend = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    _log.warning(
        "figures number the classes, whose names no installed font has: %s; install one, on Debian "
        "and Ubuntu: %s",
        legend,
        CJK_PACKAGE,
    )
    return tuple(map(str, range(len(classes))))


def _can_show(text: str) -> bool:
    known = _known_characters(tuple(_font_families()))
    return all(ord(character) in known or character.isspace() for character in text)


@functools.cache
def _known_characters(families: tuple[str, ...]) -> frozenset[int]:
    from matplotlib import font_manager

    fonts = [font_manager.get_font(font_manager.findfont(family)) for family in families]
    return frozenset().union(*(font.get_charmap() for font in fonts))


def _replace_missing(figure: Figure) -> None:
    """Replace characters that no installed font has by `?`, where boxes would be drawn."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not _can_show(text.get_text()):
            text.set_text("".join(c if _can_show(c) else "?" for c in text.get_text()))
            _log_missing_font()


def short(name: str) -> str:
    """Cut a class name to `MAX_NAME` characters."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return all items, or an even choice of `most` of them with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def count_shown(shown: Sized, items: Sized) -> str:
    """Return what to add to a title when only some layers are shown: " (3 of 9 layers)"."""
    if len(shown) == len(items):
        return ""
    return say(
        " ({shown} of {total} layers)",
        "（共 {total} 层，画出 {shown} 层）",
        shown=len(shown),
        total=len(items),
    )


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """Return an empty figure of `width` x `height` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


@styled
def render(figure: Figure, dpi: int = 80) -> np.ndarray:
    """Return a figure's pixels, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _replace_missing(figure)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@styled
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix chooses PNG, SVG or PDF."""
    _replace_missing(figure)
    make_folder(path.parent)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def save_animation(frames: np.ndarray, path: Path, milliseconds: int = 170) -> None:
    """Write frames, uint8 (T, H, W, 3), as a GIF that repeats after a pause on the last frame.

    All frames share one palette, made from three of them, so that colours do not flicker.
    """
    from PIL import Image

    make_folder(path.parent)
    some = np.concatenate(frames[[len(frames) // 3, len(frames) // 2, -1]])
    colours = Image.fromarray(some).quantize(256, Image.Quantize.MAXCOVERAGE)
    pictures = [
        Image.fromarray(frame).quantize(palette=colours, dither=Image.Dither.NONE)
        for frame in frames
    ]
    times = [milliseconds] * (len(frames) - 1) + [10 * milliseconds]
    with replacing(path) as temporary:
        pictures[0].save(
            *(temporary, "GIF"), save_all=True, append_images=pictures[1:], duration=times, loop=0
        )
