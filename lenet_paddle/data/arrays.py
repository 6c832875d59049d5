"""Arrays of others as images and labels: shapes, ranges and label forms in circulation.

What is unmistakable is taken; for the rest the error has the line of NumPy that mends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lenet_paddle.errors import InputError, Say

_CHUNK = 8192  # images converted at once, so that temporary copies stay small
_SAMPLE = 4096  # images of a mapped file that are looked at
_MOST_COPIED = 1 << 30  # bytes that a mapped file may become in memory
_DARK = 128  # images whose largest value is below this are named
_TO_CLASSES = "names, y = np.unique(y, return_inverse=True)"
_RANGES = {
    (255.0, 0.0): "values from 0 to 1",
    (1.0, 0.0): "values from 0 to 255",
    (127.5, 127.5): "values from -1 to 1",
}
_MAX_CLASSES = 1000  # a stray label must not make a confusion matrix of gigabytes


def to_images(
    path: Path,
    name: str,
    array: np.ndarray,
    count: int,
    scale: float | None,
    reference: Callable[[], np.ndarray],
    say: Say,
) -> tuple[np.ndarray, str]:
    """Return `array` as uint8 (N, H, W) or (N, H, W, 3), and how it was read in a few words.

    There is no copy where it is uint8 and `scale` is None. Shapes: (N, H, W), (N, H, W, C),
    (N, C, H, W) with C of 1 or 3 and, for grey squares, (N, H*W). Values: whole numbers in 0..255;
    floats in 0..255, 0..1 or -1..1; booleans. `count` is the number of labels. The images of
    `reference`, those to train on, decide between the ranges. With `scale` values are multiplied
    by it instead. `say` gets a line for images that use less than half of 0..255. Raises
    `InputError` for anything else, for shapes that can be understood in two ways, and for a
    memory-mapped array that would need over a gigabyte.
    """
    source = f"{path}: {name}"
    given, array = array, _order_axes(source, array, count)
    kind = f"{'colour' if array.ndim == 4 else 'grey'} {array.shape[2]}x{array.shape[1]}"
    form = f"{name} {given.dtype} {given.shape} as {kind}"
    if array.dtype == np.uint8 and scale is None:
        _say_dark(path, array, 1, say)
        return array, f"{form}, values as they are"
    if isinstance(array, np.memmap) and array.size > _MOST_COPIED:
        raise InputError(
            f"{source} is {array.dtype} {array.shape}; so many are read in place, which needs "
            f'uint8 from 0 to 255: x = np.load("{name}.npy"); '
            f'np.save("{name}.npy", np.round(x * {scale or 255:g}).astype(np.uint8))'
        )
    decisive = array if scale else reference()
    if decisive.dtype.kind != array.dtype.kind:
        decisive = array
    factor, offset = (scale, 0.0) if scale else _choose_range(source, decisive)
    images = _convert(source, array, factor, offset)
    if not offset:
        _say_dark(path, images, factor, say)
    return images, f"{form}, {_RANGES.get((factor, offset), f'values times {factor:g}')}"


def is_colour(shape: tuple[int, ...]) -> bool:
    """Return whether an array of images of this shape has three channels."""
    return len(shape) == 4 and 3 in (shape[1], shape[3])


def _order_axes(source: str, array: np.ndarray, count: int) -> np.ndarray:
    """Return a view of `array` of shape (N, H, W) or (N, H, W, 3). Raises `InputError`."""
    shape = array.shape
    mend = ""
    if array.ndim > 1 and shape[0] != count and shape[-1] == count:
        line = "one image a column? x = x.T" if array.ndim == 2 else "x = np.moveaxis(x, -1, 0)"
        mend = f"; the number of images, {count:,}, comes first: {line}"
    elif array.ndim == 4:
        axes = [axis for axis in (3, 1) if shape[axis] in (1, 3, 4)]
        if len(axes) == 2:
            mend = (
                "; which axis holds the channels cannot be decided; the last one, with images of "
                "over 4 pixels a side, is unmistakable: x = np.moveaxis(x, 1, -1)"
            )
        elif axes and shape[axes[0]] == 4:
            line = "x[..., :3]" if axes == [3] else "np.moveaxis(x, 1, -1)[..., :3]"
            mend = f"; four channels, the last one alpha? without it: x = {line}"
        elif axes:
            ordered = np.moveaxis(array, axes[0], -1)
            return ordered if ordered.shape[3] == 3 else ordered[..., 0]
    elif array.ndim == 3:
        if 1 not in shape[1:]:
            return array
        mend = "; is an image one row? x = x.reshape(len(x), -1)"
    elif array.ndim == 2 and shape[1] > 1:
        side = math.isqrt(shape[1])
        if side**2 == shape[1]:
            return array.reshape(shape[0], side, side)
        side = math.isqrt(shape[1] // 3)
        if 3 * side**2 == shape[1]:
            mend = (
                f"; is that {side}x{side} in colour? channel by channel, as CIFAR's: "
                f"x = x.reshape(-1, 3, {side}, {side}); pixel by pixel: "
                f"x = x.reshape(-1, {side}, {side}, 3)"
            )
    raise InputError(
        f"{source} is {array.dtype} {shape}; expected uint8 (N, H, W) or (N, H, W, 3){mend}"
    )


def _say_dark(path: Path, images: np.ndarray, factor: float, say: Say) -> None:
    if isinstance(images, np.memmap):
        images = images[:: max(1, len(images) // _SAMPLE)]
    highest = int(images.max(initial=0))
    if 0 < highest < _DARK:
        read = "are read as they are" if factor == 1 else f"were multiplied by {factor:g}"
        say(
            f"{path}: images go up to {highest} of 255 and {read}; "
            f"if that is white, use --scale {255 / highest * factor:.6g}"
        )


def _choose_range(source: str, array: np.ndarray) -> tuple[float, float]:
    """Return the factor and offset that bring the values of `array` to 0..255."""
    if array.dtype == bool:
        return 255.0, 0.0
    if array.dtype.kind not in "iuf":
        raise InputError(f"{source} is {array.dtype}; expected numbers")
    low, high = _find_range(array)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{source} has NaN or infinity; expected numbers: x = np.nan_to_num(x)")
    is_float = array.dtype.kind == "f"
    if low >= 0 and high <= 1 and is_float:
        return 255.0, 0.0
    if low >= 0 and high <= 255:
        return 1.0, 0.0
    if low >= -1 and high <= 1 and is_float:
        return 127.5, 127.5
    if low >= 0:
        mend = f"--scale {255 / high:.6g}, or x = np.round(x / {high:g} * 255).astype(np.uint8)"
    else:
        mend = "x = np.round((x - x.min()) / (x.max() - x.min()) * 255).astype(np.uint8)"
    raise InputError(
        f"{source} is {array.dtype} from {low:g} to {high:g}; "
        f"expected 0 to 255{', 0 to 1 or -1 to 1' if is_float else ''}: {mend}"
    )


def _find_range(array: np.ndarray) -> tuple[float, float]:
    starts = range(0, len(array), _CHUNK)
    chunks = [array[start : start + _CHUNK] for start in starts]
    if not array.size:
        return 0.0, 0.0
    lows, highs = zip(*((c.min(), c.max()) for c in chunks), strict=True)
    return float(np.min(lows)), float(np.max(highs))  # NaN where one is; min and max are not


def _convert(source: str, array: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Return round(array * factor + offset) as uint8. Raises `InputError` outside 0..255."""
    result = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK]
        values = np.rint(chunk.astype(np.float32) * np.float32(factor) + np.float32(offset))
        if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 255):
            high = max(abs(float(chunk.max())), abs(float(chunk.min())))
            raise InputError(
                f"{source} has values up to {high:g}, times {factor:g} plus {offset:g} outside of "
                "0 to 255; expected one range for all images: check --scale, or np.clip them"
            )
        result[start : start + _CHUNK] = values
    return result


