"""Workers that train the same networks with PyTorch.

`pytorch` is eager PyTorch as in its tutorials. `pytorch_fused` is its best eager form that was
found: maps in the channels-last format, ReLU behind max pooling (the same values from a quarter of
the operations), fused Adam. `pytorch_compiled` has network and loss under `torch.compile`, which
needs a C++ compiler and was slower with channels-last maps, ReLU behind max pooling, fused Adam.
Each network has PyTorch's own initial weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from lenet_paddle.benchmark.steps import FAST, count_steps, time_steps
from lenet_paddle.models import VISION_PREFIX, input_size

LENET = "lenet_builtin"


def build_network(name: str, late_relu: bool = False) -> Any:
    """Build the network `name` of this project in PyTorch; raises KeyError for one not written.

    With `late_relu` ReLU follows max pooling.
    """
    from torch import nn

    if name.startswith(VISION_PREFIX):
        from torchvision import models

        network = getattr(models, name.removeprefix(VISION_PREFIX))(num_classes=10)
        network.register_forward_pre_hook(lambda _, inputs: inputs[0].expand(-1, 3, -1, -1))
        return network
    conv, linear, norm = nn.Conv2d, nn.Linear, nn.BatchNorm2d
    relu, tanh, sigmoid, flat = nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Flatten()
    largest, mean, dropout = nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Dropout(0.5)
    pool = (largest, relu) if late_relu else (relu, largest)
    maps = [conv(1, 6, 3, padding=1), *pool, conv(6, 16, 5), *pool, flat]
    layers = {
        LENET: [*maps, linear(400, 120), linear(120, 84), linear(84, 10)],
        "lenet_relu": [*maps, linear(400, 120), relu, linear(120, 84), relu, linear(84, 10)],
        "lenet5": [
            *(conv(1, 6, 5), tanh, mean, sigmoid, conv(6, 16, 5), tanh, mean, sigmoid),
            *(conv(16, 120, 5), tanh, flat, linear(120, 84), tanh, linear(84, 10)),
        ],
        "lenet_modern": [
            *(conv(1, 8, 5, bias=False), largest, norm(8), relu),
            *(conv(8, 40, 5, bias=False), largest, norm(40), relu),
            *(conv(40, 120, 3, bias=False), norm(120), relu, flat, linear(480, 10)),
        ],
        "cnn_regularized": [
            *(conv(1, 32, 3), *pool, conv(32, 64, 3), *pool, flat),
            *(linear(1600, 128), relu, dropout, linear(128, 64), relu, dropout, linear(64, 10)),
        ],
    }
    return nn.Sequential(*layers[name])


def _build_step(network: Any, source: Iterator[Any], l2: float, fused: bool, compiled: bool) -> Any:
    """Return a training step; `l2` is the penalty on all kernels but the last layer's."""
    import torch

    kernels = [p for p in network.parameters() if l2 and p.ndim > 1][:-1]
    rest = [p for p in network.parameters() if all(p is not kernel for kernel in kernels)]
    groups: list[Any] = [{"params": rest}]
    if kernels:
        groups.append({"params": kernels, "weight_decay": 2 * l2})
    optimizer = torch.optim.Adam(groups, 0.001, fused=fused or None)
    loss_function = torch.nn.CrossEntropyLoss()

    def compute_loss(images: Any, labels: Any) -> Any:
        return loss_function(network(images), labels)

    loss_of = torch.compile(compute_loss) if compiled else compute_loss

    def step() -> None:
        images, labels = next(source)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        loss.item()  # every worker reads its loss

    return step


def _data(side: int) -> tuple[Any, Any]:
    import torch

    from lenet_paddle.data.load import load_dataset
    from lenet_paddle.data.preprocess import normalise

    train_set = load_dataset("mnist", "train")
    return torch.from_numpy(normalise(train_set.images, side)), torch.from_numpy(train_set.labels)


def _in_memory(
    batch_size: int, name: str, fused: bool = False, compiled: bool = False
) -> Callable[[], None]:
    """Return a training step with tensors in memory and a permutation per epoch."""
    import torch

    images, labels = _data(input_size(name))
    network = build_network(name, late_relu=fused)
    used = len(images) // batch_size * batch_size
    if fused and not compiled:
        network = network.to(memory_format=torch.channels_last)

    def source() -> Iterator[Any]:
        while True:
            for chosen in torch.randperm(len(images))[:used].split(batch_size):
                yield images[chosen], labels[chosen]

    l2 = 0.001 if name == "cnn_regularized" else 0.0
    return _build_step(network, source(), l2, fused, compiled)


def pytorch(batch_size: int, network: str = LENET) -> dict[str, float]:
    """Measure eager PyTorch."""
    return {"ms_per_step": time_steps(_in_memory(batch_size, network), *count_steps(network))}


def pytorch_fused(batch_size: int, network: str = LENET) -> dict[str, float]:
    """Measure the best eager form."""
    step = _in_memory(batch_size, network, fused=True)
    return {"ms_per_step": time_steps(step, *count_steps(network))}


def pytorch_compiled(batch_size: int, network: str = LENET) -> dict[str, float]:
    """Measure the form under `torch.compile`; the warm-up includes compiling."""
    step = _in_memory(batch_size, network, fused=True, compiled=True)
    return {"ms_per_step": time_steps(step, *count_steps(network))}


def pytorch_epoch(batch_size: int) -> dict[str, float]:
    """Measure an epoch of the bare loop of eager PyTorch."""
    num_steps = 55_000 // batch_size
    return {"seconds": time_steps(_in_memory(batch_size, LENET), num_steps) * num_steps / 1000}


def pytorch_loader(batch_size: int) -> dict[str, float]:
    """Measure eager PyTorch with its DataLoader over a TensorDataset."""
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*_data(28)), batch_size, shuffle=True, drop_last=True)

    def source() -> Iterator[Any]:
        while True:
            yield from loader

    return {
        "ms_per_step": time_steps(_build_step(build_network(LENET), source(), 0.0, False, False))
    }


def pytorch_fast(seed: int) -> dict[str, float]:
    """Train configs/mnist_fast.yaml in PyTorch: the same schedule, PyTorch's own initial weights.

    The network has the best eager form. As in `own.fast`, each epoch ends with an evaluation, and
    each batch is normalised when used.
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
    network = build_network("lenet_relu", late_relu=True).to(memory_format=torch.channels_last)
    steps_per_epoch = -(-len(images) // config.batch_size)
    total = config.epochs * steps_per_epoch
    rate, decay = config.learning_rate, config.weight_decay
    adamw = torch.optim.AdamW(network.parameters(), rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adamw, rate, total, cycle_momentum=False)
    loss_function = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    started = time.perf_counter()
    for step in range(total):
        if step % steps_per_epoch == 0:
            order = torch.randperm(len(images)).split(config.batch_size)
        chosen = order[step % steps_per_epoch]
        batch = (images[chosen][:, None].float() - 127.5) / 127.5
        adamw.zero_grad(set_to_none=True)
        loss = loss_function(network(batch), labels[chosen])
        loss.backward()
        adamw.step()
        schedule.step()
        loss.item()
        if (step + 1) % steps_per_epoch == 0:
            with torch.no_grad():
                preds = torch.cat([network(part).argmax(1) for part in tested.split(128)]).numpy()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "accuracy": float((preds == test_set.labels).mean())}
