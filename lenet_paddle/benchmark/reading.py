"""Workers that measure reading data: files of several kinds, and training from a mapped file."""

from __future__ import annotations

import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lenet_paddle import load_dataset
from lenet_paddle.benchmark.own import fit_for, read_anonymous_mb
from lenet_paddle.benchmark.steps import NUM_STEPS
from lenet_paddle.data.load import load_splits
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.errors import InputError


def grow(num_images: int) -> dict[str, float]:
    """Measure `fit` on a memory-mapped IDX file of `num_images` images."""
    with tempfile.TemporaryDirectory() as folder:
        synthesise(Path(folder), num_images)
        before = read_anonymous_mb()
        train_set, eval_set = load_splits("mnist", ("train", "val"), folder)
        clock = fit_for(4 * NUM_STEPS, 64, train_set, eval_set)
    return {
        "images_per_s": 64 / clock.ms_per_step * 1000,
        "added_mb": clock.anonymous_mb - before,
        "order_and_labels_mb": 16 * num_images / 2**20,
    }


def synthesise(folder: Path, num_images: int) -> None:
    """Write `num_images` training images as IDX files: MNIST's, shifted by up to 5 pixels."""
    digits = load_dataset("mnist", "train", val_size=0)
    files = {"images-idx3": struct.pack(">4I", 0x803, num_images, 28, 28)}
    files["labels-idx1"] = struct.pack(">2I", 0x801, num_images)
    for name, header in files.items():
        with (folder / f"train-{name}-ubyte").open("wb") as file:
            file.write(header)
            for block, start in enumerate(range(0, num_images, len(digits))):
                count = min(len(digits), num_images - start)
                shift = (block % 11 - 5, block // 11 % 11 - 5)
                moved = np.roll(digits.images[:count], shift, axis=(1, 2))
                labels = digits.labels[:count].astype(np.uint8)
                file.write(moved.data if name == "images-idx3" else labels.data)


def load(batch_size: int, dataset: str = "mnist", data_dir: str | None = None) -> dict[str, float]:
    """Measure reading a data set and one epoch of training batches, and the process's peak memory.

    The memory includes Paddle.
    """
    started = time.perf_counter()
    train_set, _, _ = load_splits(dataset, ("train", "val", "test"), data_dir, image_size=28)
    read = time.perf_counter() - started
    for _ in BatchLoader(train_set, batch_size, shuffle=True):
        pass
    prepared = time.perf_counter() - started - read
    peak = read_peak_mb()
    return {"images": len(train_set), "read_s": read, "prepare_s": prepared, "peak_mb": peak}


def read_peak_mb() -> float:
    """Return this process's peak memory in MB. Raises `InputError` on Windows."""
    if sys.platform == "win32":
        raise InputError("Windows does not tell the peak memory; measure this in WSL2")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else KB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def load_fashion(batch_size: int) -> dict[str, float]:
    """Measure the same for Fashion-MNIST, from its usual folder."""
    return load(batch_size, "fashion_mnist")


def load_npz(batch_size: int) -> dict[str, float]:
    """Measure the same for MNIST in a .npz file."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = {}
        for part in ("train", "test"):
            digits = load_dataset("mnist", part, val_size=0)
            arrays[f"x_{part}"], arrays[f"y_{part}"] = digits.images, digits.labels
        np.savez_compressed(Path(folder) / "mnist.npz", **arrays)
        return load(batch_size, "npz", f"{folder}/mnist.npz")


def load_folder(batch_size: int) -> dict[str, float]:
    """Measure the same for 2,000 PNG files of 112x112 pixels."""
    digits = load_dataset("mnist", "test")
    with tempfile.TemporaryDirectory() as folder:
        for i in range(2000):
            picture = Image.fromarray(np.kron(digits.images[i], np.ones((4, 4), np.uint8)))
            place = Path(folder) / digits.classes[digits.labels[i]]
            place.mkdir(exist_ok=True)
            picture.save(place / f"{i}.png")
        return load(batch_size, "folder", folder)
