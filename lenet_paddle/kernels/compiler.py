"""Find a C compiler, and run it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lenet_paddle.files import open_file

# Never -ffast-math: a library built with it makes the whole process round small numbers to 0.
FLAGS = [
    "-fno-fast-math",  # whatever $CC says
    "-O3",
    "-std=gnu11",
    "-fno-math-errno",
    "-fno-trapping-math",
    *("-shared", "-fPIC", "-pthread"),
]
PATIENCE = 300  # seconds for a build
_AT_ONCE = 4  # compilers


class Missing(Exception):
    """There is no library; the message says why, and how to mend it."""


def find_compiler() -> list[str]:
    """Return the command of a C compiler: $CC, cc, gcc, clang or ziglang's. Raises `Missing`."""
    try:
        own = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise Missing(f"$CC is {os.environ['CC']!r} ({error}); unset it") from None
    for command in (own, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise Missing("there is no C compiler; install gcc or clang, or pip install '.[fast]'")


def native_flag() -> str:
    """Return the flag that lets a compiler use all instructions of this processor."""
    return "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"


def run_compilers(commands: Sequence[Sequence[str]], work: Path) -> list[str]:
    """Run `commands`, a few at a time; return why each failed, or "". None outlives the call.

    work: a folder for their temporary files. Raises `Missing` if one cannot be started.
    """
    processes: list[subprocess.Popen[bytes]] = []
    logs = [work / f"{i}.txt" for i in range(len(commands))]
    try:
        for i, command in enumerate(commands):
            if i >= _AT_ONCE:
                _wait(processes[i - _AT_ONCE], logs[i - _AT_ONCE])
            processes.append(_start(command, work, logs[i]))
        return [_wait(*pair) for pair in zip(processes, logs, strict=True)]
    finally:
        for process in processes:
            _kill(process)


def _start(command: Sequence[str], work: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        try:
            return subprocess.Popen(
                command,
                env=os.environ | {"TMPDIR": str(work)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # a group, to be killed as one
            )
        except OSError as error:
            raise Missing(f"{command[0]} does not start ({error})") from None


def _wait(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return why a compiler failed, or ""."""
    try:
        if process.wait(PATIENCE) == 0:
            return ""
    except subprocess.TimeoutExpired:
        _kill(process)
        log.write_text(f"error: it takes more than {PATIENCE} s", encoding="utf-8")
    with open_file(log) as file:
        lines = file.read().decode(errors="replace").splitlines()
    status = f"status {process.returncode}"
    return next((line for line in lines if "error" in line), lines[-1] if lines else status)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32" and process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
