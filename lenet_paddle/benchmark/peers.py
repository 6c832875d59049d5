"""Workers that train the same network with other frameworks, as their own tutorials do."""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.benchmark.steps import FAST, NUM_STEPS, WARMUP, batches, time_steps

if TYPE_CHECKING:
    from lenet_paddle.config import TrainConfig


def tutorial(batch_size: int) -> dict[str, float]:
    """Measure Paddle as in its tutorial: a Dataset with a transform per sample, and `Model.fit`."""
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
        loss.item()  # every worker reads its loss

    return step


def _torch_data() -> tuple[Any, Any]:
    import torch

    from lenet_paddle.data.load import load_dataset
    from lenet_paddle.data.preprocess import normalise

    train_set = load_dataset("mnist", "train")
    return torch.from_numpy(normalise(train_set.images)), torch.from_numpy(train_set.labels)


def pytorch(batch_size: int) -> dict[str, float]:
    """Measure eager PyTorch with tensors in memory and a permutation per epoch."""
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
    """Measure eager PyTorch with its DataLoader over a TensorDataset."""
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*_torch_data()), batch_size, shuffle=True, drop_last=True)

    def source() -> Iterator[Any]:
        while True:
            yield from loader

    return {"ms_per_step": time_steps(_torch_step(_torch_lenet(), source()))}


def pytorch_fast(seed: int) -> dict[str, float]:
    """Train configs/mnist_fast.yaml in PyTorch: same schedule, Muon and AdamW, PyTorch's own init.

    As in `own.fast`, each epoch ends with an evaluation, and each batch is normalised when used.
    """
    import torch
    from torch import nn

    from lenet_paddle.config import TrainConfig
    from lenet_paddle.data.load import load_dataset
    from lenet_paddle.data.preprocess import normalise
    from lenet_paddle.settings import load_yaml

    config = TrainConfig(**load_yaml(FAST, TrainConfig), seed=seed)
    torch.manual_seed(seed)
    train_set, test_set = load_dataset("mnist", "train", val_size=0), load_dataset("mnist", "test")
    images, labels = torch.from_numpy(train_set.images), torch.from_numpy(train_set.labels)
    tested = torch.from_numpy(normalise(test_set.images))
    *features, dense, hidden, last = _torch_lenet()
    network = nn.Sequential(*features, dense, nn.ReLU(), hidden, nn.ReLU(), last)
    steps_per_epoch = -(-len(images) // config.batch_size)
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    update = _torch_muon(network, last, config)
    started = time.perf_counter()
    for step in range(total):
        if step % steps_per_epoch == 0:
            order = torch.randperm(len(images)).split(config.batch_size)
        chosen = order[step % steps_per_epoch]
        batch = (images[chosen][:, None].float() - 127.5) / 127.5
        loss = nn.functional.cross_entropy(network(batch), labels[chosen])
        loss.backward()
        rise, fall = (step + 1) / max(1, warmup), (step - warmup) / (total - warmup)
        update(rise if step < warmup else 0.5 * (1 + math.cos(math.pi * fall)))
        loss.item()
        if (step + 1) % steps_per_epoch == 0:
            with torch.no_grad():
                preds = torch.cat([network(part).argmax(1) for part in tested.split(128)]).numpy()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "accuracy": float((preds == test_set.labels).mean())}


def _torch_muon(network: Any, last: Any, config: TrainConfig) -> Callable[[float], None]:
    """Return the update of `training.muon.Muon` for PyTorch; it takes the share of the top rate."""
    import torch

    own = [p for p in network.parameters() if p.ndim >= 2 and p is not last.weight]
    rest = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {"params": rest, "weight_decay": 0.0},
        {"params": [last.weight], "weight_decay": config.weight_decay},
    ]
    adamw = torch.optim.AdamW(groups, lr=config.muon_adam_rate, betas=(0.9, 0.99))
    momenta = [torch.zeros_like(p) for p in own]

    @torch.no_grad()
    def update(share: float) -> None:
        rate = share * config.learning_rate
        for weight, momentum in zip(own, momenta, strict=True):
            momentum.lerp_(weight.grad, 1 - config.momentum)
            x = weight.grad.lerp(momentum, config.momentum).flatten(1)
            outputs, inputs = x.shape
            x = (x.T if outputs > inputs else x) / (x.norm() + 1e-7)
            for _ in range(4):
                gram = x @ x.T
                x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
            x = (x.T if outputs > inputs else x).reshape(weight.shape)
            weight.mul_(1 - rate * config.weight_decay)
            weight.sub_(x, alpha=rate * max(1.0, outputs / inputs) ** 0.5)
        for group in adamw.param_groups:
            group["lr"] = share * config.muon_adam_rate
        adamw.step()
        network.zero_grad(set_to_none=True)

    return update


def jax(batch_size: int) -> dict[str, float]:
    """Measure JAX: one jitted step on our loader's batches, Adam written as in its paper."""
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
    """Measure Keras `fit` on JAX with arrays in memory."""
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers

    from lenet_paddle.data.load import load_dataset
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
