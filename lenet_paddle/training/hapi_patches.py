"""Patches of paddle.Model's private parts (hapi, Paddle 3.3); each has a test that says when it
can go.

They hold while `patched` is entered, that is, while `fit` runs:

- `cheap_layer_calls`: hapi calls `train()` and `clear_gradients()` at each step, and each walks
  over all layers.
- `short_steps`: hapi prepares mixed precision at each step, also where there is none.
- `gradient_hooks`: hapi clears the gradients before it calls any callback.
- `without_gradient_sync`: DataParallel averages gradients inside `backward`, where the loss of a
  rank aborts the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import paddle
from paddle import nn
from paddle.hapi.model import to_list

GradientHook = Callable[[Sequence[paddle.Tensor]], None]


@contextlib.contextmanager
def patched(model: paddle.Model, hooks: Sequence[GradientHook], *, sync: bool) -> Iterator[None]:
    """Apply the patches to a prepared `model`; with `sync` DataParallel averages over ranks."""
    parameters = [p for p in model.network.parameters() if not p.stop_gradient]
    with contextlib.ExitStack() as stack:
        stack.enter_context(cheap_layer_calls(model.network, parameters))
        stack.enter_context(gradient_hooks(model._optimizer, parameters, hooks))
        if not sync:
            stack.enter_context(without_gradient_sync(model))
        if model._adapter._nranks == 1 and model._adapter._amp_level == "O0":
            stack.enter_context(short_steps(model))
        yield


@contextlib.contextmanager
def cheap_layer_calls(network: nn.Layer, parameters: Sequence[paddle.Tensor]) -> Iterator[None]:
    """Skip `train()` in training mode, and clear gradients through a list made once.

    Gradients are dropped, not filled with zeros, to which `backward` would have to add.
    """

    def train() -> None:
        if not network.training:
            type(network).train(network)

    def clear_gradients(set_to_zero: bool = True) -> None:
        for parameter in parameters:
            parameter.clear_gradient(False)

    network.__dict__.update(train=train, clear_gradients=clear_gradients)
    try:
        yield
    finally:
        del network.__dict__["train"], network.__dict__["clear_gradients"]


@contextlib.contextmanager
def short_steps(model: paddle.Model) -> Iterator[None]:
    """Train a batch in the calls that are left of hapi's with one process and full precision."""

    def train_batch(inputs: Any, labels: Any, update: bool = True) -> Any:
        model.network.train()
        model.mode = "train"
        images, targets = paddle.to_tensor(inputs[0]), paddle.to_tensor(labels[0])
        logits = model.network(images)
        losses = to_list(model._loss(logits, targets))
        loss = losses[0] if len(losses) == 1 else paddle.add_n(losses)
        loss.backward()
        if update:
            model._optimizer.minimize(loss)
            model.network.clear_gradients()
        metrics = [
            metric.update(*(tensor.numpy() for tensor in to_list(metric.compute(logits, targets))))
            for metric in model._metrics
        ]
        return [part.numpy() for part in losses], metrics

    model._adapter.train_batch = train_batch
    try:
        yield
    finally:
        del model._adapter.train_batch


@contextlib.contextmanager
def gradient_hooks(
    optimizer: Any, parameters: Sequence[paddle.Tensor], hooks: Sequence[GradientHook]
) -> Iterator[None]:
    """Call each of `hooks` with `parameters` before each update of `optimizer`.

    hapi calls `minimize` once per update, after the last `backward`; with mixed precision
    GradScaler calls it, with unscaled gradients. No hook is called for an update that is skipped
    because unscaling found an overflow.
    """
    minimize = optimizer.minimize

    def hooked(*args: Any, **kwargs: Any) -> Any:
        if not _has_overflow(optimizer):
            for hook in hooks:
                hook(parameters)
        return minimize(*args, **kwargs)

    if hooks:
        optimizer.minimize = hooked
    try:
        yield
    finally:
        optimizer.__dict__.pop("minimize", None)


def _has_overflow(optimizer: Any) -> bool:
    """Return whether GradScaler found infinite or NaN gradients for this update."""
    if not isinstance(optimizer, paddle.optimizer.Optimizer):  # Muon: no mixed precision
        return False
    found = optimizer._get_auxiliary_var("found_inf")
    return found is not None and bool(found)


def without_gradient_sync(model: paddle.Model) -> contextlib.AbstractContextManager[Any]:
    """Keep DataParallel from averaging gradients inside `backward`."""
    return model._adapter.ddp_model.no_sync()
