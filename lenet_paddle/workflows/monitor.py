"""Start VisualDL's server for this machine only, without telemetry."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.files import follow_link

HOST = "127.0.0.1"  # VisualDL has no password
START_SECONDS = 60.0


def monitor(
    logdir: Path,
    port: int = 8040,
    language: Literal["en", "zh"] = "en",
    open_browser: bool = False,
) -> None:
    """Serve the logs under `logdir` until Ctrl-C, SIGTERM or SIGHUP.

    Prints the address when the server answers. Raises `InputError` for a folder without logs or a
    port in use, `RunStopped` if the server ends by itself.
    """
    logdir = follow_link(logdir)
    check_logdir(logdir)
    check_port(port)
    with _stopped_by_signals(), serving(logdir, port, language) as server:
        address = f"http://{HOST}:{port}/"
        print(f"VisualDL: {address} (logs of {logdir}; end with Ctrl-C)", flush=True)
        if open_browser:
            webbrowser.open(address)
        server.wait()
        raise RunStopped(f"VisualDL ended by itself (status {server.returncode})", status=1)


def check_logdir(logdir: Path) -> None:
    """Raise `InputError` unless there is a VisualDL log under `logdir`."""
    if not logdir.is_dir():
        raise InputError(
            f"{logdir}: no such folder; --logdir names the folder of the runs or one run"
        )
    if next(logdir.rglob("*vdlrecords*"), None) is None:
        raise InputError(f"{logdir}: no VisualDL log in it; train first: python tools/train.py")


def check_port(port: int) -> None:
    """Raise `InputError` unless `port` can be listened on."""
    if not 1 <= port <= 65535:
        raise InputError(f"port is {port}; expected a whole number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port}: {error.strerror}; choose another --port") from None


# Not `-m`, which would also import modules from the current folder, the one of the logs.
_START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "from visualdl.server.app import main; main()"
)


def server_command(logdir: Path, port: int, language: str) -> list[str]:
    """Return the command that starts VisualDL in the parent folder of `logdir`.

    Without --language its pages fail for clients that send none. Without --disable-telemetry it
    reports each start to a public host and overwrites its own code with the answer. With an
    absolute --logdir it confuses an embedding's vectors and labels (2.5.3).
    """
    return [
        *(sys.executable, "-c", _START, "--logdir", logdir.resolve().name or "."),
        *("--host", HOST, "--port", str(port), "--language", language, "--disable-telemetry"),
    ]


@contextlib.contextmanager
def serving(
    logdir: Path, port: int, language: Literal["en", "zh"] = "en"
) -> Iterator[subprocess.Popen[bytes]]:
    """Serve `logdir` during the block, with a server that already answers.

    At the end all its processes are ended. Raises `RunStopped` if it does not start.
    """
    with tempfile.TemporaryFile() as output:
        server = subprocess.Popen(
            server_command(logdir, port, language),
            cwd=logdir.resolve().parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a process group, so that all of it can be ended
        )
        try:
            _wait_until_it_answers(server, port, output)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has nothing to save
                if sys.platform == "win32":
                    server.kill()
                else:
                    os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, output: IO[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"status {server.returncode}"
            raise RunStopped(f"VisualDL did not start: {reason}", status=1)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(HOST, port, timeout=5)  # past any proxy
            connection.request("GET", "/alive")
            if connection.getresponse().status == 204:
                return
        time.sleep(0.1)
    raise RunStopped(f"VisualDL did not answer within {START_SECONDS:.0f} seconds", status=1)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """End the block quietly on Ctrl-C, SIGTERM and SIGHUP (a closed terminal; not on Windows)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    heeded = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]  # nohup, `&`
    previous = {n: signal.signal(n, signal.default_int_handler) for n in heeded}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
