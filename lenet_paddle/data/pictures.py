"""Prepare the pictures of a tree: several at once, from the cache where nothing has changed."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lenet_paddle.data import cache
from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.depth import Depth
from lenet_paddle.data.form import Channels, Form, Side, has_colour
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.preprocess import (
    channels_read,
    decode_picture,
    holds_several,
    load_picture,
    open_picture,
    prepare_picture,
)
from lenet_paddle.data.tree import Tree
from lenet_paddle.errors import InputError, Say
from lenet_paddle.files import open_file
from lenet_paddle.progress import Progress
from lenet_paddle.runtime import count_threads

_FEW = 5  # names in one message
_SAMPLE = 200  # pictures that are looked at for colour and size
_SIDES = (28, 32, 64)  # of `auto`; larger ones take long to train
_MOST_THREADS = 8  # each holds a picture of up to 50 million pixels
_WORTH_CACHING = 200  # pictures
Result = TypeVar("Result")


def choose_picture_form(
    tree: Tree, preprocess: Preprocess, channels: Channels, size: Side, say: Say
) -> Form:
    """Return the form in which to prepare the pictures of `tree`, with `auto` filled in, and `say`
    what was chosen, unless it is the form that they have.

    Channels: 3 if one of a sample of the training pictures has colour (`form.has_colour`). Side:
    28, 32 or 64, the largest not above the median shorter side of the sample. `preprocess` digit is
    grey 28x28.
    """
    if preprocess == "digit":
        if channels == 3 or size not in ("auto", Form().size):
            raise InputError(
                f"preprocess digit makes {Form()} pictures; use resize for channels {channels} and "
                f"image_size {size}"
            )
        return Form()
    if channels != "auto" and size != "auto":
        return Form(channels, size)
    sample = _draw_sample(*next(iter(tree.files.values())))
    seen = _look_at(tuple(sample), cache.stamp_files(sample).tobytes())
    flags = []
    if channels == "auto":
        channels = 3 if seen is not None and seen.has_colour else 1
        flags.append("--channels")
    if size == "auto":
        shorter = _SIDES[0] if seen is None else max(seen.shorter, _SIDES[0])
        size = max(side for side in _SIDES if side <= shorter)
        flags.append("--image-size")
    form = Form(channels, int(size))
    if seen is not None and not (
        seen.is_even and form == (3 if seen.has_colour else 1, seen.height)
    ):
        say(
            f"{tree.data_dir}: pictures are read in {'colour' if channels == 3 else 'grey'} at "
            f"{size}x{size} (median {seen.width:g}x{seen.height:g}); {' and '.join(flags)} "
            f"{'change' if len(flags) > 1 else 'changes'} that"
        )
    return form


def _draw_sample(files: Sequence[Path], labels: np.ndarray) -> list[Path]:
    """Return some pictures of each class, evenly over its files."""
    classes = np.unique(labels)
    quota = max(1, _SAMPLE // len(classes))
    chosen: list[int] = []
    for label in classes[:_SAMPLE]:
        own = np.flatnonzero(labels == label)
        chosen += own[np.linspace(0, len(own) - 1, min(quota, len(own))).astype(int)].tolist()
    return [files[i] for i in chosen]


class _Seen(NamedTuple):
    """Whether a sample has colour, the medians of its sides in pixels, and whether all are the
    same."""

    has_colour: bool
    shorter: float
    height: float
    width: float
    is_even: bool


@functools.lru_cache(maxsize=4)  # each part of a folder asks for the same
def _look_at(files: tuple[Path, ...], stamps: bytes) -> _Seen | None:
    """Look at a sample of pictures, those that can be read; `stamps` tell whether they changed."""
    sides, is_colour = [], False
    for path in files:
        with contextlib.suppress(InputError, OSError), open_file(path) as file:
            with open_picture(file, str(path)) as picture:
                side = picture.height, picture.width
            file.seek(0)
            is_colour |= has_colour(decode_picture(file, str(path), channels=3, target=28))
            sides.append(side)
    if not sides:
        return None
    shorter, (height, width) = np.median(np.min(sides, axis=1)), np.median(sides, axis=0)
    is_even = np.unique(sides).size == 1
    return _Seen(is_colour, float(shorter), float(height), float(width), is_even)


def read_pictures(
    tree: Tree,
    part: str,
    files: list[Path],
    labels: np.ndarray,
    form: Form,
    preprocess: Preprocess,
    skip_unreadable: bool,
    say: Say,
) -> ImageSet:
    """Return `files`, those of `part`, prepared in `form`: uint8 (N, S, S) or (N, S, S, 3).

    From 200 pictures on they are kept in the cache (`cache.py`), but for deep ones, whose white
    depends on the other parts. Raises `InputError` for unreadable ones, unless `skip_unreadable`.
    """
    depth_of_root = len(tree.data_dir.parts)
    names = ["/".join(file.parts[depth_of_root:]) for file in files]
    stamps, entry = cache.stamp_files(files), None
    if len(files) >= _WORTH_CACHING:
        entry = cache.entry_of(os.path.realpath(tree.data_dir), part, form, preprocess)
    images, several, todo = _take_known(entry, names, stamps, form)
    prepare = functools.partial(_prepare, form=form, mode=preprocess)
    found = _in_threads(
        functools.partial(_read, prepare=prepare),
        *([files[i] for i in todo], [images[i] for i in todo]),
    )
    errors = {i: read.error for i, read in zip(todo, found, strict=True) if read.error}
    deep = [i for i, read in zip(todo, found, strict=True) if not read.error and read.depth.count]
    several[todo] = [read.holds_several for read in found]
    if entry is not None and len(todo) > len(errors) + len(deep):
        kept = np.setdiff1d(np.arange(len(files)), [*errors, *deep])
        cache.save_prepared(entry, cache.Prepared(images, names, stamps, several), kept)
    if errors:
        _report_unreadable(tree, list(errors.values()), len(files), skip_unreadable, say)
    if several.any():
        say(
            f"{tree.data_dir}: {several.sum():,} of {len(files):,} files hold several pictures, as "
            f"{files[int(several.argmax())]}; only the first of each is used"
        )
    if deep:  # again, with white of the whole set
        depth = _measure(tree, set(files), [read.depth for read in found])
        say(f"{tree.data_dir}: {depth.count:,} pictures of more than 8 bits: {depth}")
        again = [files[i] for i in deep], [images[i] for i in deep]
        _in_threads(functools.partial(prepare, depth=depth), *again)
    image_set = ImageSet(images, labels, tree.classes, np.array(names, object))
    return image_set.take(np.delete(np.arange(len(files)), list(errors))) if errors else image_set


def _take_known(
    entry: Path | None, names: list[str], stamps: np.ndarray, form: Form
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return the images with those of the cache filled in, which of them hold several pictures,
    and the positions of those to read."""
    known = None if entry is None else cache.load_prepared(entry, form.shape)
    if known is not None and known.names == names and (known.stamps == stamps).all():
        return known.images, known.several, []
    images, several = np.empty((len(names), *form.shape), np.uint8), np.zeros(len(names), bool)
    if known is None or not len(known.names):
        return images, several, list(range(len(names)))
    rows = {name: row for row, name in enumerate(known.names)}
    row = np.array([rows.get(name, -1) for name in names])
    is_same = (row >= 0) & (known.stamps[row] == stamps).all(axis=1)
    images[is_same], several[is_same] = known.images[row[is_same]], known.several[row[is_same]]
    return images, several, np.flatnonzero(~is_same).tolist()


