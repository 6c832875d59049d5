"""What hapi's own callbacks fall short of, one small class a concern.

All share one `TrainState`. hapi calls them in the order of the list that `fit` makes, and what
each relies on is this order: the recorder counts first, the checkpoint is saved when the row of
the epoch and VisualDL's log are complete.

hapi's traps that shape them: its logged loss is the last batch's; `on_epoch_end` comes before
the epoch's evaluation; `fit` has no first epoch; one `logs` dict is shared by all.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.callbacks import Callback

from lenet_paddle.config import TrainConfig
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.metrics import compute_losses
from lenet_paddle.files import format_csv, write_text
from lenet_paddle.progress import Progress, format_seconds
from lenet_paddle.runtime import get_rank, sum_over_ranks
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.checkpoint import TrainState, prune_checkpoints, save_checkpoint
from lenet_paddle.training.optimizers import average_over_ranks, learning_rate_at, list_bests

_log = logging.getLogger(__name__)

AFTER_TRAINING = "after the training"


class Answers(paddle.metric.Accuracy):
    """Paddle's Accuracy, counted in NumPy, which is cheaper than its operators a step; in
    evaluation it keeps logits and labels too, so that all figures are exact means."""

    def __init__(self, network: paddle.nn.Layer, eval_loader: BatchLoader) -> None:
        super().__init__()
        self.network, self.eval_loader = network, eval_loader
        self.right = 0  # of the last batch
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def compute(self, pred: Any, label: Any, *args: Any) -> list[Any]:
        """Logits (B, C) and labels (B, 1), as they are."""
        return [pred, label]

    def update(self, logits: np.ndarray, labels: np.ndarray, *args: Any) -> float:
        """Count the right answers; in evaluation keep the logits."""
        labels = labels[:, 0]
        self.right = int(np.count_nonzero(logits.argmax(axis=1) == labels))
        self.total[0] += self.right
        self.count[0] += len(labels)
        if not self.network.training:
            self.parts.append((logits, labels))
        return self.right / len(labels)

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """All logits (N, C) and labels (N,) of the evaluation, each image once, in the loader's
        order; `reset` leaves them, since hapi resets before `on_eval_end`."""
        logits, labels = (
            np.concatenate([self._in_order(part, step) for step, part in enumerate(parts)])
            for parts in zip(*self.parts, strict=True)
        )
        self.parts = []
        return logits, labels

    def _in_order(self, gathered: np.ndarray, step: int) -> np.ndarray:
        """hapi gathers the ranks' shares one behind the other; each had every n-th image, and
        the last ones one too many where the batch was no multiple of n."""
        loader = self.eval_loader
        shares = gathered.reshape(loader.num_ranks, -1, *gathered.shape[1:])
        return shares.swapaxes(0, 1).reshape(gathered.shape)[: loader.count_images(step)]


class LearningRate(Callback):
    """Sets the rate of each update, and seeds loader and Paddle for each epoch."""

    def __init__(self, config: TrainConfig, state: TrainState, loader: BatchLoader) -> None:
        super().__init__()
        self.config, self.state, self.loader = config, state, loader
        self.updates_per_epoch = -(-len(loader) // config.accumulate)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """All that is random in an epoch follows from (seed, epoch), so resuming is exact."""
        self.loader.set_epoch(self.state.epoch)
        source = (self.config.seed, self.state.epoch, *([rank] if (rank := get_rank()) else []))
        paddle.seed(int(np.random.SeedSequence(source).generate_state(1)[0]))

    def on_train_batch_begin(self, step: int, logs: Any = None) -> None:
        """Only the first batch of an update can change the rate."""
        if step % self.config.accumulate == 0:
            update = self.state.epoch * self.updates_per_epoch + step // self.config.accumulate
            rate = learning_rate_at(self.config, update, self.updates_per_epoch, self.state.history)
            if rate != self.model._optimizer.get_lr():
                self.model._optimizer.set_lr(rate)


class WeightedLoss(paddle.nn.Layer):
    """A loss times `weight`, which `AverageGradients` sets."""

    def __init__(self, loss: paddle.nn.Layer) -> None:
        super().__init__()
        self.loss = loss
        self.weight = 1.0

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """logits (B, C), labels (B, 1) -> a scalar."""
        # With (B, 1) Paddle takes the labels for soft ones when they are smoothed, and fails.
        loss = self.loss(logits, labels.squeeze(1))
        return loss if self.weight == 1.0 else loss * self.weight


class AverageGradients(Callback):
    """Makes the gradients the mean over the update's images, whatever batches and ranks they come
    from: hapi sums those of several batches and takes the mean over the ranks."""

    def __init__(self, loss: WeightedLoss, loader: BatchLoader, accumulate: int) -> None:
        super().__init__()
        self.loss, self.accumulate = loss, accumulate
        self.loader = loader

    def on_train_batch_begin(self, step: int, logs: Any = None) -> None:
        """A batch weighs its share of the images of its update."""
        loader = self.loader
        first = (step - step % self.accumulate) * loader.batch_size
        in_update = min(loader.num_images - first, self.accumulate * loader.batch_size)
        self.loss.weight = loader.count_own(step) * loader.num_ranks / in_update

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """What is logged is the batch's own mean."""
        if self.loss.weight:
            logs["loss"] = [value / self.loss.weight for value in logs["loss"]]
        self.loss.weight = 1.0


