"""A network's graph in the form that VisualDL's graph tab reads."""

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

_log = logging.getLogger(__name__)

# paddle.tanh and the like hand everything to operators that know no variables of the old IR.
_PATCHED = {"Tanh": "tanh", "Sigmoid": "sigmoid", "GELU": "gelu", "Softplus": "softplus"}


def describe_graph(network: nn.Layer, spec: InputSpec) -> str | None:
    """VisualDL's JSON for the graph of `network`, to be written as `vdlgraph.log`.

    `network` is traced and not good for training afterwards: give a copy. VisualDL wants a
    program of Paddle's old IR. An operator that cannot be traced so is named in the log, and the
    answer is None. Where in the source an operator was called, which would tell the paths of
    this machine, is left out.
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
        while utils._name_scope_stack:  # what the broken-off tracing has left open
            utils._name_scope_stack.pop().__exit__(None, None, None)
        return None
    graph = json.loads(re.sub(r"_deepcopy_\d+", "", text))  # a copy's parameters are called so
    for node in graph["nodes"]:
        node["attrs"].pop("op_callstack", None)
    return json.dumps(graph)


def _old_operator(kind: str) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """A unary operator as a node of a program in the old IR."""
    from paddle.base.layer_helper import LayerHelper

    def forward(x: paddle.Tensor) -> paddle.Tensor:
        helper = LayerHelper(kind)
        out = helper.create_variable_for_type_inference(x.dtype)
        helper.append_op(type=kind, inputs={"X": x}, outputs={"Out": out})
        return out

    return forward


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """While the block runs, warnings, and what Paddle's C++ says on stderr, go nowhere."""
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
