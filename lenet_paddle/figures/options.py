"""The settings of `tools/visualize.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro

from lenet_paddle.data.datasets import DatasetName
from lenet_paddle.errors import InputError
from lenet_paddle.figures.words import Lang
from lenet_paddle.models import check_model
from lenet_paddle.settings import PATH, Bound, Settings, between

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

Drawn: TypeAlias = "Mapping[str, Figure | np.ndarray]"
"""What a drawing function returns: file stem -> figure, or an animation's frames, uint8
(T, H, W, 3)."""

SUFFIXES = (".png", ".svg", ".pdf")
MAX_SIZE = 512  # pixels a side that `padding` draws
POSITIVE = between(1, MAX_SIZE, "a whole number")
SIDE_OR_ROWS = Bound(lambda v: isinstance(v, str) or POSITIVE.holds(v), POSITIVE.words)


@dataclass(frozen=True)
class VisualizeConfig(Settings):
    """Settings of `tools/visualize.py`. Raises `InputError` for a wrong type or range."""

    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FIGURE")] = "samples"
    """One of the figures above."""
    run: Annotated[list[str], PATH] = field(default_factory=list)
    """The run whose model is drawn, output/<run>."""
    model: str | None = None
    """An untrained network by name, e.g. vision:resnet18, instead of a run's."""
    checkpoint: str = "best"
    """best, latest, or one such as epoch_0005."""
    images: Annotated[list[str], PATH] = field(default_factory=list)
    """Positions of test images (0 3 17), or picture files; default: a choice that suits."""
    dataset: DatasetName | None = None
    """The data set, default: the run's own, or mnist."""
    data_dir: Annotated[str | None, PATH] = None
    """Where that data set is."""
    out: Annotated[str | None, PATH] = None
    """The file; .png, .svg or .pdf (default: figures/<what>.png of the run, else <what>.png)."""
    show: bool = False
    """Open the figure in a window too."""
    lang: Lang = "en"
    """Language of titles and labels; zh needs a Chinese font."""
    layer: str | None = None
    """A layer by name, such as features.0 (default: a choice that suits)."""
    size: Annotated[int, POSITIVE] = 32
    """N, pixels a side of the input."""
    kernel: Annotated[int | str, SIDE_OR_ROWS] = 5
    """F, pixels a side of the kernel; for convolution its numbers: "1 0 1/0 1 0/1 0 1"."""
    picture: str | None = None
    """A picture in numbers, row by row, as the kernel: "1 1 0/0 1 1/0 0 1"."""
    pad: Annotated[int, between(0, MAX_SIZE, "a whole number")] = 0
    """P, pixels of padding on each side."""
    stride: Annotated[int, POSITIVE] = 1
    """S, the step of the kernel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.kernel, int) and self.kernel > self.size + 2 * self.pad:
            raise InputError(
                f"kernel is {self.kernel}, but the input has only {self.size} + 2 * {self.pad} = "
                f"{self.size + 2 * self.pad} pixels a side; take a smaller --kernel or more --pad"
            )
        if self.out is not None and Path(self.out).suffix.lower() not in SUFFIXES:
            raise InputError(f"out is {self.out!r}; expected a name that ends in .png, .svg, .pdf")
        if self.model is not None:
            check_model(self.model)
            if self.run:
                raise InputError("run and model name two networks; give one of them")
