"""Callbacks of a training, one small class per concern, and the base class for your own.

All share one `TrainState`. hapi calls them in the order of `fit.build_callbacks`: the recorder
first, then your callbacks, then the writers; the checkpoint is saved last, when the epoch's row
and VisualDL's log are complete.

Traps of hapi:

- It clears the gradients before it calls any callback, and `on_train_batch_end` also fires for
  batches that only add to an accumulated gradient. Read gradients in `Callback.on_gradients`.
- `on_epoch_end` fires before the epoch's evaluation. Use `on_eval_end`.
- `logs["loss"]` is the last batch's loss, and one `logs` dict serves training and evaluation.
- `fit` has no first epoch: `epoch` counts from 0 again when a run is resumed. Use `state.epoch`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.files import format_csv, write_text
from lenet_paddle.runtime import get_rank
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.checkpoint import TrainState, prune_checkpoints, save_checkpoint
from lenet_paddle.training.optimizers import learning_rate_at, list_bests
from lenet_paddle.training.recorder import Recorder

_log = logging.getLogger(__name__)


class Callback(paddle.callbacks.Callback):
    """Base class of what `fit(..., callbacks=[...])` takes.

    Before the training `fit` sets `recorder` (sums, last logits, `recorder.state`) and `log`,
    VisualDL's writer, None on ranks other than 0. A number put into the epoch's row becomes a
    column of history.csv and a curve in VisualDL:

        class GradientNorm(Callback):
            def on_epoch_begin(self, epoch, logs=None):
                self.norms = []

            def on_gradients(self, parameters):
                squares = [float((p.grad**2).sum()) for p in parameters if p.grad is not None]
                self.norms.append(sum(squares) ** 0.5)

            def on_eval_end(self, logs=None):
                if self.norms:  # mixed precision skips an update that overflows
                    mean = sum(self.norms) / len(self.norms)
                    self.recorder.state.history[-1]["gradient_norm"] = mean

    Callbacks must not draw from the global random generators: a resumed run would differ.
    """

    recorder: Recorder
    log: Any = None

    def on_gradients(self, parameters: Sequence[paddle.Tensor]) -> None:
        """Read `p.grad` of the trained parameters before the optimizer's update; None if unused.

        Called once per update, with the gradients that the optimizer applies: of the mean loss
        over all images of the update, whatever number of batches is accumulated and ranks share
        them, unscaled in mixed precision. The optimizer adds `weight_decay` and `l2` later.
        """


class LearningRate(paddle.callbacks.Callback):
    """Set the learning rate of each update; seed loader and Paddle for each epoch."""

    def __init__(self, config: TrainConfig, state: TrainState, loader: BatchLoader) -> None:
        super().__init__()
        self.config, self.state, self.loader = config, state, loader
        self.updates_per_epoch = -(-len(loader) // config.accumulate)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Seed by (seed, epoch, rank) alone, so that resuming is exact."""
        self.loader.set_epoch(self.state.epoch)
        source = (self.config.seed, self.state.epoch, *([rank] if (rank := get_rank()) else []))
        paddle.seed(int(np.random.SeedSequence(source).generate_state(1)[0]))

    def on_train_batch_begin(self, step: int, logs: Any = None) -> None:
        """Set the rate with the first batch of each update."""
        if step % self.config.accumulate == 0:
            update = self.state.epoch * self.updates_per_epoch + step // self.config.accumulate
            rate = learning_rate_at(self.config, update, self.updates_per_epoch, self.state.history)
            if rate != self.model._optimizer.get_lr():
                self.model._optimizer.set_lr(rate)


class WeightedLoss(paddle.nn.Layer):
    """A loss multiplied by `weight`, which `AverageGradients` sets for each batch."""

    def __init__(self, loss: paddle.nn.Layer) -> None:
        super().__init__()
        self.loss = loss
        self.weight = 1.0

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> Any:
        """Return the scalar loss of logits (B, C) and labels (B, 1), or its summands."""
        # With label smoothing Paddle takes labels of shape (B, 1) for soft labels and fails.
        loss = self.loss(logits, labels.squeeze(1))
        if self.weight == 1.0:
            return loss
        if isinstance(loss, list):
            return [part * self.weight for part in loss]
        return loss * self.weight


