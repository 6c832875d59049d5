"""Set up the process: environment, device, ranks, seeds, optional packages, versions."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import logging
import os
import platform
import shutil
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.settings import USER_HOME, user_home

Device = Literal["auto", "cpu", "gpu"]

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all addresses, and the one from here
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
# Where VisualDL, Paddle and Matplotlib write below the home.
_OF_LIBRARIES = (
    *(".visualdl", ".cache", ".cache/paddle", ".cache/matplotlib"),
    *(".config", ".config/matplotlib"),
)
BLAS_SWITCH = "LENET_PADDLE_BLAS_DISPATCH"  # "off": MKL's own choice of instructions
MEMORY_SWITCH = "LENET_PADDLE_KEEP_MEMORY"  # "off": glibc's own malloc settings
THREADS = "LENET_PADDLE_THREADS"  # of the operators in kernels/; empty: as many as processors


def prepare_environment(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Set the environment for Paddle, memory and warnings; call it before Paddle is imported.

    Paddle's CPU wheel bundles an old MKL that takes a slow path on AMD processors unless
    MKL_DEBUG_CPU_TYPE names an instruction set, see `mkl_cpu_type`. A value set by the user is
    kept. With LENET_PADDLE_BLAS_DISPATCH=off, or if Paddle is already imported, it is not set.
    """
    warnings.filterwarnings("ignore", message="No ccache found")  # Paddle compiles no C++ here
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    keep_freed_memory()
    give_home()
    if "paddle" not in sys.modules and "PADDLE_LOCAL_SIZE" not in os.environ:
        # Paddle sets OMP_NUM_THREADS to 1; child processes shall still know what the user set
        os.environ.setdefault(THREADS, os.environ.get("OMP_NUM_THREADS", ""))
    if "paddle" in sys.modules or os.environ.get(BLAS_SWITCH, "").lower() == "off":
        return
    cpu_type = mkl_cpu_type(read_cpuinfo(cpuinfo))
    if cpu_type is not None:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)


