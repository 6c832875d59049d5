"""Weights as safetensors (github.com/huggingface/safetensors): names, shapes, numbers, no code."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenet_paddle.config import InputError
from lenet_paddle.runtime import need


def is_safetensors(path: Path) -> bool:
    """Whether a file is one by its name, or by how it begins: a cache may hold it under another
    name, to which a link led."""
    with path.open("rb") as file:
        start = file.read(9)  # the length of a JSON text, 8 bytes, and its first character
    return path.suffix == ".safetensors" or start[8:] == b"{"


def save_safetensors(
    path: Path, weights: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write name -> array to `path`. Raises `InputError` where the package is missing."""
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    need("safetensors.numpy").save_file(arrays, str(path), metadata)


def load_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file as name -> array. Raises `InputError` for a damaged one."""
    numpy_format = need("safetensors.numpy")
    try:
        weights = numpy_format.load_file(str(path))
    except OSError:
        raise
    except Exception as error:  # SafetensorError, KeyError for a type that NumPy has not ...
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: not a safetensors file ({reason})") from None
    if not weights:
        raise InputError(f"{path}: holds no arrays; expected a network's weights")
    return weights
