"""One measurement in a process of its own: `python -m lenet_paddle.benchmark.workers NAME SIZE`.

Prints one JSON line. Those of training all train the LeNet of `paddle.vision.models.LeNet`
(61,610 parameters) on the first MNIST training images with Adam at 0.001 and report
`ms_per_step`.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

NUM_STEPS = 150
FAST = Path(__file__).resolve().parents[2] / "configs" / "mnist_fast.yaml"
WARMUP = 20


def time_steps(step: Callable[[], Any], num_steps: int = NUM_STEPS) -> float:
    """Milliseconds a call of `step`, after a warm-up."""
    for _ in range(WARMUP):
        step()
    started = time.perf_counter()
    for _ in range(num_steps):
        step()
    return (time.perf_counter() - started) / num_steps * 1000


def batches(batch_size: int) -> Iterator[list[np.ndarray]]:
    """Endless training batches from our loader: float32 (B, 1, 28, 28), int64 (B, 1)."""
    from lenet_paddle.data.load import load_dataset
    from lenet_paddle.data.loader import BatchLoader

    num_images = 55_000 - 55_000 % batch_size
    images = load_dataset("mnist", "train").take(slice(0, num_images))
    loader = BatchLoader(images, batch_size, shuffle=True)
    while True:
        loader.set_epoch(loader.epoch + 1)
        yield from loader


# Each worker is a function of this name. Who measures a peer does not import Paddle.
WORKERS = {
    "own": (
        *("ours", "profile", "start", "grow", "network", "inference", "inference_onednn"),
        *("one_rank", "two_ranks", "evaluation", "load", "load_fashion", "load_npz", "load_folder"),
        "fast",
    ),
    "load": ("serve",),
    "peers": ("tutorial", "pytorch", "pytorch_loader", "jax", "keras", "pytorch_fast"),
}


def measure(worker: str, size: int) -> dict[str, float]:
    """Call the worker of that name. Raises KeyError for an unknown one."""
    modules = {name: module for module, names in WORKERS.items() for name in names}
    module = importlib.import_module(f"lenet_paddle.benchmark.{modules[worker]}")
    return getattr(module, worker)(size)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
