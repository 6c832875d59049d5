"""VisualDL's log of a run: scalars and histograms.

One file, appended to. A resumed run first cuts it back to its length at the checkpoint, so that
no point appears twice. Pictures are logged by `figures.visualdl`, into the same file.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from paddle.callbacks import Callback

from lenet_paddle.files import make_folder
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.recorder import Recorder

LOG_NAME = "vdlrecords.log"  # VisualDL looks for "vdlrecords" in the name
NUM_BINS = 32
# Columns of the history that train/* shows already, or that are no curves.
NOT_LOGGED = ("epoch", "step", "learning_rate", "train_loss", "train_accuracy")


class VisualDLLogger(Callback):
    """Log curves of the training every `log_every` steps, and once per epoch the held-out loss and
    accuracy, further columns of the history as `epoch/<column>`, and histograms of the weights.

    `log` is what `opened_log` yields.
    """

    def __init__(self, recorder: Recorder, log: Any) -> None:
        super().__init__()
        self.recorder, self.state, self.log = recorder, recorder.state, log
        self.log_every = recorder.config.log_every
        self.last = (0.0, 0.0, 0.0)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start from the recorder's sums, which are 0 again."""
        self.last = (0.0, 0.0, 0.0)

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Every `log_every` steps, log the mean loss and accuracy since the last point."""
        if self.state.step % self.log_every:
            return
        now = self.recorder.sums
        loss, correct, seen = (b - a for a, b in zip(self.last, now, strict=True))
        self.last = now
        for tag, value in (
            ("train/loss", loss / seen),
            ("train/accuracy", correct / seen),
            ("train/learning_rate", self.model._optimizer.get_lr()),
        ):
            self.log.add_scalar(tag, float(value), self.state.step)

    def on_eval_end(self, logs: Any = None) -> None:
        """Log the epoch, and note the length of the log in the state."""
        split, step = self.recorder.split, self.state.step
        tags = {f"{split}_{quantity}": f"{split}/{quantity}" for quantity in ("loss", "accuracy")}
        for name, value in self.state.history[-1].items():
            if name not in NOT_LOGGED:
                self.log.add_scalar(tags.get(name, f"epoch/{name}"), value, step)
        for name, weight in self.model.network.state_dict().items():
            add_histogram(self.log, f"weights/{name}", weight.numpy(), step)
        self.state.vdl_bytes = self.log.flush()


def add_histogram(log: Any, tag: str, values: np.ndarray, step: int) -> None:
    """Log a histogram of the finite numbers in `values`; nothing if there are none.

    In float64: NumPy cannot divide a range that holds fewer float32 numbers than bins, such as
    that of a bias after one step of Adam.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size:
        log.add_histogram(tag, finite, step, NUM_BINS)


def log_result(folder: Path, state: TrainState, result: dict[str, Any]) -> None:
    """Append the test metrics at the best epoch's step, in place of those of an earlier call."""
    step = state.history[state.best_epoch - 1]["step"]
    with opened_log(folder, state) as log:
        for quantity in ("loss", "accuracy"):
            log.add_scalar(f"test/{quantity}", result[quantity], step)


@contextlib.contextmanager
def opened_log(folder: Path, state: TrainState) -> Iterator[Any]:
    """Open the log in `folder`, cut back to the length noted in `state`, and close it.

    Yields a VisualDL `LogWriter` that raises `OSError` when the disk is full, and whose `flush()`
    writes all to the disk and returns the length of the file in bytes.
    """
    from visualdl import LogWriter

    path = folder / LOG_NAME
    make_folder(folder)
    if path.exists():
        os.truncate(path, min(state.vdl_bytes, path.stat().st_size))
    records = RecordFile(path)

    class Log(LogWriter):
        def _get_file_writer(self) -> RecordFile:
            self._file_writer = records
            return records

        def flush(self) -> int:
            return records.flush()

        def close(self) -> None:
            records.close()

    try:
        yield Log(str(folder))
    finally:
        records.close()


class RecordFile:
    """The file below a LogWriter. VisualDL's own writes in a thread, which silently drops records
    when the disk is full."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path.open("ab")

    def get_filename(self) -> str:
        """Return the path; LogWriter's `file_name`."""
        return str(self.path)

    def add_record(self, record: Any) -> None:
        """Append a protocol buffer after its length in 8 bytes. Raises `OSError`."""
        data = record.SerializeToString()
        self.file.write(struct.pack("<Q", len(data)) + data)
        self.file.flush()  # so that the curves can be watched

    def flush(self) -> int:
        """Write all to the disk; return the length of the file."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
