"""Every figure of `tools/visualize.py`: its name, the function that draws it, what it can be given.

To add a figure, write its module in `concepts/`, `network/` or `results/` and name it here. This
module is imported for `--help`: import Paddle and matplotlib inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from lenet_paddle.figures.concepts.activations import draw_activations
from lenet_paddle.figures.concepts.connections import draw_connections
from lenet_paddle.figures.concepts.convolution import draw_convolution
from lenet_paddle.figures.concepts.dropout import draw_dropout
from lenet_paddle.figures.concepts.history import draw_history
from lenet_paddle.figures.concepts.kernels import draw_kernels
from lenet_paddle.figures.concepts.kinds import draw_kinds
from lenet_paddle.figures.concepts.learning import draw_learning
from lenet_paddle.figures.concepts.operator_cards import draw_operators
from lenet_paddle.figures.concepts.padding import draw_padding
from lenet_paddle.figures.concepts.pooling import draw_pooling
from lenet_paddle.figures.concepts.xo import draw_xo
from lenet_paddle.figures.network.architecture import draw_architecture
from lenet_paddle.figures.network.edges import draw_edges
from lenet_paddle.figures.network.features import draw_features
from lenet_paddle.figures.network.filters import draw_filters
from lenet_paddle.figures.network.receptive import draw_receptive_field
from lenet_paddle.figures.network.saliency import draw_saliency
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.results.augment import draw_augment
from lenet_paddle.figures.results.calibration import draw_calibration
from lenet_paddle.figures.results.confusion import draw_confusion
from lenet_paddle.figures.results.corruptions import draw_corruptions
from lenet_paddle.figures.results.curves import draw_curves
from lenet_paddle.figures.results.embedding import draw_embedding
from lenet_paddle.figures.results.mistakes import draw_mistakes
from lenet_paddle.figures.results.samples import draw_samples


class Drawing(NamedTuple):
    """A figure's function and the settings that it uses."""

    draw: Callable[[VisualizeConfig], Drawn]
    run: Literal["no run", "optional", "one run", "several runs"]
    """Whether it draws a run's model: one or several must be given, or one may be."""
    uses: tuple[str, ...] = ()
    """Settings that it uses out of images, model, layer, size, kernel, picture, pad, stride."""


DRAWINGS: dict[str, Drawing] = {
    "samples": Drawing(draw_samples, "optional", ("images",)),
    "augment": Drawing(draw_augment, "optional", ("images",)),
    "corruptions": Drawing(draw_corruptions, "optional", ("images",)),
    "kinds": Drawing(draw_kinds, "no run"),
    "kernels": Drawing(draw_kernels, "no run", ("images",)),
    "xo": Drawing(draw_xo, "no run"),
    "convolution": Drawing(draw_convolution, "optional", ("layer", "images", "kernel", "picture")),
    "connections": Drawing(draw_connections, "no run"),
    "padding": Drawing(draw_padding, "no run", ("size", "kernel", "pad", "stride")),
    "learning": Drawing(draw_learning, "no run"),
    "pooling": Drawing(draw_pooling, "optional", ("layer", "images")),
    "activations": Drawing(draw_activations, "optional", ("images",)),
    "dropout": Drawing(draw_dropout, "optional", ("images",)),
    "operators": Drawing(draw_operators, "no run"),
    "history": Drawing(draw_history, "no run"),
    "filters": Drawing(draw_filters, "one run"),
    "features": Drawing(draw_features, "one run", ("layer", "images")),
    "edges": Drawing(draw_edges, "one run", ("images",)),
    "receptive-field": Drawing(draw_receptive_field, "one run", ("images",)),
    "saliency": Drawing(draw_saliency, "one run", ("layer", "images")),
    "curves": Drawing(draw_curves, "several runs"),
    "confusion": Drawing(draw_confusion, "one run"),
    "mistakes": Drawing(draw_mistakes, "one run"),
    "calibration": Drawing(draw_calibration, "one run"),
    "embedding": Drawing(draw_embedding, "one run"),
    "architecture": Drawing(draw_architecture, "optional", ("model", "images")),
}
