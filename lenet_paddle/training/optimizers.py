"""Optimizers, and the learning rate as a pure function of settings, update and history.

Paddle's schedulers have a state: restored from a checkpoint they keep the old base rate when a new
one is wanted, and hapi's ReduceLROnPlateau changes nothing. A function needs no restoring, so a
resumed run is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import paddle
from paddle import _C_ops

from lenet_paddle.config import OptimizationConfig
from lenet_paddle.errors import InputError
from lenet_paddle.models.cnn import l2_penalty
from lenet_paddle.training.muon import Muon

ENDING = ("cosine", "one_cycle")  # schedules that depend on the number of epochs
ONE_CYCLE_WARMUP = 0.3  # share of all updates; Smith 2018 and Paddle's OneCycleLR
ONE_CYCLE_START = 1 / 25  # the first rate, as a share of the highest
ONE_CYCLE_END = 1 / 25 * 1e-4  # the last one


def build_optimizer(config: OptimizationConfig, parameters: list[Any]) -> Any:
    """Build the optimizer of `config` at its first learning rate.

    Returns a `paddle.optimizer.Optimizer` or `Muon`; parameters with `stop_gradient` are left
    out. Raises `InputError`.
    """
    check_penalties(config, parameters)
    if config.l2:
        add_l2_penalty(parameters, config.l2)
    common: dict[str, Any] = {
        "learning_rate": learning_rate_at(config, 0, 1, []),
        "parameters": [p for p in parameters if not p.stop_gradient],
        "weight_decay": config.weight_decay or None,
    }
    optimizers = paddle.optimizer
    if config.optimizer == "sgd":
        return optimizers.SGD(**common)
    if config.optimizer == "momentum":
        return optimizers.Momentum(momentum=config.momentum, **common)
    if config.optimizer == "adam":
        return Adam(use_multi_tensor=True, **common)  # one kernel for all parameters
    if config.optimizer == "muon":
        return Muon(
            common["learning_rate"],
            parameters,
            base_rate=config.learning_rate,
            adam_rate=config.muon_adam_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
    return optimizers.AdamW(**{**common, "weight_decay": config.weight_decay})


class Adam(paddle.optimizer.Adam):
    """Paddle's Adam, which needs 0.1 ms a step to prepare the call of its kernel.

    Where every parameter is updated in the plain way, the kernel is called at once: the results
    have the same bits. The name must be Adam for Paddle to choose that kernel.
    """

    def minimize(self, loss: Any, *args: Any, **kwargs: Any) -> Any:
        """Update the parameters by their gradients."""
        parameters = self._param_dict["FP32_DenseTensor"][0]
        gradients = [parameter.grad for parameter in parameters]
        if not parameters or not self._is_plain() or any(g is None for g in gradients):
            return super().minimize(loss, *args, **kwargs)
        rates = [self._global_learning_rate()] * len(parameters)
        moments = (self._moment1_dict, self._moment2_dict)
        powers = (self._beta1_pow_acc_dict, self._beta2_pow_acc_dict)
        state = [values["FP32_DenseTensor"][0] for values in (*moments, *powers)]
        settings = (self._beta1, self._beta2, self._epsilon, False, False, False)
        update: Any = _C_ops.merged_adam_
        update(parameters, gradients, rates, *state[:2], None, *state[2:], None, *settings)
        return None

    def _is_plain(self) -> bool:
        """Return whether gradients of float32 and one fixed rate are all that is in an update."""
        return (
            self._parameter_list is not None
            and len(self._parameter_list) == len(self._param_dict["FP32_DenseTensor"][0])
            and not isinstance(self._learning_rate, paddle.optimizer.lr.LRScheduler)
            and self.regularization is None
            and self._grad_clip is None
            and self._get_auxiliary_var("found_inf") is None
            and all(
                p.regularizer is None and p.optimize_attr["learning_rate"] == 1.0
                for p in self._parameter_list
            )
        )


def check_penalties(config: OptimizationConfig, parameters: list[Any]) -> None:
    """Raise `InputError` for a weight decay that the network's own penalties would replace."""
    is_coupled = config.optimizer not in ("adamw", "muon")
    if config.weight_decay and is_coupled and any(p.regularizer for p in parameters):
        raise InputError(
            "the network has its own penalty, which replaces weight_decay; leave weight_decay "
            "out, or choose optimizer adamw or muon"
        )


def add_l2_penalty(parameters: list[Any], l2: float) -> None:
    """Add l2 * sum(w^2) to the loss for each kernel, as Keras's `kernel_regularizer` does.

    A kernel with a penalty of its network's keeps that; biases and normalisations get none.
    """
    for parameter in parameters:
        if parameter.ndim >= 2 and parameter.regularizer is None:
            parameter.regularizer = l2_penalty(l2)


def learning_rate_at(
    config: OptimizationConfig,
    update: int,
    updates_per_epoch: int,
    history: Sequence[Mapping[str, Any]],
) -> float:
    """Return the learning rate of update number `update` (from 0, over the whole run).

    The rate rises linearly over `warmup_epochs`; the schedule covers the remaining updates.
    `history` holds the rows of the finished epochs; only `plateau` reads it.
    """
    warmup = round(config.warmup_epochs * updates_per_epoch)
    if update < warmup:
        return config.learning_rate * (update + 1) / warmup
    epoch = update // updates_per_epoch
    update, total = update - warmup, max(1, config.epochs * updates_per_epoch - warmup)
    progress = min(1.0, update / total)
    rate = config.learning_rate
    if config.schedule == "step":
        return rate * config.decay_factor ** (update // updates_per_epoch // config.decay_epochs)
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "one_cycle":
        return rate * _one_cycle(update, total)
    if config.schedule == "plateau":
        after = history[math.ceil(config.warmup_epochs) : epoch]  # not those of the warm-up
        return rate * config.decay_factor ** count_plateaus(config, after)
    return rate


def _one_cycle(update: int, total: int) -> float:
    """Return the share of the highest rate: up a cosine for 30 % of the updates, then down."""
    peak = max(1.0, ONE_CYCLE_WARMUP * total - 1)
    if update <= peak:
        return _cosine(ONE_CYCLE_START, 1.0, update / peak)
    return _cosine(1.0, ONE_CYCLE_END, min(1.0, (update - peak) / max(1.0, total - 1 - peak)))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def count_plateaus(config: OptimizationConfig, history: Sequence[Mapping[str, Any]]) -> int:
    """Count how often `config.monitor` had no new best for `decay_epochs` epochs."""
    best, waited, plateaus = None, 0, 0
    for row in history:
        if best is None or is_better(config.monitor, row[config.monitor], best):
            best, waited = row[config.monitor], 0
        else:
            waited += 1
        if waited == config.decay_epochs:
            plateaus, waited = plateaus + 1, 0
    return plateaus


def is_better(monitor: str, value: float, best: float) -> bool:
    """Return whether `value` beats `best`: higher for an accuracy, lower for a loss."""
    return value > best if monitor.endswith("accuracy") else value < best


def list_bests(monitor: str, history: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return, for each epoch, the best epoch (from 1) so far by `monitor`.

    Without values of `monitor` (no validation images) each epoch counts as the best.
    """
    bests: list[int] = []
    for epoch, row in enumerate(history, 1):
        value = row.get(monitor)
        best = history[bests[-1] - 1].get(monitor) if bests else None
        is_new = value is None or best is None or is_better(monitor, value, best)
        bests.append(epoch if is_new else bests[-1])
    return bests
