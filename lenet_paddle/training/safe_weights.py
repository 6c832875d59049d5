"""Read files of weights from untrusted sources without running code in them.

safetensors is made for that (github.com/huggingface/safetensors). Paddle's `.pdparams` and
`.pdopt` are pickles, which can call any function; `data/pickles.py` reads arrays and plain
containers only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.data.pickles import read_pickle
from lenet_paddle.errors import InputError
from lenet_paddle.files import open_file
from lenet_paddle.runtime import need


def is_safetensors(path: Path) -> bool:
    """Return whether a file is a safetensors file, by its name or its first bytes.

    A cache may store it under a name without suffix.
    """
    with open_file(path) as file:
        start = file.read(9)  # the length of a JSON text, 8 bytes, and its first character
    return path.suffix == ".safetensors" or start[8:] == b"{"


def save_safetensors(
    path: Path, weights: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write name -> array to `path`. Raises `InputError` if the package is missing."""
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    need("safetensors.numpy").save_file(arrays, str(path), metadata)


def load_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file as name -> array. Raises `InputError` for a damaged one."""
    numpy_format = need("safetensors.numpy")
    try:
        with open_file(path):  # refuses what is not a file
            weights = numpy_format.load_file(str(path))
    except (OSError, InputError):
        raise
    except Exception as error:  # SafetensorError, KeyError for a type that NumPy has not ...
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: not a safetensors file ({reason})") from None
    if not weights:
        raise InputError(f"{path}: holds no arrays; expected a network's weights")
    return weights


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a `.pdparams` or `.pdopt` file: arrays, texts, numbers, and dicts of these, by name.

    Runs no code in it. Raises `InputError`.
    """
    with open_file(path) as file:
        return read_pickle(file.read(), path, "a file of Paddle weights")
