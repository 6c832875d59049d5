"""Exact metrics of an epoch: sums over images, never the mean of batch means."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
import paddle
from paddle.callbacks import Callback

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.metrics import compute_losses
from lenet_paddle.progress import Progress, format_seconds
from lenet_paddle.runtime import sum_over_ranks
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.optimizers import list_bests

_log = logging.getLogger(__name__)


class LogitsAccuracy(paddle.metric.Accuracy):
    """Accuracy that keeps the logits and labels of an evaluation, for any exact metric of them.

    It counts in NumPy, which costs less per step than the operators of Paddle's Accuracy.
    """

    def __init__(self, network: paddle.nn.Layer, eval_loader: BatchLoader) -> None:
        super().__init__()
        self.network, self.eval_loader = network, eval_loader
        self.batch_correct = self.batch_seen = 0
        self.batches: list[tuple[np.ndarray, np.ndarray]] = []

    def compute(self, pred: Any, label: Any, *args: Any) -> list[Any]:
        """Return logits (B, C) and labels (B, 1) unchanged."""
        return [pred, label]

    def update(self, logits: np.ndarray, labels: np.ndarray, *args: Any) -> float:
        """Count the batch's correct predictions, and its images but for those labelled -1; in
        evaluation, keep its logits."""
        labels = labels[:, 0]
        self.batch_correct = int(np.count_nonzero(logits.argmax(axis=1) == labels))
        self.total[0] += self.batch_correct
        self.batch_seen = int(np.count_nonzero(labels >= 0))
        self.count[0] += self.batch_seen
        if not self.network.training:
            self.batches.append((logits, labels))
        return self.batch_correct / max(1, self.batch_seen)

    def pop_outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return and drop the evaluation's logits (N, C) and labels (N,), in the loader's order.

        `reset` does not drop them: hapi resets its metrics before `on_eval_end`.
        """
        logits, labels = (
            np.concatenate([self._restore_order(part, step) for step, part in enumerate(parts)])
            for parts in zip(*self.batches, strict=True)
        )
        self.batches = []
        return logits, labels

    def _restore_order(self, gathered: np.ndarray, step: int) -> np.ndarray:
        """Interleave the ranks' shares of a batch and drop the padding.

        Rank r of n evaluates images r, r + n, ...; hapi concatenates the shares, which are padded
        to equal lengths.
        """
        loader = self.eval_loader
        shares = gathered.reshape(loader.num_ranks, -1, *gathered.shape[1:])
        return shares.swapaxes(0, 1).reshape(gathered.shape)[: loader.count_images(step)]


