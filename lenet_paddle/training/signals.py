"""Stop a run between two steps on Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from paddle.callbacks import Callback

from lenet_paddle.errors import RunStopped
from lenet_paddle.training.checkpoint import TrainState

AFTER_TRAINING = "after the training"


class StopOnSignal(Callback):
    """On Ctrl-C or SIGTERM, finish the current step, then raise `RunStopped`.

    Use it as a context manager around the run. The first signal restores the previous handlers,
    so a second one acts at once. `resume_hint` is the command that resumes the run.
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
        """Stop here, where no update is half done."""
        self.check(f"at epoch {self.state.epoch + 1}, step {step + 1}")

    on_eval_batch_end = on_train_batch_end

    def check(self, where: str) -> None:
        """Raise `RunStopped` if a signal was received; `where` goes into its message."""
        if self.received is None:
            return
        name = "Ctrl-C" if self.received == signal.SIGINT else "SIGTERM"
        if where == AFTER_TRAINING:
            mend = f"{self.resume_hint} evaluates and exports it"
        elif self.state.epoch:
            mend = f"{self.resume_hint} continues at epoch {self.state.epoch + 1}"
        else:
            mend = f"no epoch is finished, so {self.resume_hint} starts at epoch 1"
        raise RunStopped(f"stopped by {name} {where}; {mend}", status=128 + self.received)
