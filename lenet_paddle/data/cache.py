"""Keep prepared pictures in output/.cache, so that the next start does not decode them again.

An entry holds the pictures of one part of one folder, prepared in one way. A picture is taken from
it only if path, size, times and place on the disk of its file are those of then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lenet_paddle.files import make_folder, open_file, replacing

_FOLDER = Path("output", ".cache")
_VERSION = 2  # of the entries and of the preparation: higher after a change of either
_MOST_BYTES = 2 << 30  # of all entries
_SETTLED_NS = 2_000_000_000  # a file may change once more within the grain of its times
_HOURS = 1  # after which a temporary file is one of a killed process


class Prepared(NamedTuple):
    """Pictures, uint8 (N, ...), with the names of their files, `stamp_files`' int64 (N, 4), and
    whether a file holds several, bool (N,)."""

    images: np.ndarray
    names: list[str]
    stamps: np.ndarray
    several: np.ndarray


def stamp_files(files: Sequence[Path]) -> np.ndarray:
    """Return size, inode, and time of change of the content and of the file, in ns, of each file:
    int64 (N, 4), -1 for one that cannot be asked."""
    stamps = np.full((len(files), 4), -1, np.int64)
    for i, file in enumerate(files):
        with contextlib.suppress(OSError):
            about = file.stat()
            place = about.st_ino % (1 << 63)
            stamps[i] = about.st_size, place, about.st_mtime_ns, about.st_ctime_ns
    return stamps


def entry_of(*settings: object) -> Path:
    """Return the path of the entry for `settings`, which decide what is prepared, and how."""
    from PIL import __version__

    key = repr((_VERSION, __version__, *settings))
    return _FOLDER / hashlib.blake2b(key.encode(errors="replace"), digest_size=16).hexdigest()


def load_prepared(entry: Path, shape: tuple[int, ...]) -> Prepared | None:
    """Return what an entry holds; None if there is none, or if it is damaged."""
    try:
        with open_file(entry) as file:
            data = bytearray(os.fstat(file.fileno()).st_size)
            file.readinto(data)  # type: ignore[attr-defined]
        os.utime(entry)  # it is used
        head, _, _ = bytes(data[:200]).partition(b"\n")
        digest, length = head.split()
        start = len(head) + 1
        if hashlib.blake2b(memoryview(data)[start:]).hexdigest().encode() != digest:
            return None
        about = json.loads(data[start : start + int(length)])
        names, stamps = about["names"], np.array(about["stamps"], np.int64)
        images = np.frombuffer(data, np.uint8, offset=start + int(length))
        return Prepared(
            images.reshape(len(names), *shape),
            names,
            stamps.reshape(len(names), 4),
            np.isin(np.arange(len(names)), about["several"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_prepared(entry: Path, prepared: Prepared, rows: np.ndarray) -> None:
    """Write those pictures of `prepared` in `rows` whose files did not change just now; remove the
    entries used longest ago above 2 GB in all.

    Does nothing where `output` cannot be written or the disk is nearly full.
    """
    last = prepared.stamps[:, 2:].max(axis=1)[rows]
    rows = rows[(last >= 0) & (last < time.time_ns() - _SETTLED_NS)]
    if not len(rows):
        return
    is_all = len(rows) == len(prepared.names)
    images = prepared.images if is_all else prepared.images[rows]  # else without a copy
    about = {
        "names": [prepared.names[row] for row in rows],
        "stamps": prepared.stamps[rows].tolist(),
        "several": np.flatnonzero(prepared.several[rows]).tolist(),
    }
    text, pixels = json.dumps(about).encode(), images.reshape(-1).data
    digest = hashlib.blake2b(text)
    digest.update(pixels)
    with contextlib.suppress(OSError):
        make_folder(entry.parent)
        if images.nbytes < min(_MOST_BYTES, shutil.disk_usage(entry.parent).free // 2):
            with replacing(entry) as temporary, temporary.open("wb") as file:
                file.write(f"{digest.hexdigest()} {len(text)}\n".encode())
                file.write(text)
                file.write(pixels)
            _evict(entry)


def _evict(newest: Path) -> None:
    """Remove the entries used longest ago, but not `newest`, until all take at most 2 GB."""
    found = []
    for path in newest.parent.iterdir():
        about = path.stat()
        if not path.name.startswith(".tmp-"):
            found.append((about.st_mtime_ns, about.st_size, path))
        elif time.time() - about.st_mtime > _HOURS * 3600:
            path.unlink(missing_ok=True)
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total > _MOST_BYTES and path != newest:
            path.unlink(missing_ok=True)
            total -= size
