"""Small data and short trainings for tests."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from tools_help import PORTS

from lenet_paddle import ImageSet, TrainConfig, build_model
from lenet_paddle.figures.visualdl import build_loggers
from lenet_paddle.models import input_size
from lenet_paddle.runtime import get_rank
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.fit import fit
from lenet_paddle.training.signals import StopOnSignal


def bars(num_images: int, seed: int = 0) -> ImageSet:
    """Three classes that a network learns in seconds: a bar at the top, the middle, the bottom."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_images)
    images = rng.integers(0, 60, (num_images, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 8 * label : 8 + 8 * label, 4:24] = 220
    return ImageSet(images, labels.astype(np.int64), ("top", "middle", "bottom"))


def write_bars(folder: Path) -> Path:
    """bars.npz for `--dataset npz`: 320 images to train, 64 to test."""
    train_set, test_set = bars(320), bars(64, seed=1)
    arrays = {"x_train": train_set.images, "y_train": train_set.labels}
    arrays |= {"x_test": test_set.images, "y_test": test_set.labels}
    np.savez(folder / "bars.npz", **arrays)
    return folder / "bars.npz"


def train(
    run_dir: Path,
    train_set: ImageSet | None = None,
    state: TrainState | None = None,
    stop: StopOnSignal | None = None,
    callbacks: Sequence[Any] = (),
    **settings: object,
) -> tuple[paddle.nn.Layer, TrainState]:
    """Train on bars, as workflows.train does; return the network and its state."""
    config = TrainConfig(**{"epochs": 2, "batch_size": 32, "model": "mlp", **settings})
    train_set = train_set or bars(100)
    with paddle.utils.unique_name.guard():
        paddle.seed(config.seed)
        network = build_model(config.model, train_set.num_classes)
        held_out = dataclasses.replace(bars(50, seed=1), classes=train_set.classes)
        if get_rank() == 0:
            size = input_size(config.model)
            loggers = build_loggers(config, network, train_set, held_out, size)
            callbacks = [*loggers, *callbacks]
        state = fit(
            *(config, network, train_set, held_out, run_dir),
            state=state,
            stop=stop,
            callbacks=callbacks,
        )
    return network, state


def weights_of(network: paddle.nn.Layer) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def run_two_ranks(script: str, folder: Path) -> list[Any]:
    """Run a script as two processes that train together; return what each wrote as JSON.

    It runs with this folder in `sys.path`; `report(value)` writes its result.
    """
    head = f"""import json, sys
from pathlib import Path
sys.path[:0] = {[path for path in sys.path if path]}
import paddle
paddle.distributed.init_parallel_env()
rank, folder = paddle.distributed.get_rank(), Path({str(folder)!r})
def report(value):
    (folder / f"rank-{{rank}}.json").write_text(json.dumps(value))
"""
    (folder / "script.py").write_text(head + script)
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "log"]
    environment = os.environ | {"PORT_RANGE": f"{PORTS.start}:{PORTS.stop}"}
    done = subprocess.run(
        [sys.executable, *launcher, "script.py"], cwd=folder, env=environment, capture_output=True
    )
    logs = [path.read_text() for path in (folder / "log").glob("workerlog.*")]
    assert done.returncode == 0, logs
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