class _Read(NamedTuple):
    """What was found while a file was read."""

    depth: Depth
    holds_several: bool = False
    error: str | None = None


def _prepare(file: Path, image: np.ndarray, depth: Depth, form: Form, mode: Preprocess) -> None:
    target = form.size if mode == "resize" else None
    picture = load_picture(file, depth, channels_read(mode, form.channels), target)
    image[:] = prepare_picture(picture, mode, form.size)


def _read(file: Path, image: np.ndarray, prepare: Callable[..., None]) -> _Read:
    depth = Depth()  # its own: several threads read
    try:
        prepare(file, image, depth)
        return _Read(depth, holds_several(file))
    except (InputError, OSError) as error:
        text = f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)
        return _Read(depth, error=text)


def _in_threads(
    read: Callable[[Path, np.ndarray], Result], files: list[Path], images: list[np.ndarray]
) -> list[Result]:
    """Return `read` of each file with the image to fill, with progress.

    Decoding and scaling release Python's lock, so that threads, which start at once, do as well as
    processes, which would have to import this package, or be forks of one with Paddle's threads.
    """
    done: list[Result] = []
    progress = Progress(len(files), "pictures")
    pool = ThreadPoolExecutor(min(count_threads(), _MOST_THREADS))
    with warnings.catch_warnings():  # those of one thread are those of all
        warnings.simplefilter("ignore")
        try:
            for result in pool.map(read, files, images):
                done.append(result)
                progress.show(len(done), f"reading pictures: {len(done):,}/{len(files):,}")
        finally:  # also at Ctrl-C
            pool.shutdown(cancel_futures=True)
    progress.clear()
    return done


def _report_unreadable(
    tree: Tree, errors: list[str], total: int, skip_unreadable: bool, say: Say
) -> None:
    """Name the first unreadable files; raise `InputError` unless they may be skipped."""
    named = "; ".join(errors[:_FEW]) + (" ..." if len(errors) > _FEW else "")
    came = f"{tree.data_dir}: {len(errors):,} of {total:,} pictures cannot be read"
    if not skip_unreadable:
        raise InputError(f"{came} ({named}); mend or remove them, or --skip-unreadable")
    if len(errors) == total:
        raise InputError(f"{came} ({named}); expected at least one that can")
    say(f"{came} and are left out: {named}")


def _measure(tree: Tree, done: set[Path], depths: Iterable[Depth]) -> Depth:
    """Return the depth of a whole set from those of the pictures read and the deep pictures of the
    other parts."""
    whole = Depth()
    for depth in depths:
        whole.add(depth)
    others: Iterable[Path] = (file for files, _ in tree.files.values() for file in files)
    for file in (file for file in others if file not in done):
        with contextlib.suppress(InputError, OSError):  # reported when its part is read
            load_picture(file, whole, target=_SIDES[0])
    whole.settle()
    return whole
