"""Weights and optimizer states: read files without trust, put them into a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle.errors import InputError
from lenet_paddle.training import muon
from lenet_paddle.training.safe_weights import is_safetensors, load_pickle, load_safetensors


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a `.pdparams` or `.safetensors` file as name -> array, without running code in it.

    `paddle.load` would unpickle the first, and a pickle can run any code. Raises `InputError`.
    """
    if is_safetensors(path):
        return load_safetensors(path)
    content = load_pickle(path)
    weights = {k: v for k, v in content.items() if isinstance(v, np.ndarray)}
    if not weights:
        raise InputError(f"{path}: holds no arrays; expected a network's weights")
    return weights


def load_optimizer_state(path: Path) -> dict[str, Any]:
    """Read a `.pdopt` file: accumulators by name. Raises `InputError`.

    A scheduler's state is left out: it would restore the old learning rate.
    """
    content = load_pickle(path)
    return {
        k: paddle.to_tensor(v) if isinstance(v, np.ndarray) else v
        for k, v in content.items()
        if k != "LR_Scheduler"
    }


def set_weights(network: paddle.nn.Layer, weights: dict[str, np.ndarray], source: str) -> None:
    """Put `weights`, read from `source`, into `network`.

    Raises `InputError` for names, shapes or types that do not fit.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    if missing or unknown:
        raise InputError(
            f"{source}: weights of another network (missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'})"
        )
    for name, tensor in own.items():
        if weights[name].dtype.kind != "f":
            raise InputError(f"{source}: {name}: expected floats, file has {weights[name].dtype}")
        if list(tensor.shape) != list(weights[name].shape):
            raise InputError(
                f"{source}: {name}: expected {list(tensor.shape)}, "
                f"file has {list(weights[name].shape)}"
            )
    network.set_state_dict({name: weights[name].astype("float32") for name in own})


# Suffixes of the state that each optimizer keeps per parameter; for muon, those of its AdamW.
_ADAM = ("_moment1_0", "_moment2_0", "_beta1_pow_acc_0", "_beta2_pow_acc_0")
_OPTIMIZER_STATE = {"adam": _ADAM, "adamw": _ADAM, "momentum": ("_velocity_0",), "muon": _ADAM}


def match_optimizer_state(
    optimizer: str, network: paddle.nn.Layer, pdparams: Path
) -> dict[str, Any]:
    """Return the optimizer state saved beside `pdparams`, renamed for `network`'s parameters.

    The file has the parameter names of the network that saved it; the `.pdparams` file maps them
    to layers. Frozen layers are left out. Raises `InputError` if the file is missing or belongs to
    another optimizer.
    """
    pdopt = pdparams.with_suffix(".pdopt")
    if optimizer not in _OPTIMIZER_STATE:
        raise InputError(f"--with-optimizer: {optimizer} has no state")
    if not pdopt.is_file():
        raise InputError(f"{pdopt}: missing; leave out --with-optimizer to load the weights alone")
    saved_names = load_pickle(pdparams).get("StructuredToParameterName@@")
    if not isinstance(saved_names, dict):
        saved_names = {}
    keys = {tensor.name: name for name, tensor in network.state_dict().items()}
    saved = load_optimizer_state(pdopt)
    matrices = muon.choose_matrices(network.parameters()) if optimizer == "muon" else []
    names_of_matrices = {matrix.name for matrix in matrices}
    state = {}
    for parameter in network.parameters():
        if parameter.stop_gradient:  # frozen, or a batch norm's running statistics
            continue
        is_matrix = parameter.name in names_of_matrices
        saved_name = saved_names.get(keys[parameter.name], parameter.name)
        for suffix in (muon.STATE,) if is_matrix else _OPTIMIZER_STATE[optimizer]:
            kept = saved.get(f"{saved_name}{suffix}")
            shape = [1] if suffix.endswith("_pow_acc_0") else list(parameter.shape)
            if not (
                isinstance(kept, paddle.Tensor)
                and kept.dtype == paddle.float32
                and list(kept.shape) == shape
            ):
                raise InputError(f"{pdopt}: not the state of {optimizer} for this network")
            state[parameter.name + suffix] = kept
    return state
