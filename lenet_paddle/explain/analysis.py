"""Tables that explain a network."""

from __future__ import annotations

import contextlib
import io

import paddle

from lenet_paddle.models import build_model, input_size


def summarise_model(name: str, num_classes: int = 10) -> str:
    """`paddle.summary` of the network `name` for one image: each layer's input shape, output
    shape and parameters, then total and trainable parameters and sizes in MB."""
    size = input_size(name)
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        paddle.summary(build_model(name, num_classes), (1, 1, size, size))
    return table.getvalue().strip()