class ShareStatistics(Callback):
    """Before an evaluation, gives each rank the mean of what is not trained but measured: a batch
    norm's running statistics, of which each rank has those of its own images. What is `frozen` is
    the same for all, and stays so to the last bit."""

    def __init__(self, average: AverageWeights | None = None, frozen: Collection[str] = ()) -> None:
        super().__init__()
        self.average, self.frozen = average, frozen

    def on_eval_begin(self, logs: Any = None) -> None:
        """The checkpoint, which rank 0 saves, then holds what was evaluated."""
        state = self.model.network.state_dict()
        names = [
            name
            for name, tensor in state.items()
            if tensor.stop_gradient and tensor.is_floating_point() and name not in self.frozen
        ]
        kept = [state] if self.average is None else [state, self.average.average]
        average_over_ranks([tensors[name] for tensors in kept for name in names])


class Recorder(Callback):
    """Counts steps, takes exact means, stops on NaN, and makes the epoch's row of history.

    Sums are those of the epoch so far: losses, right answers, images. `own_sums` are this rank's
    and up to date; `sums` are all ranks', added up every `log_every` steps and at the end.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, answers: Answers, loader: BatchLoader
    ) -> None:
        super().__init__()
        self.config, self.state, self.answers, self.loader = config, state, answers, loader
        self.split = "val" if config.val_size else "test"
        self.eval_logits = self.eval_labels = np.empty(0)
        self.own_sums = self.sums = (0.0, 0.0, 0.0)
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the epoch's sums."""
        self.own_sums = self.sums = (0.0, 0.0, 0.0)
        self.started = time.monotonic()

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Add the batch's loss, weighed by its images."""
        loss, num_own = logs["loss"][0], self.loader.count_own(step)
        if not math.isfinite(loss):
            raise RunStopped(
                f"the loss is {loss} at epoch {self.state.epoch + 1}, step {step + 1} (learning "
                f"rate {self.model._optimizer.get_lr():g}); a lower --learning-rate mends most "
                "such runs. Checkpoints of whole epochs are kept",
                status=1,
            )
        self.state.step += 1
        if num_own:  # else the batch has only repeated an image, to keep step
            losses, right, images = self.own_sums
            right += self.answers.right
            self.own_sums = (losses + loss * num_own, right, images + num_own)
        if self.state.step % self.config.log_every == 0 or step + 1 == len(self.loader):
            losses, right, images = sum_over_ranks(self.own_sums)
            self.sums = (losses, right, images)

    def on_eval_end(self, logs: Any = None) -> None:
        """The epoch is whole: its row, and whether it is the best."""
        self.eval_logits, self.eval_labels = self.answers.take()
        losses = compute_losses(self.eval_logits, self.eval_labels)
        right = self.eval_logits.argmax(axis=1) == self.eval_labels
        state = self.state
        state.epoch += 1
        state.seconds += time.monotonic() - self.started
        train_losses, train_right, seen = self.sums
        row = {
            "epoch": state.epoch,
            "step": state.step,
            "learning_rate": self.model._optimizer.get_lr(),
            "train_loss": train_losses / seen,
            "train_accuracy": train_right / seen,
            f"{self.split}_loss": float(losses.mean()),
            f"{self.split}_accuracy": float(right.mean()),
        }
        state.history.append(row)
        state.best_epoch = list_bests(self.config.monitor, state.history)[-1]


