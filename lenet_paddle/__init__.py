"""Train, watch and ship a small image classifier with PaddlePaddle's high-level API.

>>> from lenet_paddle import TrainConfig, train_and_evaluate
>>> result = train_and_evaluate(TrainConfig(epochs=1, limit=2000))

This package does not import Paddle: public names are imported on first use, so that `--help`
answers at once and `runtime.prepare_environment` runs before Paddle is imported.
"""

from __future__ import annotations

import importlib
from typing import Any

from lenet_paddle import runtime
from lenet_paddle._version import __version__ as __version__

runtime.prepare_environment()

_PUBLIC = {
    "TrainConfig": "config",
    "InputError": "errors",
    "ImageSet": "data.imageset",
    "load_dataset": "data.load",
    "BatchLoader": "data.loader",
    "normalise": "data.preprocess",
    "MODELS": "models",
    "build_model": "models",
    "evaluate": "evaluation.evaluate",
    "fit": "training.fit",
    "load_weights": "training.weights",
    "Run": "run_folder",
    "export_inference": "export.export",
    "Predictor": "export.predictor",
    "train_and_evaluate": "workflows.train",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"lenet_paddle has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
