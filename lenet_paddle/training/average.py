"""An exponential moving average of the weights, which is evaluated and saved in their place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import paddle
from paddle.callbacks import Callback

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.evaluation.evaluate import evaluate
from lenet_paddle.models import input_size
from lenet_paddle.training.checkpoint import TrainState


class AverageWeights(Callback):
    """Exponential moving average of all weights and of batch normalisation's statistics.

    After update t (from 1): average = d * average + (1 - d) * weights, with
    d = min(config.ema, (1 + t) / (10 + t)), so that the random start is soon forgotten. From an
    epoch's evaluation until the next epoch begins, and after the training, the network holds the
    average, and `raw` the trained weights. Those are evaluated too, for the columns
    `raw_<split>_loss` and `raw_<split>_accuracy` of the history.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: paddle.nn.Layer,
        state: TrainState,
        eval_set: ImageSet,
        loader: BatchLoader,
        start: Mapping[str, np.ndarray] | None = None,
        frozen: Collection[str] = (),
    ) -> None:
        """Start from `start`, the average of a resumed run, or from the weights.

        Tensors named in `frozen` are not averaged: rounding would change them.
        """
        super().__init__()
        self.config, self.network, self.state, self.eval_set = config, network, state, eval_set
        self.num_batches = len(loader)
        self.updates = state.epoch * -(-len(loader) // config.accumulate)
        self.weights = network.state_dict()
        self.average = {
            name: tensor.clone() if start is None else paddle.to_tensor(start[name])
            for name, tensor in self.weights.items()
        }
        self.averaged = [name for name in self.weights if name not in frozen]
        self.raw: dict[str, paddle.Tensor] | None = None
        self.raw_row: dict[str, float] = {}

    @paddle.no_grad()
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Put the trained weights back."""
        if self.raw is not None:
            for name, tensor in self.weights.items():
                paddle.assign(self.raw[name], tensor)
            self.raw = None

    @paddle.no_grad()
    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Update the average if this batch has updated the weights."""
        if (step + 1) % self.config.accumulate and step + 1 < self.num_batches:
            return
        self.updates += 1
        decay = min(self.config.ema, (1 + self.updates) / (10 + self.updates))
        for name in self.averaged:
            self.average[name].scale_(decay).add_((1 - decay) * self.weights[name])

    @paddle.no_grad()
    def on_eval_begin(self, logs: Any = None) -> None:
        """Evaluate the trained weights, then replace them by the average."""
        side = input_size(self.config.model, self.eval_set.form.size)
        result = evaluate(self.network, self.eval_set, side)
        self.raw_row = {key: float(result[key]) for key in ("loss", "accuracy")}
        self.raw = {}
        for name, tensor in self.weights.items():
            self.raw[name] = tensor.clone()
            # Names are saved too; generated ones differ from run to run.
            self.raw[name].name = tensor.name
            paddle.assign(self.average[name], tensor)

    def on_eval_end(self, logs: Any = None) -> None:
        """Add the trained weights' metrics to the row that the recorder has appended."""
        split = "val" if "val_loss" in self.state.history[-1] else "test"
        row = {f"raw_{split}_{key}": value for key, value in self.raw_row.items()}
        self.state.history[-1].update(row)