class OutlierLoss(paddle.nn.Layer):
    """A loss of digits, and for pictures with the label -1, which stand last in a batch, the
    cross-entropy to equal probabilities (Hendrycks et al. 2019, arXiv 1812.04606).

    The mean over the batch is returned as its two summands, which hapi adds.
    """

    def __init__(self, loss: paddle.nn.Layer) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> list[paddle.Tensor]:
        """Return the part of the digits and that of the others, of logits (B, C), labels (B,)."""
        num_digits = int(np.count_nonzero(labels.numpy() >= 0))
        parts = []
        if num_digits:
            digits = self.loss(logits[:num_digits], labels[:num_digits])
            parts.append(digits * (num_digits / len(labels)))
        else:
            parts.append(paddle.zeros([]))
        if num_digits < len(labels):
            others = -paddle.nn.functional.log_softmax(logits[num_digits:]).mean()
            parts.append(others * (1 - num_digits / len(labels)))
        return parts


class BalancedLoss(paddle.nn.Layer):
    """Cross-entropy in which all classes count alike: an image of class c has the weight
    N / (C * N_c), as scikit-learn's `class_weight="balanced"`.

    labels: int (N,), those of the training images, of `num_classes` classes. The mean weight of
    these is 1, and so is the mean over a batch that over its images.
    """

    def __init__(self, labels: np.ndarray, num_classes: int, label_smoothing: float) -> None:
        super().__init__()
        counts = np.bincount(labels, minlength=num_classes)
        weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        self.weights = paddle.to_tensor(weights.astype(np.float32))
        self.loss = paddle.nn.CrossEntropyLoss(reduction="none", label_smoothing=label_smoothing)

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Return the scalar loss of logits (B, C) and labels (B,)."""
        losses = self.loss(logits, labels).flatten()
        return (losses * self.weights.gather(labels)).mean()


class AverageGradients(paddle.callbacks.Callback):
    """Weight each batch by its share of its update's images.

    hapi sums the gradients of accumulated batches, and ranks are averaged whatever their number
    of images; with these weights the result is the mean over the update's images.
    """

    def __init__(self, loss: WeightedLoss, loader: BatchLoader, accumulate: int) -> None:
        super().__init__()
        self.loss, self.loader, self.accumulate = loss, loader, accumulate

    def on_train_batch_begin(self, step: int, logs: Any = None) -> None:
        """Set the batch's weight."""
        loader = self.loader
        first = step // self.accumulate * self.accumulate * loader.batch_size
        in_update = min(loader.num_images - first, self.accumulate * loader.batch_size)
        self.loss.weight = loader.count_own(step) * loader.num_ranks / in_update

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Report the batch's own mean loss."""
        if self.loss.weight:
            logs["loss"] = [value / self.loss.weight for value in logs["loss"]]
        self.loss.weight = 1.0


class HistoryFile(paddle.callbacks.Callback):
    """Write history.csv after each epoch."""

    def __init__(self, path: Path, state: TrainState) -> None:
        super().__init__()
        self.path, self.state = path, state

    def on_eval_end(self, logs: Any = None) -> None:
        """Rewrite the whole file, which is small, so that it is never half written."""
        write_text(self.path, format_csv(self.state.history))


class Checkpoints(paddle.callbacks.Callback):
    """Save each epoch, move `latest` and `best`, and remove checkpoints no longer needed."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        state: TrainState,
        average: AverageWeights | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.config, self.state, self.average = folder, config, state, average

    def on_eval_end(self, logs: Any = None) -> None:
        """Save when the epoch's row and VisualDL's log are complete."""
        raw = self.average.raw if self.average else None
        keep_last, keep_every = self.config.keep_last, self.config.keep_every
        save_checkpoint(self.folder, self.model, self.state, self.config, raw)
        # If the newest checkpoint is damaged, the one before it needs what was its best.
        bests = list_bests(self.config.monitor, self.state.history)[-keep_last:]
        prune_checkpoints(self.folder, self.state.epoch, bests, keep_last, keep_every)


class EarlyStopping(paddle.callbacks.Callback):
    """Stop the training when `patience` has run out."""

    def __init__(self, config: TrainConfig, state: TrainState) -> None:
        super().__init__()
        self.config, self.state = config, state

    def on_eval_end(self, logs: Any = None) -> None:
        """Set `stop_training`, which hapi reads after each epoch."""
        self.model.stop_training = is_finished(self.config, self.state)
        if self.model.stop_training and self.state.epoch < self.config.epochs:
            _log.info(
                "no better %s for %d epochs: stopped early, the best epoch is %d",
                self.config.monitor,
                self.config.patience,
                self.state.best_epoch,
            )


def is_finished(config: TrainConfig, state: TrainState) -> bool:
    """Return whether all epochs are trained or `patience` has run out."""
    waited = state.epoch - state.best_epoch
    return state.epoch >= config.epochs or (
        config.patience is not None and state.epoch > 0 and waited >= config.patience
    )