class ProgressBar(Callback):
    """Epoch, step, loss, accuracy, learning rate, images/s and time left; a line an epoch."""

    def __init__(self, config: TrainConfig, recorder: Recorder, loader: BatchLoader) -> None:
        super().__init__()
        self.config, self.recorder, self.loader = config, recorder, loader
        self.state = recorder.state
        per_epoch = loader.num_images
        done = self.state.epoch * per_epoch
        self.progress = Progress(config.epochs * per_epoch, "images", done)

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Redraw, when it is time."""
        epoch, loader = self.state.epoch, self.loader
        losses, right, seen = self.recorder.own_sums
        text = (
            f"epoch {epoch + 1}/{self.config.epochs}  step {step + 1}/{len(loader)}  "
            f"loss {losses / seen:.4f}  acc {right / seen:.4f}  "
            f"lr {self.model._optimizer.get_lr():.3g}"
        )
        in_epoch = min((step + 1) * loader.batch_size, loader.num_images)
        self.progress.show(epoch * loader.num_images + in_epoch, text)

    def on_eval_end(self, logs: Any = None) -> None:
        """The epoch in one line, for the screen and for train.log."""
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
            f"{self.progress.rate:,.0f}",
        )


class HistoryFile(Callback):
    """Keeps history.csv: one row a whole epoch."""

    def __init__(self, path: Path, state: TrainState) -> None:
        super().__init__()
        self.path, self.state = path, state

    def on_eval_end(self, logs: Any = None) -> None:
        """Write all rows anew: the file is small, and whole at every moment."""
        write_text(self.path, format_csv(list(self.state.history[0]), self.state.history))


class Checkpoints(Callback):
    """Saves every epoch, moves `latest` and `best`, and removes what need not be kept."""

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
        """The epoch is whole, and so are its row and VisualDL's log."""
        raw = self.average.raw if self.average else None
        keep_last, keep_every = self.config.keep_last, self.config.keep_every
        save_checkpoint(self.folder, self.model, self.state, self.config, raw)
        # Should the newest be damaged, the one before it goes on with what was its best.
        bests = list_bests(self.config.monitor, self.state.history)[-keep_last:]
        prune_checkpoints(self.folder, self.state.epoch, bests, keep_last, keep_every)


class EarlyStopping(Callback):
    """Ends the training when it is finished early by `patience`."""

    def __init__(self, config: TrainConfig, state: TrainState) -> None:
        super().__init__()
        self.config, self.state = config, state

    def on_eval_end(self, logs: Any = None) -> None:
        """hapi looks at `stop_training` after each epoch."""
        self.model.stop_training = is_finished(self.config, self.state)
        if self.model.stop_training and self.state.epoch < self.config.epochs:
            _log.info(
                "no better %s for %d epochs: stopped early, the best epoch is %d",
                self.config.monitor,
                self.config.patience,
                self.state.best_epoch,
            )


def is_finished(config: TrainConfig, state: TrainState) -> bool:
    """Whether all epochs are trained, or `patience` has run out."""
    waited = state.epoch - state.best_epoch
    return state.epoch >= config.epochs or (
        config.patience is not None and state.epoch > 0 and waited >= config.patience
    )


class StopOnSignal(Callback):
    """On Ctrl-C and SIGTERM the current step ends, then RunStopped says how to go on.

    Used as a context manager around a run; a second signal acts at once, as ever.
    """

    def __init__(self, state: TrainState, resume_hint: str) -> None:
        super().__init__()
        self.state, self.resume_hint = state, resume_hint
        self.received: int | None = None
        self.previous: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a shell's `&`
                    self.previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Stop here, between two steps, where nothing is half-done."""
        self.check(f"at epoch {self.state.epoch + 1}, step {step + 1}")

    on_eval_batch_end = on_train_batch_end

    def check(self, where: str) -> None:
        """Raise `RunStopped` when a signal has come."""
        if self.received is None:
            return
        name = "Ctrl-C" if self.received == signal.SIGINT else "SIGTERM"
        if self.state.epoch:
            way = f"{self.resume_hint} goes on from epoch {self.state.epoch + 1}"
        else:
            way = f"no epoch was whole yet, so {self.resume_hint} starts at epoch 1"
        if where == AFTER_TRAINING:
            way = f"{self.resume_hint} evaluates and exports it"
        raise RunStopped(f"stopped by {name} {where}; {way}", status=128 + self.received)
