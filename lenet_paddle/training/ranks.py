"""Training by several processes (ranks): averages over them, and the loss of one."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import paddle
from paddle.callbacks import Callback

from lenet_paddle import runtime
from lenet_paddle.errors import RunStopped
from lenet_paddle.training.average import AverageWeights
from lenet_paddle.training.signals import StopOnSignal


def averages_on_cpu() -> bool:
    """Return whether `AverageOverRanks` takes the place of DataParallel's averaging.

    On the CPU (gloo) DataParallel averages inside `backward`, where the loss of a rank aborts the
    process; `AverageOverRanks` raises an exception instead.
    """
    return runtime.count_ranks() > 1 and paddle.get_device() == "cpu"


class AverageOverRanks(Callback):
    """Replace the gradients by their mean over the ranks before each update."""

    def on_gradients(self, parameters: Sequence[paddle.Tensor]) -> None:
        """Average; which parameters have a gradient depends on the network, so the ranks agree."""
        average_over_ranks([p.grad for p in parameters if p.grad is not None])


def average_over_ranks(tensors: list[paddle.Tensor]) -> None:
    """Replace float tensors by their mean over the ranks, with one flat all-reduce."""
    if not tensors:
        return
    flat = paddle.concat([tensor.flatten() for tensor in tensors])
    paddle.distributed.all_reduce(flat)
    parts = paddle.split(flat / runtime.count_ranks(), [tensor.size for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        paddle.assign(part.reshape(tensor.shape), tensor)


class ShareStatistics(Callback):
    """Average batch normalisation's running statistics over the ranks before each evaluation.

    Each rank measures those of its own images. `frozen` names the tensors that are equal on all
    ranks and must not be rounded.
    """

    def __init__(self, average: AverageWeights | None = None, frozen: Collection[str] = ()) -> None:
        super().__init__()
        self.average, self.frozen = average, frozen

    def on_eval_begin(self, logs: Any = None) -> None:
        """Average, so that all ranks evaluate what rank 0 saves."""
        state = self.model.network.state_dict()
        names = [
            name
            for name, tensor in state.items()
            if tensor.stop_gradient and tensor.is_floating_point() and name not in self.frozen
        ]
        dicts = [state] if self.average is None else [state, self.average.average]
        average_over_ranks([tensors[name] for tensors in dicts for name in names])


@contextlib.contextmanager
def lost_rank_as_run_stopped(stop: StopOnSignal) -> Iterator[None]:
    """Turn a lost rank's error into one line with the resume command."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        has_other_cause = isinstance(error, RunStopped) or getattr(error, "errno", None)
        if runtime.count_ranks() == 1 or has_other_cause:  # such as a full disk
            raise
        reason = str(error).strip() or type(error).__name__
        epoch = stop.state.epoch + 1
        stop.check(f"at epoch {epoch}")
        raise RunStopped(
            "another process of the job has ended or does not answer "
            f"({reason.splitlines()[-1].strip()}); {stop.resume_hint} continues at epoch {epoch}",
            status=1,
        ) from None
