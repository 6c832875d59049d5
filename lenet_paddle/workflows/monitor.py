"""Start VisualDL's server, without telemetry, and by default for this machine only."""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import logging
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

from lenet_paddle.errors import InputError, RunStopped, quote, tool_line
from lenet_paddle.files import follow_link, read_text
from lenet_paddle.runtime import EVERYWHERE, url_of

HOST = "127.0.0.1"  # VisualDL has no password
START_SECONDS = 60.0
_log = logging.getLogger(__name__)


def monitor(
    logdir: Path,
    port: int = 8040,
    language: Literal["en", "zh"] = "en",
    open_browser: bool = False,
    host: str = HOST,
) -> None:
    """Serve the logs under `logdir` at `host` until Ctrl-C, SIGTERM or SIGHUP.

    Prints the address when the server answers, and how to reach it from elsewhere where the
    terminal is not the browser's machine. Warns of a `host` that others can reach. Raises
    `InputError` for a folder without logs, a host that is not this machine's or a port in use,
    `RunStopped` if the server ends by itself.
    """
    logdir = follow_link(logdir)
    check_logdir(logdir)
    if not check_address(port, host):
        _log.warning(
            "VisualDL has no password: whoever reaches %s port %d can read all logs and pictures "
            "of %s; without --host only this machine can",
            *(host, port, logdir),
        )
    with _stopped_by_signals(), serving(logdir, port, language, host) as server:
        address = url_of(host, port) + "/"
        said = f"VisualDL: {address} (logs of {logdir}; end with Ctrl-C)"
        print("\n".join(filter(None, [said, describe_access(port, host)])), flush=True)
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
        raise InputError(f"{logdir}: no VisualDL log in it; train first: {tool_line('train')}")


def check_address(port: int, host: str = HOST) -> bool:
    """Return whether `host` is of this machine only.

    Raises `InputError` unless `port` can be listened on there.
    """
    if not 1 <= port <= 65535:
        raise InputError(f"port is {port}; expected a whole number from 1 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"host {host}: {_UNKNOWN_HOST}") from None
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InputError(f"host {host}: {_UNKNOWN_HOST}") from None
            raise InputError(f"port {port}: {error.strerror}; choose another --port") from None
    return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback


_UNKNOWN_HOST = "no address of this machine; expected one such as 127.0.0.1, or 0.0.0.0 for all"


def describe_access(port: int, host: str = HOST) -> str:
    """Return how to open the pages from the user's own machine; empty where it is this one.

    Over SSH that is the command of a tunnel, in a container also how to publish the port.
    """
    tunnel = ["ssh", "-L", f"{port}:{url_of(host, port).removeprefix('http://')}"]
    then = f", then open http://{HOST}:{port}/ there"
    parts = os.environ.get("SSH_CONNECTION", "").split()
    if len(parts) == 4:  # client, its port, server, its port
        user = os.environ.get("USER") or os.environ.get("LOGNAME")
        port_flag = [] if parts[3] == "22" else ["-p", parts[3]]
        server = f"{user}@{parts[2]}" if user else parts[2]
        return f"on your own machine: {quote(*tunnel, *port_flag, server)}{then}"
    if not is_in_container():
        return ""
    bound = "" if host in EVERYWHERE else " and this tool with --host 0.0.0.0"
    published = quote("docker", "run", "-p", f"{HOST}:{port}:{port}")
    return (
        f"in a container: start it with {published} ...{bound}; from another machine than the "
        f"container's: {quote('ssh', '-L', f'{port}:{HOST}:{port}')} USER@MACHINE{then}"
    )


def is_in_container() -> bool:
    """Return whether this process runs in a container of Docker, Podman or Kubernetes."""
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):
        return True
    with contextlib.suppress(OSError):
        groups = read_text(Path("/proc/self/cgroup"))
        return any(word in groups for word in ("docker", "kubepods", "containerd", "libpod"))
    return False


# Not `-m`, which would also import modules from the current folder, the one of the logs.
_START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "from visualdl.server.app import main; main()"
)


def server_command(logdir: Path, port: int, language: str, host: str = HOST) -> list[str]:
    """Return the command that starts VisualDL in the parent folder of `logdir`.

    Without --language its pages fail for clients that send none. Without --disable-telemetry it
    reports each start to a public host and overwrites its own code with the answer. With an
    absolute --logdir it confuses an embedding's vectors and labels (2.5.3).
    """
    return [
        *(sys.executable, "-c", _START, "--logdir", logdir.resolve().name or "."),
        *("--host", host, "--port", str(port), "--language", language, "--disable-telemetry"),
    ]


@contextlib.contextmanager
def serving(
    logdir: Path, port: int, language: Literal["en", "zh"] = "en", host: str = HOST
) -> Iterator[subprocess.Popen[bytes]]:
    """Serve `logdir` at `host` during the block, with a server that already answers.

    At the end all its processes are ended. Raises `RunStopped` if it does not start.
    """
    with tempfile.TemporaryFile() as output:
        server = subprocess.Popen(
            server_command(logdir, port, language, host),
            cwd=logdir.resolve().parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a process group, so that all of it can be ended
        )
        try:
            _wait_until_it_answers(server, EVERYWHERE.get(host, host), port, output)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has nothing to save
                if sys.platform == "win32":
                    server.kill()
                else:
                    os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_until_it_answers(
    server: subprocess.Popen[bytes], host: str, port: int, output: IO[bytes]
) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"status {server.returncode}"
            raise RunStopped(f"VisualDL did not start: {reason}", status=1)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(host, port, timeout=5)  # past any proxy
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
