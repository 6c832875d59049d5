"""One command a figure: what `tools/visualize.py` draws, from its settings.

The plots themselves are in `explain/`, which takes arrays; here runs, data sets and pictures are
loaded for them. Paddle is imported inside the functions, so that `--help` answers at once.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lenet_paddle.config import DatasetName, InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

What = Literal[
    *("samples", "kernels", "xo", "convolution", "padding", "pooling", "activations", "dropout"),
    *("operators", "filters", "features", "edges", "receptive-field", "saliency", "curves"),
    *("confusion", "mistakes", "calibration", "embedding", "architecture"),
]


@dataclass(frozen=True)
class VisualizeConfig:
    """Settings of `tools/visualize.py`."""

    what: Annotated[What, tyro.conf.Positional]
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


def visualize(config: VisualizeConfig) -> list[Path]:
    """Draw `config.what`; the files written. Raises `InputError`."""
    raise NotImplementedError


DRAWINGS: dict[str, Callable[[VisualizeConfig], dict[str, Figure]]] = {}
