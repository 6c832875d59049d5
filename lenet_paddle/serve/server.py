"""The life of the server, from the listening socket to the end of the last worker."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from multiprocessing import resource_tracker
from pathlib import Path

from lenet_paddle.errors import InputError
from lenet_paddle.export.engines import ENGINES
from lenet_paddle.export.explainer import FOLDER, list_files
from lenet_paddle.files import locked
from lenet_paddle.runtime import EVERYWHERE, url_of
from lenet_paddle.serve.config import ServeConfig
from lenet_paddle.serve.workers import END_SIGNALS, WorkerPool

_log = logging.getLogger(__name__)
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name for it


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
            note = f" (listens on {host})" if host in EVERYWHERE else ""
            print(url_of(host, port) + note, flush=True)
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
    (copy / FOLDER).mkdir()
    for file in list_files(Path(model)):
        shutil.copyfile(file, copy / FOLDER / file.name)
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