def to_labels(path: Path, name: str, array: np.ndarray) -> tuple[np.ndarray, int]:
    """Return `array` as numbers of classes, int64 (N,), and the width of one-hot labels, else 0.

    Shapes (N,), (N, 1), and (N, C) with one 1 a row. Raises `InputError` for an empty
    array, numbers that are not whole or negative, text, and several labels an image.
    """
    labels, width = array, 0
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf" and _is_one_hot(labels):
        labels, width = labels.argmax(axis=1), labels.shape[1]
    is_number = labels.dtype.kind in "biuf" and labels.ndim == 1 and len(labels) > 0
    if not is_number or not (labels >= 0).all() or not (np.floor(labels) == labels).all():
        mend = ""
        if labels.ndim == 1 and labels.dtype.kind in "ifU" and len(labels):
            mend = f": {_TO_CLASSES}"
        elif labels.ndim == 2:
            mend = ": y = y.argmax(axis=1), if each image has one class"
        raise InputError(
            f"{path}: {name} is {array.dtype} {array.shape}; "
            f"expected whole numbers from 0, of shape (N,){mend}"
        )
    if max(int(labels.max()), width - 1) >= _MAX_CLASSES:
        raise InputError(
            f"{path}: {name} goes up to {max(labels.max(), width - 1)}; "
            f"expected class numbers below {_MAX_CLASSES:,}"
        )
    return labels.astype(np.int64, copy=False), width


def _is_one_hot(array: np.ndarray) -> bool:
    is_set = array == 1
    return bool((is_set.sum(axis=1) == 1).all() and (is_set | (array == 0)).all())


def number_classes(
    path: Path, name: str, labels: np.ndarray, width: int, mend: str | None, say: Say
) -> range:
    """Return the numbers of the classes of training `labels`, which begin at 0 or 1.

    `say` gets a line for classes of one-hot labels, `width` of them, without an image. Raises
    `InputError` for labels that skip numbers, with `mend` or the line of NumPy that mends them.
    """
    found = np.unique(labels)
    first = 0 if width else min(int(found[0]), 1)
    classes = range(first, width or int(found[-1]) + 1)
    empty = [number for number in classes if number not in found]
    few = f"{', '.join(map(str, empty[:5]))}{' ...' if len(empty) > 5 else ''}"
    if empty and width:
        say(f"{path}: {name} has no image of class {few}")
    elif empty:
        mend = mend or f"y = np.searchsorted(np.unique({name}), y), in every part"
        raise InputError(
            f"{path}: {name} skips numbers: there is no image of class {few}; expected classes "
            f"numbered without gaps: {mend}"
        )
    return classes
