"""Load SVHN's cropped digits from MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.data.datasets import DIGITS
from lenet_paddle.data.idx import check_unpacked
from lenet_paddle.data.imageset import ImageSet, check_counts
from lenet_paddle.data.sources import check_links
from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file
from lenet_paddle.runtime import need


def load_mat(part: str, data_dir: Path | None) -> ImageSet:
    """Load SVHN (Netzer et al. 2011): uint8 (73257 or 26032, 32, 32, 3).

    `data_dir` is the folder of train_32x32.mat and test_32x32.mat, or one of both. A file holds X,
    uint8 (32, 32, 3, N), and y, (N, 1), in which 10 is the digit 0. Raises `InputError`.
    """
    assert data_dir is not None  # checked by load_splits
    folder = data_dir.parent if data_dir.is_file() else data_dir
    path = folder / f"{part}_32x32.mat"
    if not path.is_file():
        raise InputError(f"{path}: missing; expected SVHN's train_32x32.mat and test_32x32.mat")
    check_links([path], folder)
    arrays = _read(path)
    images, labels = arrays["X"], arrays["y"].ravel()
    check_counts(path, images.shape[3], path, len(labels))
    if not ((labels >= 1) & (labels <= 10)).all():
        raise InputError(
            f"{path}: y runs from {labels.min()} to {labels.max()}; expected 1 to 10, the digit 0"
        )
    first = np.ascontiguousarray(np.moveaxis(images, -1, 0))
    return ImageSet(first, labels.astype(np.int64) % 10, DIGITS)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return X and y of a file; their shapes are looked at before they are read."""
    matlab = need("scipy.io", "mat")
    with open_file(path) as file:
        head = file.read(200)
        try:
            shapes = {name: shape for name, shape, _ in matlab.whosmat(file)}
            check_unpacked(
                path, int(np.prod(shapes.get("X", (0,)), dtype=float)), path.stat().st_size
            )
            arrays: dict[str, Any] = matlab.loadmat(file, variable_names=["X", "y"])
        except InputError:
            raise
        except Exception as error:  # a damaged or foreign file raises nearly anything
            hint = describe_content(head) or "; expected SVHN's cropped digits, or copy it again"
            raise InputError(f"{path}: not a readable .mat file ({error}){hint}") from None
    x, y = arrays.get("X"), arrays.get("y")
    is_x = isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 4 and x.shape[2] == 3
    if not is_x or not isinstance(y, np.ndarray) or y.dtype.kind not in "iuf":
        came = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
        raise InputError(
            f"{path}: holds {came}; expected SVHN's X, uint8 (32, 32, 3, N), and y, (N, 1)"
        )
    return arrays
