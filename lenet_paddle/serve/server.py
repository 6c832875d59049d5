"""The settings of the server, and its life from the listening socket to the last worker's end."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Annotated

from lenet_paddle.errors import InputError
from lenet_paddle.export.engines import ENGINES, EngineChoice
from lenet_paddle.files import locked
from lenet_paddle.serve.workers import END_SIGNALS, WorkerPool
from lenet_paddle.settings import PATH

_log = logging.getLogger(__name__)
ORIGIN = r"\*|https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name for it


@dataclass(frozen=True)
class ServeConfig:
    """Settings of `tools/serve.py`. Raises `InputError` for a value out of its range."""

    model: Annotated[str, PATH]
    """An exported folder, output/<run>/inference."""
    host: str = "127.0.0.1"
    """The address to listen on; the default is reached from this machine only."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    workers: int = 1
    """Processes that answer; more than there are cores gain nothing."""
    engine: EngineChoice = "auto"
    """What runs the model; auto is the one that was the faster at export."""
    max_body_mb: float = 10.0
    """Largest body of a request, in million bytes."""
    max_megapixels: float = 25.0
    """Largest picture, in million pixels."""
    max_batch: int = 64
    """Most pictures, or tensors, in a request."""
    max_seconds: float = 10.0
    """Time for a request's body to arrive, and again for its answer."""
    max_queue: int = 64
    """Requests in progress in a worker; further ones get 503 and Retry-After."""
    strict_range: bool = False
    """Refuse tensors that do not seem to be normalised, instead of a warning in the answer."""
    cors: str | None = None
    """An origin whose pages may ask, such as https://example.org; * for every one."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"port is {self.port}; expected 0 to 65535")
        for name in ("workers", "max_batch", "max_queue"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("max_body_mb", "max_megapixels", "max_seconds"):
            if not 0 < getattr(self, name) < 1e6:
                raise InputError(f"{name} is {getattr(self, name)}; expected above 0, below 1e6")
        if self.cors is not None and not re.fullmatch(ORIGIN, self.cors):
            raise InputError(
                f"cors is {self.cors!r}; expected an origin as browsers send it, without a path, "
                "such as https://example.org or http://127.0.0.1:3000, or *"
            )


def serve(config: ServeConfig) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and then those in progress.

    Prints the address when all workers are ready, and replaces a worker that dies. The model's
    files are copied first, so a later export into their folder is served by the next start only.
    Raises `InputError` for a model, an address or a port that cannot be used, and if a package of
    the extra `serve` is missing.
    """
    if not _is_loopback(config.host):
        _log.warning("%s: every machine that reaches this one can ask; no password", config.host)
    if config.cors == "*":
        _log.warning("cors *: the pages of every site can ask from this machine's browsers")
    with (
        _listen(config.host, config.port) as listener,
        tempfile.TemporaryDirectory(prefix="lenet-serve-") as folder,
        locked(Path(folder)),  # keeps programs that clean up old files from deleting it
    ):
        os.environ[METRICS_FOLDER] = folder
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # its start would unblock signals later
        copied = dataclasses.replace(config, model=_copy_model(config.model, Path(folder)))
        pool = WorkerPool(copied, listener)
        try:
            pool.start()
            host, port = listener.getsockname()[:2]
            print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
            pool.replace_dead_workers()
        except KeyboardInterrupt:
            pass  # SIGTERM or Ctrl-C
        except InputError as error:
            raise InputError(str(error).replace(copied.model, config.model)) from None
        finally:
            for number in END_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            listener.close()  # refuse new connections instead of leaving them waiting
            pool.stop()
            del os.environ[METRICS_FOLDER]


def _copy_model(model: str, folder: Path) -> str:
    """Copy the files of an exported folder that are served into `folder`; return their folder."""
    copy = folder / "model"
    copy.mkdir()
    names = {name for _, files in ENGINES.values() for name in files}
    for name in ("inference.yml", "features.onnx", *names):
        if (Path(model) / name).is_file():
            shutil.copyfile(Path(model) / name, copy / name)
    return str(copy)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `InputError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise InputError(f"{host} port {port}: {reason}; choose another --host or --port") from None
