"""Load CIFAR-10 from its binary or its Python version, as folders or in the published archive."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from lenet_paddle.data.datasets import CIFAR
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.pickles import read_pickle
from lenet_paddle.data.sources import check_links, download, paddle_caches
from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content, open_file
from lenet_paddle.settings import user_home

_PIXELS = 3 * 32 * 32  # of one image: the red plane, the green, the blue
_LARGEST = 1 << 26  # bytes of a file; the published ones have 31 million
_MOST_UNPACKED = 1 << 28  # bytes of an archive; the published ones have 186 million
_ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
_FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")


def load_cifar10(part: str, data_dir: Path | None) -> ImageSet:
    """Load CIFAR-10 (Krizhevsky 2009): uint8 (50000 or 10000, 32, 32, 3), in its files' order.

    `data_dir` is the binary version (data_batch_1.bin ... test_batch.bin), the Python version,
    whose pickles are read without running code in them, a folder that holds one of both, or the
    published archive of one. Without it the data comes from Paddle's cache, from the folders of
    torchvision (data/) and Keras (~/.keras/datasets), or from Paddle's download. Raises
    `InputError`.
    """
    if data_dir is not None:
        if (found := _find(data_dir)) is None:
            raise InputError(
                f"{data_dir}: no CIFAR-10 in it; expected data_batch_1.bin ..., data_batch_1 ..., "
                f"their folder {_FOLDERS[1]} or {_FOLDERS[2]}, or {_ARCHIVES[0]}"
            )
        if found != data_dir:
            check_links([found], data_dir)
        return _load(found, part, data_dir)
    own, cache = paddle_caches("cifar")
    keras = Path(user_home() or "/", ".keras", "datasets")
    for folder in (own, cache, Path("data"), keras):
        if (found := _find(folder)) is not None:
            return _load(found, part)

    def fetch(_: Any) -> None:  # paddle.vision.datasets.Cifar10 would unpickle what it downloads
        from paddle.dataset.common import _check_exists_and_download
        from paddle.vision.datasets import cifar

        _check_exists_and_download(None, cifar.CIFAR10_URL, cifar.CIFAR10_MD5, "cifar", True)

    download(
        fetch,
        f"CIFAR-10 was not found in {own}, data or {keras}",
        f"give its folder or {_ARCHIVES[0]} as --data-dir",
    )
    return _load(cache / _ARCHIVES[0], part)


def _find(place: Path) -> Path | None:
    """Return the folder of batches or the archive that `place` is or holds."""
    if place.is_file():
        return place
    for folder in (place / name for name in _FOLDERS):
        if any((folder / name).exists() for name in ("data_batch_1.bin", "data_batch_1")):
            return folder
    return next((place / name for name in _ARCHIVES if (place / name).is_file()), None)


def _load(found: Path, part: str, given: Path | None = None) -> ImageSet:
    """Load a part from a folder or an archive; a folder `given` by the user has no links out."""
    stems = [f"data_batch_{i}" for i in range(1, 6)] if part == "train" else ["test_batch"]
    is_folder = found.is_dir()
    read = _folder_reader(found, stems, given) if is_folder else _archive_reader(found, stems)
    pieces = [_parse(found / stem, read(stem)) for stem in stems]
    images = np.concatenate([planes for planes, _ in pieces])
    labels = np.concatenate([numbers for _, numbers in pieces]).astype(np.int64)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CIFAR):
        raise InputError(
            f"{found}: labels run from {labels.min()} to {labels.max()}; expected CIFAR-10's 0 to 9"
        )
    upright = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ImageSet(np.ascontiguousarray(upright), labels, CIFAR)


def _folder_reader(
    folder: Path, stems: Sequence[str], given: Path | None
) -> Callable[[str], bytes]:
    end = ".bin" if (folder / "data_batch_1.bin").exists() else ""
    paths = {stem: folder / f"{stem}{end}" for stem in stems}
    if given is not None:
        check_links(paths.values(), given)
    for path in paths.values():
        if not path.is_file():
            raise InputError(f"{path}: missing; expected all of CIFAR-10's batches")

    def read(stem: str) -> bytes:
        with open_file(paths[stem]) as file:
            return file.read(_LARGEST + 1)

    return read


class _Bounded:
    """The unpacked bytes of a gzip file. Raises `InputError` where they are too many."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.stream = path, gzip.GzipFile(fileobj=file)
        self.left = _MOST_UNPACKED

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise InputError(
                f"{self.path}: unpacks to over {_MOST_UNPACKED:,} bytes; expected CIFAR-10"
            )
        return data


def _archive_reader(path: Path, stems: Sequence[str]) -> Callable[[str], bytes]:
    """Read the batches of an archive; nothing is unpacked to the disk."""
    found: dict[str, bytes] = {}
    with open_file(path) as file:
        head = file.read(200)
        file.seek(0)
        try:
            with tarfile.open(fileobj=_Bounded(path, file), mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    stem = member.name.rpartition("/")[2].removesuffix(".bin")
                    if member.isreg() and stem in stems and member.size <= _LARGEST:
                        with contextlib.closing(archive.extractfile(member)) as content:
                            found[stem] = content.read()
                    if len(found) == len(stems):
                        break
        except InputError:
            raise
        except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, KeyError) as error:
            hint = describe_content(head) or f"; expected {_ARCHIVES[0]}, or copy it again"
            raise InputError(f"{path}: not a readable .tar.gz archive ({error}){hint}") from None
    if missing := [stem for stem in stems if stem not in found]:
        raise InputError(f"{path}: has no {missing[0]} in it; expected {_ARCHIVES[0]}")
    return found.__getitem__


def _parse(source: Path, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return planes, uint8 (N, 3072), and labels, (N,), of a file of either version."""
    if data[:1] == b"\x80" and b"data" in data[:1000] and len(data) <= _LARGEST:  # a pickle
        batch = read_pickle(data, source, "a batch of CIFAR-10", with_lists=True)
        planes: Any = batch.get("data")
        labels = np.asarray(batch.get("labels"))  # a list, or an array in files saved again
        is_array = isinstance(planes, np.ndarray) and labels.dtype.kind == "i" and labels.ndim == 1
        if is_array and (planes.dtype, planes.shape) == (np.uint8, (len(labels), _PIXELS)):
            return planes, labels
        raise InputError(
            f"{source}: holds {', '.join(batch) or 'nothing'}; expected CIFAR-10's data, uint8 "
            f"(N, {_PIXELS:,}), and labels, a list of N numbers"
        )
    if not data or len(data) % (1 + _PIXELS) or len(data) > _LARGEST:
        raise InputError(
            f"{source}: {len(data):,} bytes{describe_content(data[:200])}; expected CIFAR-10: a "
            f"pickle, or a multiple of {1 + _PIXELS:,} bytes, a label and three planes of 32x32"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return rows[:, 1:], rows[:, 0]
