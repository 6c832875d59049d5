"""Run the tools as a user does, each in its own process."""

from __future__ import annotations

import atexit
import contextlib
import gzip
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Below the ports that Linux takes for connections (from 32768): the server's tests, in the other
# process, open thousands in the second or two before a port that was free is used.
PORTS = range(20_000, 30_000)


def _write_small_mnist() -> Path:
    """Write MNIST's first 3,300 training and 300 test images as IDX files, removed at exit."""
    folder = Path(tempfile.mkdtemp(prefix="small-mnist-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in sorted((ROOT / "lenet_paddle" / "data" / "mnist").glob("*.gz")):
        count = 3300 if file.name.startswith("train") else 300
        header, item = (16, 784) if "images" in file.name else (8, 1)
        with gzip.open(file) as stream:
            data = bytearray(stream.read(header + count * item))
        data[4:8] = struct.pack(">I", count)
        (folder / file.stem).write_bytes(data)
    return folder


SMALL = ["--data-dir", str(_write_small_mnist()), "--val-size", "300"]
QUICK = [*SMALL, "--limit", "640", "--epochs", "1"]


def tool(name: str, *args: Any, cwd: Path = ROOT, **options: Any) -> Any:
    """Run tools/<name>.py and wait; the output is captured as text."""
    return subprocess.run(
        tool_command(name, *args), capture_output=True, text=True, cwd=cwd, **options
    )


def tool_command(name: str, *args: Any) -> list[str]:
    return [sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, args)]


def assert_refused(done: Any, *words: str, status: int = 2) -> None:
    """Check for one line of error with `words`, no traceback, no output, and the exit status."""
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def free_port() -> int:
    """Return a free port of this machine."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
