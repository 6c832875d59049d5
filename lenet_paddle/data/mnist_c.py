"""Read and write MNIST-C (Mu and Gilmer 2019, arXiv 1906.02337) in its published layout.

mnist_c/<corruption>/{train,test}_{images,labels}.npy, read as memory-mapped files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import ALL_CORRUPTIONS, CORRUPTIONS, DIGITS, IDENTITY
from lenet_paddle.data.form import SIZE, Form
from lenet_paddle.data.imageset import ImageSet, check_counts, join_sets
from lenet_paddle.data.npz import map_npy
from lenet_paddle.data.sources import check_links, load_mnist
from lenet_paddle.errors import InputError
from lenet_paddle.files import make_folder, replacing
from lenet_paddle.progress import Progress

PARTS = ("test", "train")
_TRAIN_SEED = 2**32  # added, so that training images do not get the test images' draws
_log = logging.getLogger(__name__)


def check_form(form: Form, source: str | Path) -> None:
    """Raise `InputError` unless `form` is that of MNIST-C. `source`: whose pictures they are."""
    if form != Form():
        raise InputError(
            f"{source}: its pictures are {form}; the corruptions of mnist_c are for {Form()} only"
        )


def list_corruptions(data_dir: Path) -> list[str]:
    """Return the corruptions that have a folder, in `CORRUPTIONS`' order, `identity` last.

    `data_dir` is the folder `mnist_c` or its parent. Folders of other names are skipped, with a
    message. Raises `InputError` when there is no corruption.
    """
    return _scan(data_dir)[1]


def _scan(data_dir: Path, is_quiet: bool = False) -> tuple[Path, list[str]]:
    """Return the folder of the corruptions and their names; report other folders unless quiet."""
    for root in (data_dir / "mnist_c", data_dir):
        folders = [p.name for p in root.iterdir() if p.is_dir()] if root.is_dir() else []
        found = [name for name in ALL_CORRUPTIONS if name in folders]
        if found:
            others = {name for name in folders if not name.startswith(".")} - set(found)
            if others and not is_quiet:
                _log.info("%s: skipped, not corruptions: %s", root, ", ".join(sorted(others)))
            return root, found
    came = "has no folder of a corruption" if data_dir.is_dir() else "is not a folder"
    raise InputError(
        f"{data_dir}: {came}; expected mnist_c/ with folders such as {CORRUPTIONS[0]}/ in it "
        "(python tools/corrupt.py makes one)"
    )


def load_mnist_c(part: str, data_dir: Path, corruption: str | None = None) -> ImageSet:
    """Load the part "train" or "test" of one corruption, or of all `CORRUPTIONS` in the folder.

    Images are uint8 (N, 28, 28), memory-mapped. Several corruptions (`corruption` None, without
    identity) are interleaved: the first image of each corruption, then the second of each, and so
    on, so that the first N are an even mixture. Raises `InputError` for an unknown or missing
    corruption and for damaged or foreign files.
    """
    if corruption is not None and corruption not in ALL_CORRUPTIONS:
        raise InputError(
            f"corruption {corruption!r} is unknown; expected one of {', '.join(ALL_CORRUPTIONS)}"
        )
    root, found = _scan(data_dir, is_quiet=corruption is not None)
    if corruption is not None:
        if corruption not in found:
            raise InputError(f"{root}: has no {corruption}; it has {', '.join(found)}")
        return _load_one(root / corruption, part, data_dir)
    names = [name for name in found if name != IDENTITY]
    if not names:
        raise InputError(f"{root}: has {IDENTITY} only; name it as corruption, or add others")
    return _interleave([_load_one(root / name, part, data_dir) for name in names])


def _load_one(folder: Path, part: str, data_dir: Path) -> ImageSet:
    name, labels_name = _files(folder, part)
    check_links((folder.parent, folder, name, labels_name), data_dir)
    images, labels = _map(name), _map(labels_name)
    if images.dtype != np.uint8 or images.shape[1:] not in ((SIZE, SIZE), (SIZE, SIZE, 1)):
        raise InputError(
            f"{name}: {images.dtype} {images.shape}; expected uint8 (N, {SIZE}, {SIZE}, 1) or "
            f"(N, {SIZE}, {SIZE}), values from 0 to 255"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputError(
            f"{labels_name}: {labels.dtype} {labels.shape}; expected whole numbers of shape (N,)"
        )
    check_counts(name, len(images), labels_name, len(labels))
    if images.ndim == 4:
        images = images[..., 0]  # a view of the mapped file
    try:
        return ImageSet(images, np.array(labels, np.int64), DIGITS)
    except InputError as error:
        raise InputError(f"{labels_name}: {error}") from None


def _map(path: Path) -> np.ndarray:
    try:
        return map_npy(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: is missing; expected the four files {{train,test}}_{{images,labels}}.npy"
        ) from None


def _interleave(sets: list[ImageSet]) -> ImageSet:
    """Join the sets without reading an image: image 0 of each, then image 1 of each ..."""
    position = np.concatenate([np.arange(len(one)) for one in sets])
    order = np.argsort(position, kind="stable")
    return join_sets(sets).take(order)


def write_mnist_c(
    out: Path,
    corruptions: Sequence[str] = ALL_CORRUPTIONS,
    severity: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    parts: Sequence[str] = PARTS,
) -> list[Path]:
    """Corrupt the first `limit` images (default: all) of MNIST's parts; return the files written.

    They are <out>/<corruption>/<part>_images.npy, uint8 (N, 28, 28, 1), and <part>_labels.npy,
    int64 (N,). `severity` and `seed` are those of `corrupt.corrupt`; the seed is used as it is
    for test images. Raises `InputError` for unknown names, and when a file exists already.
    """
    for kind, names, known in (
        ("corruption", corruptions, ALL_CORRUPTIONS),
        ("split", parts, PARTS),
    ):
        for name in names:
            if name not in known:
                raise InputError(f"{kind} {name!r} is unknown; expected one of {', '.join(known)}")
            if list(names).count(name) > 1:
                raise InputError(f"{kind} {name} is given twice; give each once")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; expected a whole number of 1 or more")
    if not 0 <= seed < _TRAIN_SEED:
        raise InputError(f"seed is {seed}; expected a whole number from 0 to {_TRAIN_SEED - 1}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is not a folder; choose another --out")
    folders = [out / name for name in corruptions]
    written = [path for part in parts for folder in folders for path in _files(folder, part)]
    for path in written:
        if path.exists():
            raise InputError(f"{path} exists; remove it, or choose another --out")
    sets = {part: load_mnist(part, None).take(slice(0, limit)) for part in parts}
    for name in corruptions:  # fail before the long work
        corrupt(sets[parts[0]].images[:1], name, severity, seed)
    total = len(folders) * sum(map(len, sets.values()))
    progress, done = Progress(total, "images"), 0

    def report(count: int) -> None:
        progress.show(done + count, f"{folder.name} {part}: {done + count:,}/{total:,}")

    for part, image_set in sets.items():
        own_seed = seed + _TRAIN_SEED * (part == "train")
        for folder in folders:
            images = corrupt(image_set.images, folder.name, severity, own_seed, report)
            make_folder(folder)
            for path, array in zip(
                _files(folder, part), (images[..., None], image_set.labels), strict=True
            ):
                with replacing(path) as temporary:
                    np.save(temporary, array)
            done += len(image_set)
    progress.clear()
    return written


def _files(folder: Path, part: str) -> tuple[Path, Path]:
    """Return the paths of a part's images and labels."""
    return folder / f"{part}_images.npy", folder / f"{part}_labels.npy"
