"""Each command that a tool prints can be pasted into a shell, whatever the folders' names."""

import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys

import pytest
from tools_help import ROOT, free_port, tool, tool_command, wait_for
from training_help import write_bars

from lenet_paddle.errors import quote, tool_line
from lenet_paddle.run_folder import Run

ODD = "it's  a run; $HOME"  # a quote, two spaces, and what a shell would replace


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Flags of a short training in a folder with an odd name, the folder, and `sh` with python."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / ODD).mkdir()
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    data = ["--dataset", "npz", "--data-dir", write_bars(folder / ODD), "--val-size", 64]
    flags = [*data, "--model", "mlp", "--epochs", 2, "--output-dir", folder / ODD]
    environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}

    def start(command, cwd=ROOT):
        return subprocess.Popen(
            ["sh", "-c", command],
            **{"cwd": cwd, "env": environment, "text": True, "start_new_session": True},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return flags, folder / ODD, start


@pytest.fixture(scope="module")
def trained(odd):
    done = tool("train", *odd[0], "--name", "a")
    assert done.returncode == 0, done.stderr
    return done


def finish(process):
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors


@pytest.mark.parametrize("cwd", ["project", "elsewhere"])
def test_the_watch_line_starts_the_monitor(odd, trained, tmp_path, cwd):
    _, folder, start = odd
    stdout = trained.stdout
    if cwd == "elsewhere":
        (folder / "b").mkdir()
        shutil.copytree(folder / "a", folder / "b" / "a", symlinks=True)
        stdout = tool("train", "--resume", folder / "b" / "a", cwd=tmp_path).stdout
    command = re.search(r"^watch: +(.*)$", stdout, re.MULTILINE)[1]
    process = start(f"{command} --port {free_port()}", ROOT if cwd == "project" else tmp_path)
    line = process.stdout.readline()
    os.killpg(process.pid, signal.SIGTERM)
    assert "VisualDL: http://127.0.0.1" in line, process.communicate()
    process.communicate()
    for word in ("run", "export"):
        path = re.search(rf"^{word}: +(.*) \(", stdout, re.MULTILINE)[1]
        finish(start(f"test -d {path}"))


def test_a_taken_name_is_answered_with_the_flag_that_resumes_it(odd, trained):
    flags, _, start = odd
    refused = tool("train", *flags, "--name", "a")
    resume = re.search(r"--resume .*$", refused.stderr.strip())[0]
    assert "resumed after epoch 2 of 2" in finish(start(f"python tools/train.py {resume}"))


def test_a_stopped_training_prints_the_command_that_resumes_it(odd):
    flags, folder, start = odd
    command = tool_command("train", *flags, "--epochs", 500, "--name", "stopped")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (folder / "stopped/checkpoints/latest").exists())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    line = re.search(r"python tools/train\.py --resume .*(?= continues at epoch)", errors)[0]
    epochs = len(Run(folder / "stopped").read_history())
    finish(start(f"{line} --epochs {epochs}"))
    assert Run.open(folder / "stopped").read_result()["epochs"] == epochs


def test_words_that_need_no_quoting_stay_as_they_are(tmp_path, monkeypatch):
    assert tool_line("train", "--resume", "output/a-1") == (
        "python tools/train.py --resume output/a-1"
    )
    assert shlex.split(quote("--run", ODD)) == ["--run", ODD]
    monkeypatch.setattr("lenet_paddle.errors.os.name", "nt")
    assert quote("--run", r"C:\My runs\a") == r'--run "C:\My runs\a"'


def test_no_command_in_the_package_is_put_together_without_quoting():
    """What is proposed to be typed: a flag or a tool that an f-string ends with a value."""
    unquoted = re.compile(
        r"(--(resume|init-from|logdir|run|model|data-dir)|python tools/\w+\.py)[ =]\{"
    )
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in [*(ROOT / "lenet_paddle").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if unquoted.search(line)
    ]
    assert found == []
