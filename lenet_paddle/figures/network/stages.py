"""The columns of an architecture figure: layers joined to stages, with their outputs."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from paddle import nn

MOST_SHEETS = 8  # maps drawn of a stack
LARGEST_MAP = 32  # pixels a side in a grouped stage; larger maps are thinned out by one factor
# Lengths are in pixels of the input picture; a side of more than 32 pixels has the length 32.
SHIFT = 0.9  # from one sheet of a stack to the next
BAR = 3.0  # width of a vector


@dataclass
class Stage:
    """A column: a layer that changes the shape, and the layers after it that do not."""

    words: list[str]
    """The layers: `Conv2D`, `5x5`, `ReLU`."""
    values: np.ndarray
    """The output of the last of them for one picture, (C, H, W) or (N,)."""
    size: tuple[int, ...]
    """The shape of that output; `values` may be thinned out."""
    parameters: int = 0
    kernel: int = 0
    """Side of the window that a unit sees of the stage before; 0: it sees all of it."""
    is_input: bool = False
    pixel: float = 1.0
    """The length of a pixel of `values`."""

    @property
    def is_spatial(self) -> bool:
        """Whether it is drawn as maps; a vector, or 120 maps of one pixel, is drawn as a bar."""
        return self.values.ndim == 3 and max(self.values.shape[1:]) > 1

    @property
    def shape(self) -> str:
        """`6@28x28`, as in the paper, or the number of units."""
        if len(self.size) == 1:
            return f"{self.size[0]}"
        return f"{self.size[0]}@{self.size[1]}x{self.size[2]}"

    @property
    def sheets(self) -> int:
        """The number of maps drawn."""
        return min(len(self.values), MOST_SHEETS)

    @property
    def side(self) -> float:
        """Height of one map; for a vector, the side of a square with as many values."""
        return self.values.shape[1] * self.pixel if self.is_spatial else math.sqrt(self.values.size)

    @property
    def height(self) -> float:
        """Height of the stack."""
        return self.side + (SHIFT * (self.sheets - 1) if self.is_spatial else 0)

    @property
    def breadth(self) -> float:
        """Width of one map."""
        return self.values.shape[2] * self.pixel

    @property
    def width(self) -> float:
        """Width of the stack or bar."""
        return self.breadth + SHIFT * (self.sheets - 1) if self.is_spatial else BAR


def make_stages(network: nn.Layer, picture: np.ndarray) -> list[Stage]:
    """Return the input and every convolution, pooling and dense layer with its output.

    picture: a normalised batch of one, float32 (1, C, S, S). Activations and other layers that
    keep the shape belong to the stage before them; flattening is not drawn.
    """
    from paddle import nn

    from lenet_paddle.analysis.hooks import layer_outputs, leaf_layers
    from lenet_paddle.models.parameters import learned_parameters

    layers = leaf_layers(network)
    stages = [Stage([say("input", "输入")], picture[0], picture[0].shape, is_input=True)]
    for name, output in layer_outputs(network, picture).items():
        layer, values = layers[name], output[0]
        parameters = sum(weight.size for weight in learned_parameters(layer).values())
        if isinstance(layer, nn.Flatten):
            continue
        if parameters == 0 and values.shape == stages[-1].values.shape:
            stages[-1].words.append(type(layer).__name__)
            stages[-1].values = values
        else:
            stages.append(_make_stage(layer, values, parameters))
    for stage in stages:
        stage.pixel = min(1.0, LARGEST_MAP / picture.shape[-1])
    return stages


def _make_stage(layer: nn.Layer, values: np.ndarray, parameters: int) -> Stage:
    kernel = getattr(layer, "_kernel_size", getattr(layer, "ksize", None))
    words = [type(layer).__name__]
    if kernel is None:
        return Stage(words, values, values.shape, parameters)
    high, wide = np.broadcast_to(kernel, 2).tolist()
    return Stage([*words, f"{high}x{wide}"], values, values.shape, parameters, high)


def group_stages(stages: Sequence[Stage]) -> list[Stage]:
    """Join the stages of one map size to one, with the maps of the last and all layers counted.

    Small maps between larger ones, such as those of a gate on the channels, belong to the larger.
    Maps above `LARGEST_MAP` are thinned out.
    """
    sides = [stage.size[1] if len(stage.size) == 3 else 0 for stage in stages]
    largest = np.maximum.accumulate(sides[::-1])[::-1].tolist()  # of this and all later stages
    step = -(-max(sides[1:]) // LARGEST_MAP)
    groups: list[Stage] = [stages[0]]
    for _, members in itertools.groupby(range(1, len(stages)), lambda i: largest[i] or -i):
        own = list(members)
        last = stages[[i for i in own if sides[i] == largest[i]][-1]]
        values = last.values[:, ::step, ::step] if last.values.ndim == 3 else last.values
        if values.ndim == 1 and len(values) > LARGEST_MAP**2:
            values = values[:: step * step]
        kinds = Counter(word for i in own for word in stages[i].words if word.isidentifier())
        words = [f"{count} {kind}" if count > 1 else kind for kind, count in kinds.most_common(4)]
        parameters = sum(stages[i].parameters for i in own)
        groups.append(Stage(words, values, last.size, parameters))
    return groups
