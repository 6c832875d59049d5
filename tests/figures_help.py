"""What the tests of figures share: draw by name, collect a figure's texts, catch a refusal."""

from __future__ import annotations

from typing import Any

import refusal_help
from matplotlib.figure import Figure
from matplotlib.text import Text

from lenet_paddle.cli import parse_args
from lenet_paddle.figures.catalog import DRAWINGS
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.visualize import visualize


def draw(what: str, **settings: Any) -> dict[str, Any]:
    """Draw a figure of the catalog without writing it."""
    return dict(DRAWINGS[what].draw(VisualizeConfig(what, **settings)))


def texts_of(figure: Figure) -> str:
    """Return every text in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def refusal(*argv: str) -> str:
    """Return the one line with which the tool refuses these flags."""
    return refusal_help.refusal(lambda: visualize(parse_args(VisualizeConfig, "", argv)))
