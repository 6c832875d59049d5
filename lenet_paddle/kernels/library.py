"""Find or build the operators for given convolutions and this processor.

A C compiler builds each once, in about a second, into the user's cache; where that cannot be
written or trusted, into a temporary folder. A library's name holds a hash of its source, flags,
compiler and processor, so that none is ever loaded on a processor for which it was not built, and
one of its content, so that a damaged one is built again.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lenet_paddle.files import open_file, read_text
from lenet_paddle.kernels.compiler import (
    FLAGS,
    PATIENCE,
    Missing,
    find_compiler,
    native_flag,
    run_compilers,
)
from lenet_paddle.runtime import read_cpuinfo

_log = logging.getLogger(__name__)
SWITCH = "LENET_PADDLE_KERNELS"  # "off": Paddle's own layers
SOURCES = [Path(__file__).with_name(n) for n in ("chain.c", "convolution.c", "vectors.h")]
_DAYS = 90  # a library that was not used for longer is removed


class Conv(NamedTuple):
    """A convolution with stride 1, and the 2x2 pooling behind it."""

    channels: int
    height: int
    width: int
    padding: int
    maps: int
    kernel: int
    pool: str = ""
    """"", "max" or "average"."""
    inner: str = ""
    """The activation before the pooling: "" or "relu", before an average also "tanh", "sigmoid"."""

    def defines(self) -> list[str]:
        """Return the flags that set the constants of convolution.c."""
        sizes = zip(self._fields[:6], self, strict=False)
        names = f"{self.pool or 'no'}_pool", self.inner or "no_activation"
        return [
            *(f"-D{name.upper()}={size}" for name, size in sizes),
            f"-DPOOL={names[0].upper()}",
            f"-DINNER={names[1].upper()}",
        ]

    @property
    def covers_all(self) -> bool:
        """Return whether the kernel covers the whole map, as a linear layer does."""
        return self.kernel == self.height == self.width and not self.padding and not self.pool

    @property
    def input(self) -> tuple[int, int, int]:
        """Return channels, height and width of its input."""
        return self.channels, self.height, self.width

    @property
    def output(self) -> tuple[int, int, int]:
        """Return channels, height and width of its output; odd rests are not pooled."""
        sides = (side + 2 * self.padding - self.kernel + 1 for side in (self.height, self.width))
        height, width = (side // 2 if self.pool else side for side in sides)
        return self.maps, height, width


class Library(NamedTuple):
    """chain.c, and the addresses of convolutions for it."""

    chain: ctypes.CDLL
    convolutions: dict[Conv, int]


_found: dict[Conv | None, ctypes.CDLL | Missing] = {}  # None: chain.c


def load_library(convs: Sequence[Conv]) -> Library:
    """Return the operators for `convs`, built if need be. Raises `Missing`.

    What is missing is not tried again by this process.
    """
    if os.environ.get(SWITCH, "").lower() == "off":
        raise Missing(f"{SWITCH} is off")
    if sys.platform == "win32":
        raise Missing("they are not built on Windows; WSL2 has them")
    wanted = list(dict.fromkeys([None, *convs]))
    _find([conv for conv in wanted if conv not in _found])
    chain, *loaded = (_raise_missing(_found[conv]) for conv in wanted)
    addresses = [ctypes.addressof(ctypes.c_char.in_dll(lib, "convolution")) for lib in loaded]
    return Library(chain, dict(zip(wanted[1:], addresses, strict=True)))  # type: ignore[arg-type]


def _raise_missing(found: ctypes.CDLL | Missing) -> ctypes.CDLL:
    if isinstance(found, Missing):
        raise found
    return found


def _find(convs: Sequence[Conv | None]) -> None:
    """Add the libraries of `convs` to `_found`: from the cache, built into it, or elsewhere."""
    reason: Missing | OSError = Missing()
    for place in (_cache_folder, _temporary_folder):
        left = [conv for conv in convs if conv not in _found]
        if not left:
            return
        try:
            with place() as folder:
                for conv in left:
                    _open(folder, conv)
                _build(folder, [conv for conv in left if conv not in _found])
            return
        except Missing as error:
            reason = error
            break
        except OSError as error:  # a full disk; a file system that runs no programs
            reason = error
    missing = (
        Missing(f"they cannot be loaded ({reason})") if isinstance(reason, OSError) else reason
    )
    _found.update({conv: missing for conv in convs if conv not in _found})


def _open(folder: Path, conv: Conv | None) -> None:
    """Load a library that is in `folder` and whole; remove one that is not."""
    for path in folder.glob(f"{_name(conv)}-*.so"):
        if path.stem.rpartition("-")[2] == _digest_file(path):
            with contextlib.suppress(OSError):
                os.utime(path)  # it is used
            _found[conv] = ctypes.CDLL(str(path))
            return
        path.unlink()


def _build(folder: Path, convs: Sequence[Conv | None]) -> None:
    """Build libraries in `folder`, where each appears when it is whole, and load them."""
    if not convs:
        return
    _log.info("building operators for this processor, once")
    _remove(folder.glob("*.so"), _DAYS * 86_400)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder) as work:
        paths = [Path(work, f"{i}.so") for i in range(len(convs))]
        jobs = [[*_command(conv), "-o", str(path)] for conv, path in zip(convs, paths, strict=True)]
        reasons = run_compilers(jobs, Path(work))
        for conv, path, reason in zip(convs, paths, reasons, strict=True):
            if reason:
                words = find_compiler()[0], _source(conv).name, reason
                _found[conv] = Missing("{} fails on {} ({}); $CC names another".format(*words))
                continue
            path.chmod(0o700)
            path.replace(folder / f"{_name(conv)}-{_digest_file(path)}.so")
            _open(folder, conv)


def _command(conv: Conv | None) -> list[str]:
    """Return the command that builds the library of a convolution, or of chain.c."""
    defines = conv.defines() if conv else []
    return [*find_compiler(), *FLAGS, native_flag(), *defines, str(_source(conv))]


def _source(conv: Conv | None) -> Path:
    return SOURCES[0] if conv is None else SOURCES[1]


def _name(conv: Conv | None) -> str:
    """Return what is known of a library's name before it is built."""
    cpu = read_cpuinfo() or {"Features": platform.node()}  # else: for this machine only
    known = [cpu.get(key, "") for key in ("model name", "CPU part", "flags", "Features")]
    parts = [*_command(conv)[:-1], platform.machine(), *known, *map(read_text, SOURCES)]
    return f"{_source(conv).stem}-{_digest(chr(0).join(parts).encode())}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def _digest_file(path: Path) -> str:
    with open_file(path) as file:
        return _digest(file.read())


def _remove(paths: Iterable[Path], seconds: float) -> None:
    """Remove files and folders that were not changed for so long."""
    for path in paths:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def _cache_folder() -> Iterator[Path]:
    """Yield the user's folder of libraries. Raises `OSError` where others could write to it."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "lenet_paddle"
    except RuntimeError:  # no home
        raise FileNotFoundError from None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        about = folder.stat()
        if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{folder} can be written by others")  # and be made to run theirs
    _remove(folder.glob(".tmp-*"), 2 * PATIENCE)  # those of killed builds
    yield folder


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder that is removed once its libraries are loaded."""
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        yield Path(folder)
