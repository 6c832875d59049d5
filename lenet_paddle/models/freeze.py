"""Layers that keep their weights while the others are trained."""

from __future__ import annotations

from fnmatch import fnmatchcase

from paddle import Tensor, nn

from lenet_paddle.errors import InputError

_STATISTICS = ("_mean", "_variance")  # of a batch normalisation: measured, not learned


def weighted_layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """The layers that hold weights themselves, by their names in `network.named_sublayers()`, in
    the order in which the network was built, which is that of the data."""
    named = network.named_sublayers()
    return {name: layer for name, layer in named if learned_parameters(layer)}


def learned_parameters(layer: nn.Layer) -> dict[str, Tensor]:
    """A layer's own weights, frozen or not; no running statistics, and nothing of sublayers."""
    named = layer.named_parameters(include_sublayers=False)
    return {name: weight for name, weight in named if name not in _STATISTICS}


def freeze_layers(network: nn.Layer, freeze: str | None) -> set[str]:
    """Keep layers as they are: the names of their tensors in `network.state_dict()`.

    `freeze` is a number N, for the first N layers with weights; or names and patterns (as of
    `fnmatch`) with commas between them, where the name of a block means all layers in it; or
    None. Weights get `stop_gradient`, so no optimizer touches them or keeps anything for them; a
    batch normalisation computes with the statistics that it has, and leaves them. Calling it again
    changes nothing. Raises `InputError` when nothing fits, and when nothing is left to train.
    """
    if freeze is None:
        return set()
    layers = weighted_layers(network)
    chosen = _choose(list(layers), freeze)
    if len(chosen) == len(layers):
        raise InputError(
            f"freeze {freeze} leaves nothing to train; the layers are {', '.join(layers)}"
        )
    frozen = set()
    for name in chosen:
        for own, tensor in layers[name].state_dict(include_sublayers=False).items():
            tensor.stop_gradient = True
            frozen.add(f"{name}.{own}")
        if hasattr(layers[name], "_use_global_stats"):
            layers[name]._use_global_stats = True
    return frozen


def _choose(names: list[str], freeze: str) -> list[str]:
    """The layers that `freeze` means, in their order."""
    if freeze.isdecimal():
        fitting = {freeze: names[: int(freeze)]}
    else:
        patterns = [part.strip() for part in freeze.split(",")]
        fitting = {p: [name for name in names if _fits(name, p)] for p in patterns}
    for pattern, found in fitting.items():
        if not found:
            raise InputError(
                f"freeze {pattern}: no such layer; expected a number from 1, or names or patterns "
                f"of {', '.join(names)}"
            )
    chosen = set().union(*fitting.values())
    return [name for name in names if name in chosen]


def _fits(name: str, pattern: str) -> bool:
    """Whether the layer, or a block that it lies in, has a name of this pattern."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[: i + 1]), pattern) for i in range(len(parts)))


def count_parameters(network: nn.Layer) -> tuple[int, int]:
    """How many weights are trained, and how many are frozen; running statistics are neither."""
    trained = frozen = 0
    for layer in weighted_layers(network).values():
        for weight in learned_parameters(layer).values():
            if weight.stop_gradient:
                frozen += weight.size
            else:
                trained += weight.size
    return trained, frozen