class Recorder(Callback):
    """Sum loss, correct predictions and images; append a row to the history after each epoch.

    `own_sums` covers this rank's images of the current epoch and is always up to date. `sums`
    covers all ranks; it is updated every `log_every` steps and after the last one, with `rate`, the
    images per second of this epoch's training, evaluation left out. `eval_logits`
    (N, C) and `eval_labels` (N,) are those of the last evaluation. Raises `RunStopped` when a loss,
    or a weight at the end of an epoch, is not finite.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, metric: LogitsAccuracy, loader: BatchLoader
    ) -> None:
        super().__init__()
        self.config, self.state, self.metric, self.loader = config, state, metric, loader
        self.split = "val" if config.val_size else "test"
        self.eval_logits = self.eval_labels = np.empty(0)
        self.own_sums = self.sums = (0.0, 0.0, 0.0)
        self.started, self.rate = time.monotonic(), 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Reset the sums."""
        self.own_sums = self.sums = (0.0, 0.0, 0.0)
        self.started = time.monotonic()

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Add the batch, its mean loss weighted by its images.

        Of several summands of the loss the first is that of labelled images, all others left out.
        """
        (loss, *others), num_own = logs["loss"], self.loader.count_own(step)
        if not math.isfinite(whole := sum(others, loss)):
            raise self._diverged(f"the loss is {whole}", f"step {step + 1}")
        self.state.step += 1
        if num_own:  # 0: this rank repeats an image only to keep in step with the others
            losses, correct, images = self.own_sums
            correct += self.metric.batch_correct
            self.own_sums = (losses + loss * num_own, correct, images + self.metric.batch_seen)
        if self.state.step % self.config.log_every == 0 or step + 1 == len(self.loader):
            losses, correct, images = sum_over_ranks(self.own_sums)
            self.sums = (losses, correct, images)
            self.rate = images / max(time.monotonic() - self.started, 1e-9)

    def _diverged(self, what: str, where: str) -> RunStopped:
        return RunStopped(
            f"{what} at epoch {self.state.epoch + 1}, {where} (learning rate "
            f"{self.model._optimizer.get_lr():g}); a lower --learning-rate helps in most cases. "
            "Checkpoints of finished epochs are kept",
            status=1,
        )

    def _check_last_update(self, loss: float) -> None:
        """Raise `RunStopped` if the epoch's last update, which no training loss shows, diverged."""
        for name, tensor in self.model.network.state_dict().items():
            if not np.isfinite(tensor.numpy()).all():
                raise self._diverged(f"the weights {name} are not finite", "after the last step")
        if not math.isfinite(loss):
            raise self._diverged(f"the {self.split} loss is {loss}", "after the last step")

    def on_eval_end(self, logs: Any = None) -> None:
        """Append the epoch's row and update the best epoch."""
        self.eval_logits, self.eval_labels = self.metric.pop_outputs()
        with np.errstate(all="ignore"):  # `_check_last_update` reports them
            losses = compute_losses(self.eval_logits, self.eval_labels)
        self._check_last_update(float(losses.mean()))
        correct = self.eval_logits.argmax(axis=1) == self.eval_labels
        state = self.state
        state.epoch += 1
        state.seconds += time.monotonic() - self.started
        train_losses, train_correct, seen = self.sums
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "learning_rate": self.model._optimizer.get_lr(),
            "train_loss": train_losses / seen,
            "train_accuracy": train_correct / seen,
            f"{self.split}_loss": float(losses.mean()),
            f"{self.split}_accuracy": float(correct.mean()),
        }
        state.history.append(row)
        state.best_epoch = list_bests(self.config.monitor, state.history)[-1]


class ProgressBar(Callback):
    """Show epoch, step, loss, accuracy, learning rate and time left; log a line per epoch."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder, self.config, self.loader = recorder, recorder.config, recorder.loader
        self.state = recorder.state
        per_epoch = self.loader.num_images
        done = self.state.epoch * per_epoch
        self.progress = Progress(self.config.epochs * per_epoch, "images", done)

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Redraw the bar when it is due."""
        epoch, loader = self.state.epoch, self.loader
        losses, correct, seen = self.recorder.own_sums
        text = (
            f"epoch {epoch + 1}/{self.config.epochs}  step {step + 1}/{len(loader)}  "
            f"loss {losses / seen:.4f}  acc {correct / seen:.4f}  "
            f"lr {self.model._optimizer.get_lr():.3g}"
        )
        in_epoch = min((step + 1) * loader.batch_size, loader.num_images)
        self.progress.show(epoch * loader.num_images + in_epoch, text)

    def on_eval_end(self, logs: Any = None) -> None:
        """Log the epoch in one line, for the screen and train.log."""
        self.progress.clear()
        row, split = self.state.history[-1], self.recorder.split
        seconds = time.monotonic() - self.recorder.started
        _log.info(
            "epoch %d/%d  train loss %.4f acc %.4f  %s loss %.4f acc %.4f  lr %.3g  %s  %s img/s",
            row["epoch"],
            self.config.epochs,
            row["train_loss"],
            row["train_accuracy"],
            split,
            row[f"{split}_loss"],
            row[f"{split}_accuracy"],
            row["learning_rate"],
            format_seconds(seconds),
            f"{self.recorder.rate:,.0f}",
        )
