"""Workers that train the same network in other ways, as tutorials of Paddle, JAX and Keras do."""

from __future__ import annotations

import contextlib
import io
import time
from typing import Any

import numpy as np

from lenet_paddle.benchmark.steps import NUM_STEPS, WARMUP, batches, time_steps


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
