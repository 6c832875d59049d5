"""The server's start, the model that it keeps, workers that die, and its end."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from serve_help import CLASSES, Server, write_model
from tools_help import assert_refused, tool, tool_command, wait_for

SMALL_BODY = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"


def processes_with(text):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text in (folder / "environ").read_text(errors="replace"):
                found.append(int(folder.name))
        except OSError:
            pass  # it has just ended
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_quietly_and_leaves_no_process(tmp_path, number):
    """Ctrl-C reaches all processes of a terminal, SIGTERM only one."""
    command = tool_command("serve", "--model", write_model(tmp_path), "--port", 0, "--workers", 3)
    delays = (0.2, 0.5, 0.8, 1.1, 1.4)
    marks = [f"LENET_TEST={os.getpid()}-{number}-{delay}" for delay in delays]
    started = []
    for mark in marks:
        environment = dict(os.environ, **dict([mark.split("=")]))
        started.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    begin = time.monotonic()
    for server, delay in zip(started, delays, strict=True):
        time.sleep(max(0.0, begin + delay - time.monotonic()))
        (os.killpg if number == signal.SIGINT else os.kill)(server.pid, number)
    for server, mark in zip(started, marks, strict=True):
        errors = server.communicate(timeout=30)[1]
        # Python itself had not started whole; under coverage that takes a while
        early = server.returncode in (-number, 130) or "Fatal Python error: init_" in errors
        assert early or (server.returncode == 0 and errors == ""), errors
        wait_for(lambda mark=mark: not processes_with(mark), 20)


def test_a_model_exported_anew_is_served_by_the_next_start_only(tmp_path):
    (tmp_path / "model").mkdir()
    folder = write_model(tmp_path / "model")
    server = Server(folder, "--workers", 2)
    description = yaml.safe_load((folder / "inference.yml").read_text())
    description["classes"] = ["other", "names", "now"]
    (folder / "inference.yml").write_text(yaml.safe_dump(description))
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(server.workers()) == 2 and before[0] not in server.workers(), 20)
    shutil.rmtree(folder)
    os.kill(before[1], signal.SIGKILL)
    wait_for(lambda: len(server.workers()) == 2 and before[1] not in server.workers(), 20)
    for _ in range(8):  # by either worker
        with socket.create_connection(("127.0.0.1", server.port)):
            answer = server.client.get("/model.json", headers={"connection": "close"})
        assert answer.json()["classes"] == list(CLASSES)
    status, errors = server.stop()
    assert status == 0
    assert errors.splitlines() == 2 * ["a worker died (status -9); starting another"]


def test_connections_during_the_end_are_refused(tmp_path):
    server = Server(write_model(tmp_path), "--max-seconds", 3)
    with server.raw(SMALL_BODY):
        wait_for(lambda: "lenet_requests_in_work 2.0" in server.client.get("/metrics").text, 20)
        server.client.close()
        server.process.send_signal(signal.SIGTERM)

        def is_refused():
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_for(is_refused, 2)
        assert server.process.poll() is None  # it still waits for the body
    assert server.stop() == (0, "")


def test_probes_may_ask_with_head(tmp_path):
    server = Server(write_model(tmp_path))
    for path in ("/", "/v2/health/ready", "/static/app.js", "/metrics"):
        head, whole = server.client.head(path), server.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
    assert server.client.head("/nowhere").status_code == 404
    assert server.stop() == (0, "")


def test_a_damaged_model_is_one_line_by_paddle_too(tmp_path):
    """Paddle's own signal handler would print a C++ traceback when the worker ends."""
    for name in ("inference.json", "inference.pdiparams"):
        (write_model(tmp_path) / name).write_bytes(b"{}")
    done = tool("serve", "--model", tmp_path, "--port", 0, "--engine", "paddle", "--workers", 2)
    assert_refused(done, "a damaged exported model; export it again")


def test_a_host_that_is_no_name_is_one_line(tmp_path):
    for host in ("a..b", "x" * 70):
        done = tool("serve", "--model", write_model(tmp_path), "--host", host)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 2  # and the warning
    assert_refused(tool("serve", "--model", tmp_path / "none"), f"{tmp_path / 'none'}: no exported")
