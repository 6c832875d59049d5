"""Small data and short trainings for the tests of the training room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from lenet_paddle import ImageSet, TrainConfig, build_model
from lenet_paddle.training.callbacks import StopOnSignal
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.fit import fit


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
    **settings: object,
) -> tuple[paddle.nn.Layer, TrainState]:
    """Train on bars; returns the network and its state."""
    config = TrainConfig(**{"epochs": 2, "batch_size": 32, "model": "mlp", **settings})
    train_set = train_set or bars(100)
    with paddle.utils.unique_name.guard():
        paddle.seed(config.seed)
        network = build_model(config.model, 3)
        held_out = bars(50, seed=1)
        state = fit(config, network, train_set, held_out, run_dir, state=state, stop=stop)
    return network, state


def weights_of(network: paddle.nn.Layer) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
