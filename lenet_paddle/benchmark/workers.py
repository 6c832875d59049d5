"""One measurement in a process of its own: `python -m lenet_paddle.benchmark.workers NAME BATCH`.

Prints one JSON line. Those of training all train the LeNet of `paddle.vision.models.LeNet`
(61,610 parameters) on the first MNIST training images with Adam at 0.001 and report
`ms_per_step`; the peers are written as their own tutorials write them, in their best plain form.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

NUM_STEPS = 150
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
    from lenet_paddle.data import load_dataset
    from lenet_paddle.data.loader import BatchLoader

    num_images = 55_000 - 55_000 % batch_size
    images = load_dataset("mnist", "train").take(slice(0, num_images))
    loader = BatchLoader(images, batch_size, shuffle=True)
    while True:
        loader.set_epoch(loader.epoch + 1)
        yield from loader


def ours(batch_size: int) -> dict[str, float]:
    """Through the project's `fit`, all callbacks on: the slope between a short and a long epoch,
    so that evaluation, checkpoint and start-up fall out."""
    import paddle

    from lenet_paddle import TrainConfig, build_model, fit, load_dataset

    logging.disable(logging.CRITICAL)
    train_set, eval_set = load_dataset("mnist", "train"), load_dataset("mnist", "val")

    def seconds(num_steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder, paddle.utils.unique_name.guard():
            config = TrainConfig(epochs=1, batch_size=batch_size)
            network = build_model(config.model)
            images = train_set.take(np.arange(num_steps * batch_size) % len(train_set))
            started = time.perf_counter()
            fit(config, network, images, eval_set.take(slice(0, 256)), Path(folder))
            return time.perf_counter() - started

    seconds(WARMUP)
    return {"ms_per_step": (seconds(WARMUP + NUM_STEPS) - seconds(WARMUP)) / NUM_STEPS * 1000}


def bare(batch_size: int) -> dict[str, float]:
    """Our step without hapi and callbacks: data, forward, backward, optimizer in a plain loop,
    and the time of each part."""
    import paddle

    from lenet_paddle import TrainConfig, build_model
    from lenet_paddle.models.layers import fast_layers
    from lenet_paddle.training.optimizers import build_optimizer

    network = build_model("lenet_builtin")
    optimizer = build_optimizer(TrainConfig(), network.parameters())
    loss_function = paddle.nn.CrossEntropyLoss()
    source = batches(batch_size)
    parts = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)

    def step() -> None:
        marks = [time.perf_counter()]
        images, labels = (paddle.to_tensor(array) for array in next(source))
        marks.append(time.perf_counter())
        loss = loss_function(network(images), labels)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.clear_grad()
        marks.append(time.perf_counter())
        for name, start, end in zip(parts, marks, marks[1:], strict=False):
            parts[name] += (end - start) * 1000

    with fast_layers(network):
        for _ in range(WARMUP):
            step()
        parts.update(dict.fromkeys(parts, 0.0))
        for _ in range(NUM_STEPS):
            step()
    means = {name: ms / NUM_STEPS for name, ms in parts.items()}
    return {"ms_per_step": sum(means.values()), **means}


def tutorial(batch_size: int) -> dict[str, float]:
    """The usual way on Paddle: a Dataset with a transform per sample, and `Model.fit`."""
    import paddle
    from paddle.vision import transforms

    from lenet_paddle.data.sources import EMBEDDED

    transform = transforms.Normalize(mean=[127.5], std=[127.5], data_format="CHW")
    train_set = paddle.vision.datasets.MNIST(
        str(EMBEDDED / "train-images-idx3-ubyte.gz"),
        str(EMBEDDED / "train-labels-idx1-ubyte.gz"),
        transform=transform,
    )
    model = paddle.Model(paddle.vision.models.LeNet())
    model.prepare(
        paddle.optimizer.Adam(0.001, parameters=model.parameters()),
        paddle.nn.CrossEntropyLoss(),
        paddle.metric.Accuracy(),
    )

    def seconds(num_steps: int) -> float:
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(train_set, batch_size=batch_size, num_iters=num_steps, verbose=1)
        return time.perf_counter() - started

    most = len(train_set) // batch_size - WARMUP - 1  # an epoch of fit is one pass
    num_steps = min(NUM_STEPS, most)
    seconds(WARMUP)
    slope = (seconds(WARMUP + num_steps) - seconds(WARMUP)) / num_steps
    return {"ms_per_step": slope * 1000}


def _torch_lenet() -> Any:
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)),
    )


def _torch_step(network: Any, source: Iterator[Any]) -> Callable[[], None]:
    import torch

    optimizer = torch.optim.Adam(network.parameters(), 0.001)
    loss_function = torch.nn.CrossEntropyLoss()

    def step() -> None:
        images, labels = next(source)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(network(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # as every side here reads its loss

    return step


def _torch_data() -> tuple[Any, Any]:
    import torch

    from lenet_paddle.data import load_dataset
    from lenet_paddle.data.preprocess import normalise

    train_set = load_dataset("mnist", "train")
    return torch.from_numpy(normalise(train_set.images)), torch.from_numpy(train_set.labels)


def pytorch(batch_size: int) -> dict[str, float]:
    """PyTorch, eager, tensors in memory, a permutation an epoch."""
    import torch

    images, labels = _torch_data()

    def source() -> Iterator[Any]:
        while True:
            order = torch.randperm(len(images))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                chosen = order[start : start + batch_size]
                yield images[chosen], labels[chosen]

    return {"ms_per_step": time_steps(_torch_step(_torch_lenet(), source()))}


def pytorch_loader(batch_size: int) -> dict[str, float]:
    """PyTorch, eager, with its DataLoader over a TensorDataset."""
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*_torch_data()), batch_size, shuffle=True, drop_last=True)

    def source() -> Iterator[Any]:
        while True:
            yield from loader

    return {"ms_per_step": time_steps(_torch_step(_torch_lenet(), source()))}


def jax(batch_size: int) -> dict[str, float]:
    """JAX, one jitted step, arrays in memory; Adam written out as in its paper."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    rng = np.random.default_rng(0)
    shapes = [(6, 1, 3, 3), (6,), (16, 6, 5, 5), (16,)]
    shapes += [(400, 120), (120,), (120, 84), (84,), (84, 10), (10,)]
    weights = [jnp.asarray(rng.standard_normal(s) * 0.1, jnp.float32) for s in shapes]

    def pool(maps: Any) -> Any:
        return lax.reduce_window(maps, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def loss_of(weights: list[Any], images: Any, labels: Any) -> Any:
        w1, b1, w2, b2, *dense = weights
        maps = lax.conv(images, w1, (1, 1), "SAME") + b1[:, None, None]
        maps = lax.conv(pool(jax.nn.relu(maps)), w2, (1, 1), "VALID") + b2[:, None, None]
        hidden = pool(jax.nn.relu(maps)).reshape(len(images), 400)
        for weight, bias in zip(dense[::2], dense[1::2], strict=True):
            hidden = hidden @ weight + bias
        log_probs = jax.nn.log_softmax(hidden)
        return -jnp.take_along_axis(log_probs, labels, 1).mean()

    @jax.jit
    def update(state: Any, images: Any, labels: Any) -> Any:
        weights, first, second, count = state
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels)
        count = count + 1
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
        rate = 0.001 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = [
            w - rate * m / (jnp.sqrt(v) + 1e-8)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return (weights, first, second, count), loss

    zeros = [jnp.zeros_like(w) for w in weights]
    state: Any = (weights, zeros, zeros, jnp.float32(0))
    source = batches(batch_size)

    def step() -> None:
        nonlocal state
        state, loss = update(state, *next(source))
        float(loss)

    return {"ms_per_step": time_steps(step)}


def keras(batch_size: int) -> dict[str, float]:
    """Keras `fit` on JAX, arrays in memory."""
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers

    from lenet_paddle.data import load_dataset
    from lenet_paddle.data.preprocess import normalise

    train_set = load_dataset("mnist", "train")
    images = normalise(train_set.images).transpose(0, 2, 3, 1)
    model = keras.Sequential(
        [
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            *(layers.Flatten(), layers.Dense(120), layers.Dense(84), layers.Dense(10)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), loss, metrics=["accuracy"])

    def seconds(num_steps: int) -> float:
        chosen = np.arange(num_steps * batch_size) % len(images)
        started = time.perf_counter()
        model.fit(images[chosen], train_set.labels[chosen], batch_size=batch_size, verbose=0)
        return time.perf_counter() - started

    seconds(WARMUP)
    slope = (seconds(WARMUP + NUM_STEPS) - seconds(WARMUP)) / NUM_STEPS
    return {"ms_per_step": slope * 1000}


def network(batch_size: int) -> dict[str, float]:
    """Inference by the dygraph network in evaluation mode."""
    import paddle

    from lenet_paddle import build_model
    from lenet_paddle.evaluation.evaluate import compute_logits

    paddle.seed(0)
    lenet = build_model("lenet_builtin")
    return _time_inference(lambda batch: compute_logits(lenet, batch), batch_size)


def inference(batch_size: int, onednn: bool = False) -> dict[str, float]:
    """Paddle Inference without oneDNN."""
    from lenet_paddle import build_model, export_inference, load_dataset
    from lenet_paddle.deploy.export import load_engine, run_engine

    images = load_dataset("mnist", "test").take(slice(0, 256))
    with tempfile.TemporaryDirectory() as folder:
        export_inference(build_model("lenet_builtin"), Path(folder) / "inference", images, 28, {})
        engine = load_engine(Path(folder) / "inference", onednn=onednn)
        return _time_inference(lambda batch: run_engine(engine, batch), batch_size)


def inference_onednn(batch_size: int) -> dict[str, float]:
    """Paddle Inference with oneDNN."""
    return inference(batch_size, onednn=True)


def _time_inference(infer: Callable[[np.ndarray], Any], batch_size: int) -> dict[str, float]:
    """p50 and p99 of a call in milliseconds, and images a second."""
    images = next(batches(batch_size))[0]
    times = []
    for _ in range(WARMUP + 400):
        started = time.perf_counter()
        infer(images)
        times.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(times[WARMUP:], (50, 99))
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "images_per_s": batch_size / np.mean(times[WARMUP:]) * 1000,
    }


def evaluation(batch_size: int) -> dict[str, float]:
    """Evaluating the 10,000 test images, all figures included."""
    from lenet_paddle import build_model, evaluate, load_dataset

    lenet, test_set = build_model("lenet_builtin"), load_dataset("mnist", "test")
    evaluate(lenet, test_set, batch_size=batch_size)
    started = time.perf_counter()
    evaluate(lenet, test_set, batch_size=batch_size)
    return {"seconds": time.perf_counter() - started}


def load(batch_size: int, dataset: str = "mnist") -> dict[str, float]:
    """Reading MNIST and preparing each training image once, in batches; the memory's peak."""
    import resource

    from lenet_paddle.data import load_splits
    from lenet_paddle.data.loader import BatchLoader

    started = time.perf_counter()
    train_set, _, _ = load_splits(dataset, ("train", "val", "test"))
    read = time.perf_counter() - started
    for _ in BatchLoader(train_set, batch_size, shuffle=True):
        pass
    prepared = time.perf_counter() - started - read
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"read_s": read, "prepare_s": prepared, "peak_mb": peak}


def load_fashion(batch_size: int) -> dict[str, float]:
    """The same for Fashion-MNIST, where it lies on the disk."""
    return load(batch_size, "fashion_mnist")


WORKERS: dict[str, Callable[[int], dict[str, float]]] = {
    worker.__name__: worker
    for worker in (
        *(ours, bare, tutorial, pytorch, pytorch_loader, jax, keras),
        *(network, inference, inference_onednn, evaluation, load, load_fashion),
    )
}

if __name__ == "__main__":
    print(json.dumps(WORKERS[sys.argv[1]](int(sys.argv[2]))))