def give_home(places: Iterable[Path] = ()) -> None:
    """Set HOME to a temporary folder where the user's home cannot be written.

    VisualDL, Paddle and Matplotlib write there when they are imported, and some fail if they
    cannot. `settings.user_home` still returns the user's own. TMPDIR is set too where no temporary
    folder can be written, to one in shared memory or in the first of `places` that can be written.
    All are removed when the process ends.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        place = next(filter(_is_writable, chain([Path("/dev/shm")], places)), None)
        if place is None:
            return
        os.environ["TMPDIR"] = tempfile.tempdir = _temporary_folder(place)
    if {"HOME", USER_HOME} <= os.environ.keys() and Path(os.environ["HOME"]).is_dir():
        return  # given before, perhaps by the parent process
    home = user_home()
    if home is not None and _is_writable(Path(home)):
        own = (Path(home, name) for name in _OF_LIBRARIES)
        if all(_is_writable(folder) for folder in own if os.path.lexists(folder)):
            return
    os.environ[USER_HOME] = home or "~"
    os.environ["HOME"] = temporary = _temporary_folder()
    os.environ.setdefault("MPLCONFIGDIR", temporary)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _temporary_folder(parent: Path | None = None) -> str:
    """Create a folder that is removed when this process, not a fork of it, ends."""
    folder, owner = tempfile.mkdtemp(prefix=".tmp-lenet-", dir=parent), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation.

    Paddle allocates every tensor of a step again. By default glibc may return blocks above 128 KB
    to the kernel, and each of their pages faults again: some hundred faults and up to a millisecond
    per training step. Does nothing with another C library, or if the environment variable
    LENET_PADDLE_KEEP_MEMORY is "off".
    """
    if os.environ.get(MEMORY_SWITCH, "").lower() == "off":
        return
    with contextlib.suppress(OSError, AttributeError, ValueError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # the maximum that glibc accepts
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def mkl_cpu_type(cpu: dict[str, str]) -> str | None:
    """Return the value for MKL_DEBUG_CPU_TYPE: "7" (AVX-512), "5" (AVX2), or None for no value.

    `cpu` maps the keys of /proc/cpuinfo to their text. Only AMD processors need a value. The flags
    must list the instruction set, or the process would die with SIGILL.
    """
    if cpu.get("vendor_id") != "AuthenticAMD":
        return None
    flags = set(cpu.get("flags", "").split())
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags:
        return "7"
    if {"avx2", "fma"} <= flags:
        return "5"
    return None


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the first processor's entries in /proc/cpuinfo, or none if there is no such file."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def select_device(device: Device, amp: str = "O0") -> str:
    """Make Paddle use `device` and return its name ("cpu", "gpu:0").

    Raises `InputError` for "gpu" if Paddle has no GPU support or finds no GPU, and for an AMP level
    other than O0 on the CPU.
    """
    import paddle

    has_cuda = paddle.device.is_compiled_with_cuda()
    num_gpus = paddle.device.cuda.device_count() if has_cuda else 0
    if device == "gpu" and num_gpus == 0:
        reason = "finds no GPU" if has_cuda else "is the CPU build (install paddlepaddle-gpu)"
        raise InputError(f"device gpu: Paddle {paddle.__version__} {reason}; --device cpu works")
    name = "cpu" if device == "cpu" or num_gpus == 0 else "gpu"
    if amp != "O0" and name == "cpu":
        raise InputError(f"amp {amp} needs a GPU, this run is on the CPU; leave --amp at O0")
    paddle.device.set_device(name)
    return paddle.device.get_device()


def get_rank() -> int:
    """Return this process's rank, 0 in a job of one process."""
    return int(os.environ.get("PADDLE_TRAINER_ID", 0))


def count_ranks() -> int:
    """Return the number of ranks, as set by `python -m paddle.distributed.launch`."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", 1))


def join_ranks(batch_size: int) -> None:
    """Connect this process with the other ranks, if any, and silence the log of all but rank 0.

    Raises `InputError` if a batch has fewer images than there are ranks, or if the rendezvous port
    is in use.
    """
    if count_ranks() == 1:
        return
    import paddle

    if get_rank() == 0:
        _check_rendezvous_port()
    if batch_size < count_ranks():
        raise InputError(
            f"batch_size {batch_size} is shared by {count_ranks()} processes; "
            f"expected {count_ranks()} or more"
        )
    paddle.distributed.init_parallel_env()
    if get_rank():
        logging.getLogger("lenet_paddle").setLevel(logging.WARNING)


def url_of(host: str, port: int) -> str:
    """Return where a browser on this machine finds what listens at `host`.

    That is not http://0.0.0.0, which browsers on Windows do not open.
    """
    host = EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _check_rendezvous_port() -> None:
    """Check that the rendezvous port is free.

    The launcher picks a free port from 35100 to 64000, a range from which the system also takes
    ports for connections. If one takes it before rank 0 listens, Paddle 3.3 aborts with an
    assertion of libuv.
    """
    port = os.environ.get("PADDLE_MASTER", "").rpartition(":")[2]
    if not port or "MASTER_PORT" in os.environ:  # set by the user
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as libuv does
        try:
            probe.bind(("", int(port)))
        except OSError as error:
            raise InputError(
                f"port {port}, where the processes of the job connect: {error.strerror}; start "
                "the job again, with PORT_RANGE=20000:30000 before the command if it fails again"
            ) from None


def count_threads(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many threads the operators use: LENET_PADDLE_THREADS, else OMP_NUM_THREADS as the
    user set it, else this rank's share of the processors that the process may use, by its affinity
    and by a container's quota."""
    wanted = os.environ.get(THREADS, "").partition(",")[0]
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # "max 100000" without one
        time_used, period = map(int, quota.read_text(encoding="utf-8").split())
        usable = min(usable or 1, -(-time_used // period))
    return max(1, (usable or 1) // int(os.environ.get("PADDLE_LOCAL_SIZE", 1)))


def broadcast_text(text: str | None) -> str:
    """Return rank 0's `text` on every rank; the others pass None."""
    objects = [text]
    if count_ranks() > 1:
        import paddle

        try:
            paddle.distributed.broadcast_object_list(objects, src=0)
        except RuntimeError:
            raise RunStopped("process 0 of the job has ended; see its output", 1) from None
    return str(objects[0])


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Return the sums of `values` over all ranks; every rank must call it, with as many values."""
    if count_ranks() == 1:
        return list(values)
    import paddle

    sums = paddle.to_tensor(values, dtype="float64")
    paddle.distributed.all_reduce(sums)
    return sums.tolist()


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and Paddle's global generators."""
    import random

    import numpy as np
    import paddle

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  Paddle uses it
    paddle.seed(seed)


def need(package: str) -> Any:
    """Import and return an optional package. Raises `InputError` with the command to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        mend = "pip install '.[export]'"
        if package == "paddle2onnx" and sys.version_info >= (3, 13):
            mend = "it has no release for this Python, use 3.10 to 3.12"
        raise InputError(f"the package {package} is missing or broken ({error}); {mend}") from None


def versions() -> dict[str, Any]:
    """Return versions of packages, system and CPU, for `versions.json`."""
    from lenet_paddle._version import __version__

    packages = ["paddlepaddle", "paddlepaddle-gpu", "visualdl", "numpy", "matplotlib", "Pillow"]
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "lenet_paddle": __version__,
        "python": platform.python_version(),
        **found,
        "platform": platform.platform(),
        "cpu": read_cpuinfo().get("model name", platform.processor()),
        "num_cpus": os.cpu_count(),
        "mkl_debug_cpu_type": os.environ.get("MKL_DEBUG_CPU_TYPE"),
    }
