"""What workers share: the number of steps, a stopwatch, and training batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FAST = Path(__file__).resolve().parents[2] / "configs" / "mnist_fast.yaml"
NUM_STEPS = 150
WARMUP = 20  # steps


def count_steps(network: str) -> tuple[int, int]:
    """Return how many steps are measured, and how many precede them; few for large networks."""
    return (10, 3) if network.startswith("vision:") else (NUM_STEPS, WARMUP)


def time_steps(step: Callable[[], Any], num_steps: int = NUM_STEPS, warmup: int = WARMUP) -> float:
    """Return the mean time of a call of `step` in milliseconds, after a warm-up."""
    for _ in range(warmup):
        step()
    started = time.perf_counter()
    for _ in range(num_steps):
        step()
    return (time.perf_counter() - started) / num_steps * 1000


def batches(batch_size: int, input_size: int = 28) -> Iterator[list[np.ndarray]]:
    """Yield training batches from our loader without end: float32 (B, 1, S, S), int64 (B, 1)."""
    from lenet_paddle.data.load import load_dataset
    from lenet_paddle.data.loader import BatchLoader

    num_images = 55_000 - 55_000 % batch_size
    images = load_dataset("mnist", "train").take(slice(0, num_images))
    loader = BatchLoader(images, batch_size, shuffle=True, input_size=input_size)
    while True:
        loader.set_epoch(loader.epoch + 1)
        yield from loader
