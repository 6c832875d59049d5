"""What must be set before Paddle starts, the device, the seed, and the versions of a run."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import platform
import socket
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from lenet_paddle.errors import InputError, RunStopped

Device = Literal["auto", "cpu", "gpu"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
BLAS_SWITCH = "LENET_PADDLE_BLAS_DISPATCH"  # set to "off" to leave MKL as it comes
MEMORY_SWITCH = "LENET_PADDLE_KEEP_MEMORY"  # set to "off" to leave glibc's malloc as it comes


def prepare_environment(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Set what Paddle reads once, when it starts; and what else holds for the whole process.

    Paddle's CPU wheel carries an old MKL that takes a slow path on AMD processors unless
    MKL_DEBUG_CPU_TYPE names an instruction set; see `mkl_cpu_type`. The environment variable
    LENET_PADDLE_BLAS_DISPATCH=off leaves it alone, and a value set by the user wins; once Paddle
    is imported it is too late.
    """
    warnings.filterwarnings("ignore", message="No ccache found")  # no C++ is compiled here
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    keep_freed_memory()
    if "paddle" in sys.modules or os.environ.get(BLAS_SWITCH, "").lower() == "off":
        return
    cpu_type = mkl_cpu_type(_read_cpuinfo(cpuinfo))
    if cpu_type is not None:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", cpu_type)


def keep_freed_memory() -> None:
    """Tell glibc to keep memory that is freed for the next allocation.

    Paddle allocates every tensor of a step anew. Left alone, glibc hands blocks above 128 KB
    back to the kernel now and then, and each page of them faults again: some hundred faults and
    up to a millisecond a training step. Nothing happens with another C library, nor with the
    environment variable LENET_PADDLE_KEEP_MEMORY=off.
    """
    if os.environ.get(MEMORY_SWITCH, "").lower() == "off":
        return
    with contextlib.suppress(OSError, AttributeError, ValueError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # the most that glibc accepts
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def mkl_cpu_type(cpu: dict[str, str]) -> str | None:
    """The value for MKL_DEBUG_CPU_TYPE: "7" (AVX-512), "5" (AVX2), or None to leave it unset.

    `cpu` maps /proc/cpuinfo's keys to their text. Only AMD processors need it, and none gets an
    instruction set that its flags do not list (it would die with SIGILL).
    """
    if cpu.get("vendor_id") != "AuthenticAMD":
        return None
    flags = set(cpu.get("flags", "").split())
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags:
        return "7"
    if {"avx2", "fma"} <= flags:
        return "5"
    return None


def _read_cpuinfo(path: Path) -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def select_device(device: Device, amp: str = "O0") -> str:
    """Make Paddle use `device` and return its name ("cpu", "gpu:0").

    Raises `InputError` for "gpu" where Paddle has no GPU support or sees no GPU, and for an AMP
    level other than O0 without one.
    """
    import paddle

    has_cuda = paddle.device.is_compiled_with_cuda()
    num_gpus = paddle.device.cuda.device_count() if has_cuda else 0
    if device == "gpu" and num_gpus == 0:
        reason = "sees no GPU" if has_cuda else "is the CPU build (install paddlepaddle-gpu)"
        raise InputError(f"device gpu: Paddle {paddle.__version__} {reason}; --device cpu works")
    name = "cpu" if device == "cpu" or num_gpus == 0 else "gpu"
    if amp != "O0" and name == "cpu":
        raise InputError(f"amp {amp} needs a GPU, this run is on the CPU; leave --amp at O0")
    paddle.device.set_device(name)
    return paddle.device.get_device()


def get_rank() -> int:
    """This process's number among those of one job, from 0; 0 when there is only one."""
    return int(os.environ.get("PADDLE_TRAINER_ID", 0))


def count_ranks() -> int:
    """The processes that train together: `python -m paddle.distributed.launch` says so."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", 1))


def join_ranks(batch_size: int) -> None:
    """Connect this process with the other ranks, if there are any; only rank 0 goes on to log.

    Raises `InputError` for a batch that cannot be shared and for a meeting place that is taken.
    """
    if count_ranks() == 1:
        return
    import paddle

    if get_rank() == 0:
        _check_meeting_port()
    if batch_size < count_ranks():
        raise InputError(
            f"batch_size {batch_size} is shared by {count_ranks()} processes; "
            "expected an image or more for each"
        )
    paddle.distributed.init_parallel_env()
    if get_rank():
        logging.getLogger("lenet_paddle").setLevel(logging.WARNING)


def _check_meeting_port() -> None:
    """That rank 0 can listen where the ranks are to meet.

    The launcher takes a port that is free when it looks, from 35100 to 64000, where the system
    also gives ports to connections; Paddle 3.3 aborts with an assertion of libuv if it is taken
    when rank 0 comes to listen.
    """
    port = os.environ.get("PADDLE_MASTER", "").rpartition(":")[2]
    if not port or "MASTER_PORT" in os.environ:  # Paddle then goes by what the user has set
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as libuv does
        try:
            probe.bind(("", int(port)))
        except OSError as error:
            raise InputError(
                f"port {port}, where the processes of the job are to meet: {error.strerror}; "
                "start the job again, with PORT_RANGE=20000:30000 in front if it comes back"
            ) from None


def tell_ranks(text: str | None) -> str:
    """What rank 0 says as `text`; the others say None."""
    said = [text]
    if count_ranks() > 1:
        import paddle

        try:
            paddle.distributed.broadcast_object_list(said, src=0)
        except RuntimeError:
            raise RunStopped("process 0 of the job has ended; see what it said", 1) from None
    return str(said[0])


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """The sums of `values` over all ranks; each rank must ask, with as many values."""
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
    np.random.seed(seed)  # noqa: NPY002  Paddle's own code draws from it
    paddle.seed(seed)


def need(package: str) -> Any:
    """The module `package`, which is not among the project's own requirements; `InputError` that
    says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        mend = "pip install '.[export]'"
        if package == "paddle2onnx" and sys.version_info >= (3, 13):
            mend = "it has no release for this Python, take 3.10 to 3.12"
        raise InputError(f"the package {package} is missing or broken ({error}); {mend}") from None


def versions() -> dict[str, Any]:
    """What a run was made with, for `versions.json`."""
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
        "cpu": _read_cpuinfo(Path("/proc/cpuinfo")).get("model name", platform.processor()),
        "num_cpus": os.cpu_count(),
        "mkl_debug_cpu_type": os.environ.get("MKL_DEBUG_CPU_TYPE"),
    }
