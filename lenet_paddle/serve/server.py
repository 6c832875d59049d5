"""The server: uvicorn with one or more worker processes, each with a model of its own."""

from __future__ import annotations

import dataclasses
import gc
import ipaddress
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_paddle.errors import InputError
from lenet_paddle.export.engines import ENGINES, EngineChoice
from lenet_paddle.files import locked

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)
ENDING = (signal.SIGINT, signal.SIGTERM)
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name for it


@dataclass(frozen=True)
class ServeConfig:
    """Settings of `tools/serve.py`. Raises `InputError` for a value out of its range."""

    model: str
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
    """A request's body must arrive within this time, and be answered within it again."""
    max_queue: int = 64
    """Requests that a worker holds at a time; more are answered with 503 and Retry-After."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"port is {self.port}; expected 0 to 65535")
        for name in ("workers", "max_batch", "max_queue"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("max_body_mb", "max_megapixels", "max_seconds"):
            if not 0 < getattr(self, name) < 1e6:
                raise InputError(f"{name} is {getattr(self, name)}; expected above 0, below 1e6")


def serve(config: ServeConfig) -> None:
    """Answer until SIGTERM or Ctrl-C; requests that are in work then are still answered.

    Prints the address when all workers are ready. A worker that dies is replaced. The model's files
    are copied first: what is exported into their folder later is served by the next start. Raises
    `InputError` for a model, an address or a port that cannot be used, and when a package of the
    extra `serve` is missing.
    """
    if not _is_loopback(config.host):
        _log.warning("%s: whoever reaches this machine can ask; there is no password", config.host)
    with (
        _listen(config.host, config.port) as listener,
        tempfile.TemporaryDirectory(prefix="lenet-serve-") as folder,
        locked(Path(folder)),  # who clears old files away leaves it
    ):
        os.environ[METRICS_FOLDER] = folder
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        resource_tracker.ensure_running()  # its start would let signals in
        copied = dataclasses.replace(config, model=_copy_model(config.model, Path(folder)))
        workers: list[_Worker] = []
        try:
            for _ in range(config.workers):
                _add_worker(workers, copied, listener)
            for worker in workers:
                worker.wait_until_ready()
            host, port = listener.getsockname()[:2]
            print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
            _keep_alive(workers, copied, listener)
        except KeyboardInterrupt:
            pass  # the way to end
        except InputError as error:
            raise InputError(str(error).replace(copied.model, config.model)) from None
        finally:
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)
            listener.close()  # whoever comes now is refused, and not left waiting
            for worker in workers:
                worker.process.terminate()
            for worker in workers:
                worker.process.join()
            del os.environ[METRICS_FOLDER]


def _copy_model(model: str, folder: Path) -> str:
    """Copy the files of an exported folder that are served into `folder`; returns their folder."""
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
    """A listening socket. Raises `InputError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no name of a host"
        raise InputError(f"{host} port {port}: {reason}; choose another --host or --port") from None


class _Worker:
    """A process that answers what comes to the listening socket."""

    def __init__(self, config: ServeConfig, listener: socket.socket) -> None:
        context = multiprocessing.get_context("spawn")  # neither engine survives a fork
        self._said, to_say = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(config, listener, to_say))
        self.process.start()
        to_say.close()  # only the worker's end keeps it open

    def wait_until_ready(self) -> None:
        """Raises `InputError` with what the worker says when it cannot start."""
        try:
            reason = self._said.recv()
        except EOFError:
            self.process.join()
            reason = f"a worker died at its start (status {self.process.exitcode})"
        if reason:
            raise InputError(reason)


def _add_worker(workers: list[_Worker], config: ServeConfig, listener: socket.socket) -> None:
    """Start a worker and note it down; a signal that would end the server waits meanwhile, else a
    process could be left that nobody ends. The worker lets signals in when it begins its work."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        workers.append(_Worker(config, listener))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _keep_alive(workers: list[_Worker], config: ServeConfig, listener: socket.socket) -> None:
    """Replace workers that die, for ever. Raises `InputError` when none is left and no other can
    be started."""
    from prometheus_client.multiprocess import mark_process_dead

    while True:
        multiprocessing.connection.wait([worker.process.sentinel for worker in workers])
        for worker in [worker for worker in workers if not worker.process.is_alive()]:
            _log.warning("a worker died (status %s); starting another", worker.process.exitcode)
            mark_process_dead(worker.process.pid)
            workers.remove(worker)
        while len(workers) < config.workers:
            _add_worker(workers, config, listener)
            try:
                workers[-1].wait_until_ready()
            except InputError as error:
                if len(workers) == 1:
                    raise
                _log.warning("%s; trying again", error)
                workers.pop().process.join()
                time.sleep(1)


def _work(config: ServeConfig, listener: socket.socket, to_say: Connection) -> None:
    """A worker's life. It says "" when it is ready, or why it cannot be."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it serves, the parent ends it
    try:
        server = _make_server(config)
    except ModuleNotFoundError as error:
        to_say.send(f"the package {error.name} is missing; pip install '.[serve]'")
    except InputError as error:
        to_say.send(str(error))
    else:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        gc.collect()
        gc.freeze()  # what stays for good is looked through no more: 99 in 100 within half the time
        to_say.send("")
        # Not sooner: Paddle, while it is imported, answers SIGTERM by a C++ traceback.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        server.run(sockets=[listener])


def _make_server(config: ServeConfig) -> uvicorn.Server:
    import uvicorn

    from lenet_paddle.serve.app import create_app
    from lenet_paddle.serve.connection import BoundedHttp, allow_connections
    from lenet_paddle.serve.limits import Limits
    from lenet_paddle.serve.service import Service

    limits = Limits(
        body=int(config.max_body_mb * 1e6),
        pixels=int(config.max_megapixels * 1e6),
        batch=config.max_batch,
        seconds=config.max_seconds,
        queue=config.max_queue,
    )
    service = Service(Path(config.model), config.engine, limits)
    http = partial(
        BoundedHttp,
        seconds=config.max_seconds,
        max_connections=allow_connections(),
        count_refusal=service.metrics.count_refusal,
    )
    settings = uvicorn.Config(
        create_app(service),
        http=http,  # type: ignore[arg-type]
        log_config=None,
        log_level="error",  # what clients do wrong is in the metrics, not in the log
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=math.ceil(2 * config.max_seconds),
    )
    return uvicorn.Server(settings)


def _end_with_parent() -> None:
    """Without this a worker whose parent was killed would go on holding the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
