"""VisualDL is started safely, answers every client, and ends with all that it started."""

import http.client
import json
import signal
import socket
import subprocess
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from tools_help import assert_refused, free_port, tool, tool_command, wait_for

from lenet_paddle.errors import RunStopped
from lenet_paddle.workflows import monitor as module
from lenet_paddle.workflows.monitor import HOST, describe_access, server_command, serving


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """A small log with a curve and an embedding."""
    from visualdl import LogWriter

    folder = tmp_path_factory.mktemp("output")
    with LogWriter(str(folder / "run" / "vdl")) as writer:
        writer.add_scalar("train/loss", 0.5, 1)
        writer.add_embeddings("features", np.eye(3).tolist(), ["a", "b", "c"])
    return folder


@pytest.fixture
def port():
    return free_port()


def get(port, path, **headers):
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read(), response.headers


def children_of(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    return Path(f"/proc/{pid}").exists()


def addresses_listening_on(port):
    """The local addresses, in hexadecimal, that listen on `port` over IPv4 and IPv6."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    sockets = [(*line[1].split(":"), line[3]) for line in lines]
    return [address for address, at, state in sockets if int(at, 16) == port and state == "0A"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_tool_serves_until_a_signal_and_leaves_no_process(logdir, port, number):
    command = tool_command("monitor", "--logdir", logdir, "--port", port)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        line = process.stdout.readline()
        assert line.startswith(f"VisualDL: http://127.0.0.1:{port}/")
        if hint := describe_access(port):
            assert process.stdout.readline().strip() == hint
        assert get(port, "/app/index")[0] == 200  # it answers when the address is printed
        servers = children_of(process.pid)
        assert servers and all(map(is_running, servers))
        process.send_signal(number)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "", "")
    wait_for(lambda: not any(map(is_running, servers)), 5)
    assert not addresses_listening_on(port)


def test_it_answers_clients_with_and_without_a_language(logdir, port):
    with serving(logdir, port, "zh"):
        for headers in ({}, {"Accept-Language": "en"}, {"Accept-Language": "fr"}):
            status, page, answered = get(port, "/app/index", **headers)
            assert status == 200 and b"VisualDL" in page
            assert "vdl_lng=zh" in answered["Set-Cookie"]


def test_only_this_machine_reaches_it_and_nothing_is_reported(logdir, port):
    with serving(logdir, port) as server:
        assert addresses_listening_on(port) == ["0100007F"]  # 127.0.0.1
        arguments = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")
        assert "--disable-telemetry" in arguments
        status, page, _ = get(port, "/app/__snowpack__/env.local.js")
        assert status == 200 and b"TELEMETRY_ID" in page
        assert b"63a600296f8a71f576c4806376a9245b" not in page  # what the pages would report to
    assert "--disable-telemetry" in server_command(logdir, port, "en")


def test_an_embedding_has_its_labels_whatever_the_path_of_the_logs(logdir, port):
    assert logdir.is_absolute()  # with which VisualDL itself would answer with the vectors
    with serving(logdir, port):
        [found] = json.loads(get(port, "/app/api/embedding/list")[1])["data"]
        name = urllib.parse.quote(found["name"], safe="")
        vectors = get(port, f"/app/api/embedding/tensor?name={name}")[1]
        labels = get(port, f"/app/api/embedding/metadata?name={name}")[1]
    np.testing.assert_array_equal(np.frombuffer(vectors, np.float32).reshape(3, 3), np.eye(3))
    assert labels.split() == [b"a", b"b", b"c"]


def test_modules_in_the_logs_folder_are_not_run(port, tmp_path):
    (tmp_path / "requests.py").write_text("raise SystemExit('a stranger')")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vdlrecords.log").touch()
    with serving(tmp_path / "run", port):
        assert get(port, "/alive")[0] == 204


def test_a_server_that_does_not_start_says_why(logdir, port, monkeypatch):
    monkeypatch.setattr(
        "lenet_paddle.workflows.monitor._START", "raise ImportError('no such module')"
    )
    expected = pytest.raises(RunStopped, match="did not start: ImportError: no such module")
    with expected, serving(logdir, port):
        pytest.fail("it cannot have started")


def test_another_host_is_listened_on_with_a_warning(logdir, port):
    command = tool_command("monitor", "--logdir", logdir, "--port", port, "--host", "0.0.0.0")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith(f"VisualDL: http://127.0.0.1:{port}/")
        assert addresses_listening_on(port) == ["00000000"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert errors.count("\n") == 1 and "VisualDL has no password" in errors


def test_over_ssh_the_command_of_a_tunnel_is_printed(monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.9 50000 10.0.0.5 22")
    monkeypatch.setenv("USER", "ann")
    said = "on your own machine: ssh -L 8041:127.0.0.1:8041 ann@10.0.0.5, then open http://"
    for host in (HOST, "0.0.0.0"):
        assert describe_access(8041, host).startswith(said)
    monkeypatch.setenv("SSH_CONNECTION", "fe80::1 50000 fe80::2 2222")
    assert "ssh -L '8041:[::1]:8041' -p 2222 ann@fe80::2, then" in describe_access(8041, "::1")


def test_in_a_container_it_says_how_to_publish_the_port(monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setattr(module, "is_in_container", lambda: True)
    said = describe_access(8041)
    assert "docker run -p 127.0.0.1:8041:8041" in said and "with --host 0.0.0.0" in said
    assert "ssh -L 8041:127.0.0.1:8041 USER@MACHINE" in said
    assert "--host" not in describe_access(8041, "0.0.0.0")
    monkeypatch.setattr(module, "is_in_container", lambda: False)
    assert describe_access(8041) == ""


def test_bad_input_is_one_line(logdir, port, tmp_path):
    for host in ("192.0.2.1", "no.such.host.invalid", ""):
        refused = tool("monitor", "--logdir", logdir, "--port", port, f"--host={host}")
        assert_refused(refused, f"host {host}: no address of this machine; expected one such as")
    (tmp_path / "file").touch()
    assert_refused(tool("monitor", "--logdir", tmp_path / "none"), "no such folder")
    assert_refused(tool("monitor", "--logdir", tmp_path / "file"), "no such folder")
    assert_refused(tool("monitor", "--logdir", tmp_path), "no VisualDL log", "train")
    assert_refused(tool("monitor", "--logdir", logdir, "--port", "70000"), "from 1 to 65535")
    with socket.socket() as taken:
        taken.bind((HOST, port))
        taken.listen()
        refused = tool("monitor", "--logdir", logdir, "--port", port)
        assert_refused(refused, f"port {port}: Address already in use; choose another --port")
