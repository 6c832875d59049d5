"""What can be measured, with which workers and sizes.

A worker is a function of one of the modules named here. It takes a size, runs in a process of its
own, and returns a dict of measured values. Those of `train` train the LeNet of
`paddle.vision.models.LeNet` (61,610 parameters) on MNIST with Adam at 0.001; those of `networks`
are followed by the network that they train in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lenet_paddle.errors import InputError

OWN = "lenet_paddle.benchmark.own"
LOAD = "lenet_paddle.benchmark.load"
READING = "lenet_paddle.benchmark.reading"
PEERS = "lenet_paddle.benchmark.peers"  # they do not import Paddle
TORCH = "lenet_paddle.benchmark.torch_peers"

NETWORKS = ("lenet5", "lenet_relu", "lenet_modern", "cnn_regularized")
VISION = "vision:resnet18"
TORCH_FORMS = ("pytorch", "pytorch_fused", "pytorch_compiled")


class Peer(NamedTuple):
    """Another framework that does the same."""

    package: str
    workers: tuple[str, ...]
    module: str = TORCH


def _on_networks(workers: tuple[str, ...], *networks: str) -> tuple[str, ...]:
    return tuple(f"{worker} {network}" for network in networks for worker in workers)


@dataclass(frozen=True)
class Measurement:
    """Workers of one module, and the sizes that each is called with."""

    help: str
    workers: tuple[str, ...]
    size: str = "batch_size"
    """What a size counts; the name of its column."""
    sizes: tuple[int, ...] = (64,)
    module: str = OWN
    peers: dict[str, Peer] = field(default_factory=dict)


MEASUREMENTS = {
    "train": Measurement(
        "training steps",
        ("ours", "limit"),
        sizes=(64, 512),
        peers={
            "tutorial": Peer("paddle", ("tutorial",), PEERS),
            "pytorch": Peer("torch", (*TORCH_FORMS, "pytorch_loader")),
            "jax": Peer("jax", ("jax",), PEERS),
            "keras": Peer("keras", ("keras",), PEERS),
        },
    ),
    "networks": Measurement(
        "training steps of other networks",
        _on_networks(("ours",), *NETWORKS, VISION),
        sizes=(64, 512),
        peers={
            "pytorch": Peer("torch", _on_networks(TORCH_FORMS, *NETWORKS)),
            "torchvision": Peer("torchvision", _on_networks(TORCH_FORMS, VISION)),
        },
    ),
    "epoch": Measurement(
        "whole epochs of train.py with validation, checkpoint and VisualDL",
        ("epoch",),
        peers={"pytorch": Peer("torch", ("pytorch_epoch",))},
    ),
    "job": Measurement("train.py with its defaults, start to exit", ("job",)),
    "ranks": Measurement(
        "training steps of two processes", ("one_rank", "two_ranks"), sizes=(64, 256, 512, 1024)
    ),
    "profile": Measurement("Paddle's operators in a training step", ("profile",), sizes=(64, 512)),
    "start": Measurement("the time to the first training step", ("start",)),
    "infer": Measurement(
        "inference", ("network", "inference", "inference_onednn"), sizes=(1, 64, 256)
    ),
    "evaluate": Measurement("evaluation of the test set", ("evaluation",), sizes=(64, 128, 256)),
    "load": Measurement(
        "loading a data set",
        ("load", "load_fashion", "load_npz", "load_folder"),
        module=READING,
    ),
    "grow": Measurement(
        "training from files of up to 6,000,000 images (4.7 GB in the temporary folder)",
        ("grow",),
        size="images",
        sizes=(60_000, 600_000, 6_000_000),
        module=READING,
    ),
    "fast": Measurement(
        "the recipe configs/mnist_fast.yaml as a whole",
        ("fast",),
        size="seed",
        sizes=(0, 1, 2, 3, 4),
        peers={"pytorch": Peer("torch", ("pytorch_fast",))},
    ),
    "serve": Measurement(
        "the server under wrk (apt-get install wrk; 80 seconds per round)",
        ("serve",),
        size="connections",
        sizes=(32,),
        module=LOAD,
    ),
}


def find_measurement(name: str) -> Measurement:
    """Return one of `MEASUREMENTS`. Raises `InputError` that lists the valid names."""
    if name not in MEASUREMENTS:
        raise InputError(
            f"measurement {name!r} is unknown; expected one of {', '.join(MEASUREMENTS)}"
        )
    return MEASUREMENTS[name]


def find_module(worker: str) -> str:
    """Return the module that defines `worker`. Raises KeyError for an unknown one."""
    for measurement in MEASUREMENTS.values():
        if worker in measurement.workers:
            return measurement.module
        for peer in measurement.peers.values():
            if worker in peer.workers:
                return peer.module
    raise KeyError(worker)


def is_peer(worker: str) -> bool:
    """Return whether `worker` measures another framework. Raises KeyError for an unknown one."""
    return find_module(worker) in (PEERS, TORCH)
