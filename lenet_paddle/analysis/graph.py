"""A network's graph in the format of VisualDL's graph tab."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import paddle
from paddle import nn
from paddle.static import InputSpec

from lenet_paddle.tables import format_json

_log = logging.getLogger(__name__)

# Paddle's functions for these call operators that do not take variables of the old IR.
_PATCHED = {"Tanh": "tanh", "Sigmoid": "sigmoid", "GELU": "gelu", "Softplus": "softplus"}


def describe_graph(network: nn.Layer, spec: InputSpec) -> str | None:
    """Return VisualDL's JSON for the graph of `network`, the content of `vdlgraph.log`.

    Tracing spoils `network` for training: pass a copy. VisualDL needs a program of Paddle's old
    IR; if an operator cannot be traced that way, log it and return None. Call stacks, which hold
    paths of this machine, are removed.
    """
    from visualdl.component.graph import translate_graph, utils

    for layer in network.sublayers(include_self=True):
        if type(layer).__name__ in _PATCHED:
            layer.forward = _old_operator(_PATCHED[type(layer).__name__])
    network.eval()
    try:
        with paddle.utils.unique_name.guard(), paddle.pir_utils.DygraphOldIrGuard(), _silence():
            text = translate_graph(network, [spec], verbose=False)
    except Exception as error:  # Paddle raises nearly anything here
        _log.warning("VisualDL's graph is left out: %s", str(error).strip().splitlines()[-1])
        while utils._name_scope_stack:  # left open by the failed tracing
            utils._name_scope_stack.pop().__exit__(None, None, None)
        return None
    graph = json.loads(re.sub(r"_deepcopy_\d+", "", text))  # in the names of a copy's parameters
    for node in graph["nodes"]:
        node["attrs"].pop("op_callstack", None)
    return format_json(graph, None)


def _old_operator(kind: str) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """Return a forward method that adds a unary operator of the old IR."""
    from paddle.base.layer_helper import LayerHelper

    def forward(x: paddle.Tensor) -> paddle.Tensor:
        helper = LayerHelper(kind)
        out = helper.create_variable_for_type_inference(x.dtype)
        helper.append_op(type=kind, inputs={"X": x}, outputs={"Out": out})
        return out

    return forward


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress warnings, and what Paddle's C++ writes to stderr, inside the block."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
