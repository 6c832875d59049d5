"""Find or build the operators for given convolutions and this processor.

A C compiler builds each once, in about a second, into the user's cache; where that cannot be
written, into a temporary folder. A library's name holds a hash of source, flags, compiler and
processor, so that none is ever loaded on a processor for which it was not built.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lenet_paddle.files import read_text, replacing
from lenet_paddle.runtime import read_cpuinfo

_log = logging.getLogger(__name__)
SWITCH = "LENET_PADDLE_KERNELS"  # "off": Paddle's own layers
SOURCES = [Path(__file__).with_name(n) for n in ("chain.c", "convolution.c", "vectors.h")]
# Never -ffast-math: a library built with it makes the whole process round small numbers to 0.
FLAGS = [
    "-O3",
    "-std=gnu11",
    "-fno-math-errno",
    "-fno-trapping-math",
    *("-shared", "-fPIC", "-pthread"),
]
_PATIENCE = 300  # seconds for a build; an older temporary file is that of a killed one


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


class Missing(Exception):
    """There is no library; the message says why, and how to mend it."""


class Library(NamedTuple):
    """chain.c, and the addresses of convolutions for it."""

    chain: ctypes.CDLL
    convolutions: dict[Conv, int]


def load_library(convs: Sequence[Conv]) -> Library:
    """Return the operators for `convs`, built if need be. Raises `Missing`."""
    if os.environ.get(SWITCH, "").lower() == "off":
        raise Missing(f"{SWITCH} is off")
    if sys.platform == "win32":
        raise Missing("they are not built on Windows; WSL2 has them")
    distinct = list(dict.fromkeys(convs))
    with ThreadPoolExecutor() as threads:  # compilers are processes of their own
        found = list(threads.map(_load, [None, *distinct]))
    chain, *loaded = map(_raise_missing, found)
    addresses = [ctypes.addressof(ctypes.c_char.in_dll(lib, "convolution")) for lib in loaded]
    return Library(chain, dict(zip(distinct, addresses, strict=True)))


def _raise_missing(found: ctypes.CDLL | Missing) -> ctypes.CDLL:
    if isinstance(found, Missing):
        raise found
    return found


@functools.cache
def _load(conv: Conv | None) -> ctypes.CDLL | Missing:
    """Return the library of a convolution, or of chain.c; what is missing is not tried again."""
    source = SOURCES[0] if conv is None else SOURCES[1]
    try:
        command = [*find_compiler(), *FLAGS, native_flag()]
        command += [*(conv.defines() if conv else ()), str(source)]
        with _cache_folder() as folder:
            path = folder / f"{source.stem}-{_key(command)}.so"
            if not path.exists():
                _log.info("building %s for this processor, once", source.name)
                build(command, path)
            return ctypes.CDLL(str(path))
    except Missing as missing:
        return missing
    except OSError as error:  # a file system that runs no programs, for one
        return Missing(f"{source.name} cannot be loaded ({error})")


def find_compiler() -> list[str]:
    """Return the command of a C compiler: $CC, cc, gcc, clang or ziglang's. Raises `Missing`."""
    own = shlex.split(os.environ.get("CC", ""))
    for command in (own, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise Missing("there is no C compiler; install gcc or clang, or pip install '.[fast]'")


def native_flag() -> str:
    """Return the flag that lets a compiler use all instructions of this processor."""
    return "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"


def build(command: Sequence[str], path: Path) -> None:
    """Compile to `path`, which appears when it is whole. Raises `Missing`."""
    try:
        with replacing(path) as temporary:
            subprocess.run(
                [*command, "-o", str(temporary)],
                check=True,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
            )
    except subprocess.CalledProcessError as error:
        reason = next((line for line in error.stderr.splitlines() if "error" in line), "no reason")
        raise Missing(f"{command[0]} fails on {command[-1]}: {reason}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]} fails on {command[-1]}: {error}") from None


def _key(command: Sequence[str]) -> str:
    cpu = read_cpuinfo()
    known = [cpu.get(key, "") for key in ("model name", "flags", "Features")]
    parts = [*command, platform.machine(), platform.processor(), *known, *map(read_text, SOURCES)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@contextlib.contextmanager
def _cache_folder() -> Iterator[Path]:
    """Yield the user's folder of libraries, or a temporary one where that is not safely written."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "lenet_paddle"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            about = folder.stat()
            if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError  # who else can write there could have us run anything
            for path in folder.glob(".tmp-*"):
                if time.time() - path.stat().st_mtime > _PATIENCE:
                    path.unlink(missing_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lenet-")))
        yield folder
