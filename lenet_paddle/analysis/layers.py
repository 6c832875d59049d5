"""A network layer by layer: shapes, parameters with their formula, multiply-adds, the field.

Counted by hooks on the layers for one picture. Functions between layers (adding a shortcut,
concatenating, `F.relu`) have no parameters and are not counted, but the receptive field follows
them through Paddle's graph of gradients.

`paddle.summary` and `paddle.flops` report less, and `flops` is wrong in part: it calls
multiply-adds FLOPs, adds the bias of a convolution but not of a linear layer, counts `c_in`
products for every output of a transposed convolution, and ignores subclasses and `BatchNorm1D`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn

from lenet_paddle.analysis.counting import (
    check_fit,
    count_flops,
    count_macs,
    find_windows,
    has_weights,
    write_formula,
)
from lenet_paddle.analysis.hooks import leaf_layers
from lenet_paddle.data.form import SIZE
from lenet_paddle.models import build_model, input_size
from lenet_paddle.models.chains import find_stages
from lenet_paddle.models.parameters import learned_parameters

DEFINITIONS = {
    "parameters": "trained numbers; a batch norm's running statistics are counted apart",
    "MACs": "multiply-adds of a weight with a value, in convolutions and linear layers",
    "FLOPs": "2 per MAC, 1 per output for a bias, 2 per value for a batch norm (in use), "
    "1 per value in a pooling window, 1 per value for an activation",
    "field": "receptive field: pixels of the picture that a unit can depend on, padding included",
    "stride": "pixels of the picture between neighbouring units of a map",
    "memory": "bytes of the layer's output, float32, for one picture",
    "not counted": "what is done by functions between layers (additions, concatenations, F.relu)",
}


@dataclass(frozen=True)
class LayerRow:
    """One call of one layer, for one picture."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """Without the batch: (C, H, W) or (C,)."""
    parameters: int
    """Learned numbers; 0 in a second call of the layer."""
    formula: str
    """Their formula: `(5*5*1 + 1)*6`."""
    not_trained: int
    """Running statistics."""
    frozen: int
    """Those of `parameters` that are not trained."""
    macs: int
    flops: int
    is_counted: bool
    """Whether `flops` is known for this kind of layer."""
    field: tuple[float, ...]
    """Pixels along each axis; NaN where a function between layers changed the map's size."""
    stride: tuple[float, ...]
    """Empty for a vector, which has no neighbouring units."""
    depth: int
    """Layers with weights on the longest path from the picture, this one included."""
    memory: int
    is_covered: bool = False
    """Whether the package's own operators compute it in training on a CPU."""


@dataclass(frozen=True)
class Place:
    """The units of a tensor in pixels of the picture, along each axis of its map."""

    field: tuple[float, ...]
    step: tuple[float, ...]
    units: tuple[int, ...]
    """The map's size; empty for a vector."""
    depth: int = 0


def analyse_model(
    name: str, num_classes: int = 10, channels: int = 1, image_size: int = SIZE
) -> list[LayerRow]:
    """Analyse the network `name` as it is built for pictures of that form, for one of them.

    Raises `InputError` for an unknown network and for pictures smaller than 28x28.
    """
    network = build_model(name, num_classes, channels, image_size)
    return analyse(network, input_shape(name, channels, image_size))


def input_shape(name: str, channels: int = 1, image_size: int = SIZE) -> tuple[int, int, int]:
    """Return the shape of the network's input, (C, S, S), for pictures of that form."""
    side = input_size(name, image_size)
    return (channels, side, side)


def analyse(network: nn.Layer, shape: tuple[int, ...]) -> list[LayerRow]:
    """Analyse the layers of `network`, in the order of their calls, for one input of `shape`.

    `shape` is (C, H, W) or has another number of axes after C. The network is left as it was.
    """
    tracer = _Tracer(network)
    was_training = network.training
    network.eval()
    try:
        images = paddle.zeros([1, *shape])
        images.stop_gradient = False  # so that Paddle records the graph
        with paddle.enable_grad():
            tracer.begin(images * 1)
            network.train()
            covered = find_covered(network, tracer.shapes)
    finally:
        tracer.remove_hooks()
        network.train() if was_training else network.eval()
    return [dataclasses.replace(row, is_covered=row.name in covered) for row in tracer.rows]


