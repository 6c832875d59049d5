"""The worker processes: each runs uvicorn with a model of its own; dead ones are replaced."""

from __future__ import annotations

import gc
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_paddle.errors import InputError

if TYPE_CHECKING:
    import uvicorn

    from lenet_paddle.serve.config import ServeConfig

_log = logging.getLogger(__name__)
END_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Worker:
    """A process that answers connections to the listening socket."""

    def __init__(self, config: ServeConfig, listener: socket.socket) -> None:
        context = multiprocessing.get_context("spawn")  # neither engine survives a fork
        self._status, to_parent = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(config, listener, to_parent))
        self.process.start()
        to_parent.close()  # the worker's end alone keeps the pipe open

    def wait_until_ready(self) -> None:
        """Raise `InputError` with the worker's reason if it cannot start."""
        try:
            reason = self._status.recv()
        except EOFError:
            self.process.join()
            reason = f"a worker died at its start (status {self.process.exitcode})"
        if reason:
            raise InputError(reason)


class WorkerPool:
    """The worker processes of a server."""

    def __init__(self, config: ServeConfig, listener: socket.socket) -> None:
        self._config, self._listener = config, listener
        self._workers: list[_Worker] = []

    def start(self) -> None:
        """Start the workers and wait until they are ready. Raises `InputError`."""
        for _ in range(self._config.workers):
            self._add()
        for worker in self._workers:
            worker.wait_until_ready()

    def replace_dead_workers(self) -> None:
        """Replace workers that die, forever.

        Raises `InputError` if the last one died and its replacement cannot start.
        """
        from prometheus_client.multiprocess import mark_process_dead

        while True:
            multiprocessing.connection.wait([worker.process.sentinel for worker in self._workers])
            for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
                status = worker.process.exitcode
                _log.warning("a worker died (status %s); starting another", status)
                mark_process_dead(worker.process.pid)
                self._workers.remove(worker)
            while len(self._workers) < self._config.workers:
                self._add()
                try:
                    self._workers[-1].wait_until_ready()
                except InputError as error:
                    if len(self._workers) == 1:
                        raise
                    _log.warning("%s; trying again", error)
                    self._workers.pop().process.join()
                    time.sleep(1)

    def stop(self) -> None:
        """End the workers, after they have answered the requests in progress."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def _add(self) -> None:
        """Start a worker with signals blocked, so that none is left behind by a signal before it
        is in the list. The worker unblocks them when it is ready."""
        _block_signals(True)
        try:
            self._workers.append(_Worker(self._config, self._listener))
        finally:
            _block_signals(False)


def _block_signals(block: bool) -> None:
    """Keep back the signals that end the server, or let them through; not possible on Windows."""
    if sys.platform != "win32":
        how = signal.SIG_BLOCK if block else signal.SIG_UNBLOCK
        signal.pthread_sigmask(how, END_SIGNALS)


def _work(config: ServeConfig, listener: socket.socket, to_parent: Connection) -> None:
    """Run a worker. It sends "" when it is ready, or the reason why it cannot start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it serves, the parent ends it
    try:
        server = _build_server(config)
    except ModuleNotFoundError as error:
        to_parent.send(f"the package {error.name} is missing; pip install '.[serve]'")
    except InputError as error:
        to_parent.send(str(error))
    else:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        gc.collect()
        gc.freeze()  # do not scan what stays for good: this halves the 99th percentile of latency
        to_parent.send("")
        # Not earlier: while Paddle is imported, it answers SIGTERM with a C++ traceback.
        _block_signals(False)
        server.run(sockets=[listener])


def _build_server(config: ServeConfig) -> uvicorn.Server:
    import uvicorn

    from lenet_paddle.serve.app import create_app
    from lenet_paddle.serve.limits import Limits
    from lenet_paddle.serve.service import Service

    limits = Limits(
        body=int(config.max_body_mb * 1e6),
        pixels=int(config.max_megapixels * 1e6),
        batch=config.max_batch,
        seconds=config.max_seconds,
        queue=config.max_queue,
        strict_range=config.strict_range,
    )
    settings = uvicorn.Config(
        create_app(Service(Path(config.model), config.engine, limits), config.cors),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # the middleware logs exceptions, and counts clients' mistakes
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(2 * config.max_seconds),
    )
    return uvicorn.Server(settings)


def _end_with_parent() -> None:
    """End this worker when its parent is killed; otherwise it would keep the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
