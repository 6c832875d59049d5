"""Freezing: layers that keep their weights while the others are trained."""

from __future__ import annotations

from fnmatch import fnmatchcase

from paddle import nn

from lenet_paddle.errors import InputError
from lenet_paddle.models.parameters import weighted_layers


def freeze_layers(network: nn.Layer, freeze: str | None) -> set[str]:
    """Freeze layers and return the names of their tensors in `network.state_dict()`.

    `freeze` is a number N, for the first N layers with weights; or names and patterns (as of
    `fnmatch`) with commas between them, where the name of a block means all layers in it; or
    None. Weights get `stop_gradient`, so that optimizers neither change them nor keep a state for
    them; batch normalisation uses its running statistics and does not update them. Freezing twice
    changes nothing. Raises `InputError` if no layer matches, or if no layer is left to train.
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
    """Return the names that `freeze` matches, in the layers' order."""
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
    """Return whether the layer's name, or that of a block around it, matches the pattern."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[: i + 1]), pattern) for i in range(len(parts)))