def find_covered(network: nn.Layer, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the names of the layers that the own operators compute in the mode of `network`.

    shapes: of each layer's input, without the batch, by name. Where the operators are missing,
    Paddle computes these layers too.
    """
    names = {id(layer): name for name, layer in leaf_layers(network).items()}
    covered: set[str] = set()
    for block in network.sublayers(include_self=True):
        layers = list(block) if type(block) is nn.Sequential else []
        while layers:
            shape = shapes.get(names.get(id(layers[0]), ""))
            length = 0 if shape is None else find_stages(layers, shape)[1]
            covered.update(names[id(layer)] for layer in layers[:length] if id(layer) in names)
            layers = layers[length or 1 :]
    return covered


def totals(rows: list[LayerRow]) -> dict[str, Any]:
    """Return sums over `rows`, the depth, and the receptive field of the last map.

    That is the largest field of a convolution or pooling, before the map is flattened or pooled
    as a whole.
    """
    maps = [row for row in rows if row.kind.startswith(("Conv", "MaxPool", "AvgPool"))]
    return {
        "parameters": sum(row.parameters for row in rows),
        "not_trained": sum(row.not_trained for row in rows),
        "frozen": sum(row.frozen for row in rows),
        "macs": sum(row.macs for row in rows),
        "flops": sum(row.flops for row in rows),
        "depth": max(row.depth for row in rows),
        "field": tuple(np.max([row.field for row in maps or rows], axis=0).tolist()),
        "activation_bytes": sum(row.memory for row in rows),
        "weight_bytes": 4 * sum(row.parameters + row.not_trained for row in rows),
        "layers": len(rows),
        "covered": sum(row.is_covered for row in rows),
        "covered_macs": sum(row.macs for row in rows if row.is_covered),
        "unknown_kinds": sorted({row.kind for row in rows if not row.is_counted}),
    }


class _Tracer:
    """Hooks on the layers that follow each tensor's place in the picture."""

    def __init__(self, network: nn.Layer) -> None:
        self.network = network
        self.rows: list[LayerRow] = []
        self.shapes: dict[str, tuple[int, ...]] = {}  # of each layer's input
        self.places: dict[int, Place] = {}  # by the node that made the tensor
        self.alive: list[paddle.Tensor] = []  # else a node's pointer may be used again
        self.called: set[int] = set()
        self.hooks: list[Any] = []
        for name, layer in leaf_layers(network).items():
            self._watch(name, layer)

    def _watch(self, name: str, layer: nn.Layer) -> None:
        def after(layer: nn.Layer, inputs: Any, output: Any) -> None:
            self.record(name, layer, inputs[0], output)

        self.hooks.append(layer.register_forward_pre_hook(lambda own, x: check_fit(name, own, x)))
        self.hooks.append(layer.register_forward_post_hook(after))

    def remove_hooks(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def begin(self, images: paddle.Tensor) -> None:
        """Run the network; `images` must have a node of its own."""
        units = tuple(images.shape[2:])
        self._put(images, Place((1.0,) * len(units), (1.0,) * len(units), units))
        self.network(images)

    def record(self, name: str, layer: nn.Layer, x: paddle.Tensor, y: Any) -> None:
        y = y[0] if isinstance(y, (tuple, list)) else y
        sizes = tuple(x.shape), tuple(y.shape)
        self.shapes[name] = sizes[0][1:]
        place = move(self._find(x), layer, *sizes)
        self._put(y, place)
        is_new = id(layer) not in self.called
        self.called.add(id(layer))
        learned = list(learned_parameters(layer).values()) if is_new else []
        num_learned = sum(p.size for p in learned)
        macs = count_macs(layer, *sizes)
        flops = count_flops(layer, *sizes)
        self.rows.append(
            LayerRow(
                name=name,
                kind=type(layer).__name__,
                output_shape=sizes[1][1:],
                parameters=num_learned,
                formula=write_formula(layer) if is_new else "as before",
                not_trained=is_new * sum(p.size for p in layer.parameters()) - num_learned,
                frozen=sum(p.size for p in learned if p.stop_gradient),
                macs=macs,
                flops=flops or 0,
                is_counted=flops is not None,
                field=place.field,
                stride=place.step if place.units else (),
                depth=place.depth,
                memory=y.size * y.element_size(),
            )
        )

    def _put(self, tensor: paddle.Tensor, place: Place) -> None:
        self.alive.append(tensor)
        self.places[tensor.grad_fn.node_ptr()] = place

    def _find(self, tensor: paddle.Tensor) -> Place:
        """Return the place of a layer's input, joined from the layers whose outputs it combines."""
        waiting, seen, sources = [tensor.grad_fn], set(), []
        while waiting:
            node = waiting.pop()
            if node is None or node.node_ptr() in seen:
                continue
            seen.add(node.node_ptr())
            if node.node_ptr() in self.places:
                sources.append(self.places[node.node_ptr()])
            else:
                waiting.extend(node.next_functions)
        return join(sources, tuple(tensor.shape[2:]))


def join(sources: list[Place], units: tuple[int, ...]) -> Place:
    """Return the place of a tensor with a map of `units` that a function computes from `sources`.

    A unit sees the pixels that any source's unit sees. A smaller source (a gate of 1x1) is spread
    over the largest, which sets the step. The units of a vector see the whole map.
    """
    largest = max(sources, key=lambda place: math.prod(place.units))
    fields = [flattened(place).field if not units else place.field for place in sources]
    field = np.maximum.reduce([np.asarray(f) for f in fields])
    if units and units != largest.units:  # a function pooled or resized it
        field = field * np.nan
    depth = max(place.depth for place in sources)
    return Place(tuple(field.tolist()), largest.step, units, depth)


def flattened(place: Place) -> Place:
    """Return the place of a vector made of a whole map."""
    field = tuple(
        f + (n - 1) * s for f, n, s in zip(place.field, place.units, place.step, strict=False)
    )
    return dataclasses.replace(place, field=field or place.field, units=())


def move(place: Place, layer: nn.Layer, before: tuple[int, ...], after: tuple[int, ...]) -> Place:
    """Return the place of a layer's output. `before` and `after` are shapes, batch first.

    A window of k units with stride s on units that see f pixels and are j pixels apart sees
    f + (k - 1) * j pixels, with a step of j * s (Araujo, Norris, Sim 2019). A dilated window
    spans (k - 1) * d + 1 units; a transposed convolution sees ceil(k / s) units and divides the
    step by s.
    """
    units = after[2:]
    if not units:
        place = flattened(place)
    windows, scales = find_windows(layer, before[2:], units)
    field = tuple(
        f + (k - 1) * j
        for f, k, j in zip(place.field, windows or (1,) * len(place.field), place.step, strict=True)
    )
    step = tuple(j * s for j, s in zip(place.step, scales or (1,) * len(place.step), strict=True))
    return Place(field, step, units, place.depth + has_weights(layer))
