"""Where the tools run: under another user, without a home, on a read-only root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from marks import slow
from PIL import Image
from tools_help import ROOT, free_port, tool, tool_command, wait_for
from training_help import bars, write_bars

from lenet_paddle.settings import USER_HOME

# A user without a passwd entry, who may read all (the interpreter may lie in root's home) but
# writes only what is his.
_OTHER_USER = [
    *("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
]
# All is read-only but for one folder, and shared memory where asked; /tmp too.
_READ_ONLY = (
    'mount --bind "$0" "$0" && mount -o remount,ro,bind / && if [ "$1" = sealed ]; '
    'then mount -t tmpfs -o ro tmpfs /dev/shm; fi && cd / && shift && exec "$@"'
)
BARS = ["--model", "mlp", "--epochs", 1, "--val-size", 64]

Runner = Callable[..., Any]


def _environment(home: str | None) -> dict[str, str]:
    given = ("HOME", USER_HOME, "MPLCONFIGDIR", "TMPDIR")
    kept = {k: v for k, v in os.environ.items() if k not in given}
    return {**kept, "OMP_NUM_THREADS": "1"} | ({} if home is None else {"HOME": home})


@pytest.fixture
def out() -> Iterator[Path]:
    """A folder that the other user can write; pytest's own folders are closed to him."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "out").mkdir()
        (folder / "out").chmod(0o777)
        write_bars(folder)
        yield folder / "out"


@pytest.fixture
def elsewhere(out: Path) -> Runner:
    """Run or start a tool as another user without a home; `root` is "free", "read-only" or
    "sealed": read-only, /dev/shm too. `start` returns the process."""
    probe = ["unshare", "-m", "sh", "-c", _READ_ONLY, str(out), "sealed", *_OTHER_USER, "true"]
    if shutil.which("setpriv") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("changing the user and mounting need root, setpriv and unshare")

    def run(name: str, *args: Any, root: str, home: str | None = None, start: bool = False) -> Any:
        sealing = ["unshare", "-m", "sh", "-c", _READ_ONLY, str(out), root]
        command = [*([] if root == "free" else sealing), *_OTHER_USER, *tool_command(name, *args)]
        call: Any = subprocess.Popen if start else subprocess.run
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return call(command, env=_environment(home), cwd="/", **pipes)

    return run


def _train(elsewhere: Runner, out: Path, **where: Any) -> Path:
    data = ["--dataset", "npz", "--data-dir", out.parent / "bars.npz", "--output-dir", out]
    done = elsewhere("train", *BARS, *data, "--name", "run", **where)
    assert done.returncode == 0, done.stderr
    for word in ("Permission", "Read-only", "Matplotlib", "mkdir"):
        assert word not in done.stderr
    return out / "run"


@pytest.mark.parametrize("home", [None, slow("/nonexistent"), slow("/"), slow("/root")])
def test_training_needs_no_home(elsewhere: Runner, out: Path, home: str | None) -> None:
    run = _train(elsewhere, out, root="free", home=home)
    assert (run / "figures" / "curves.png").is_file()
    assert list(run.glob("vdl/vdlrecords*"))
    assert [path.name for path in out.iterdir()] == ["run"]


@pytest.mark.slow
def test_every_tool_works_where_only_the_output_can_be_written(
    elsewhere: Runner, out: Path
) -> None:
    run = _train(elsewhere, out, root="sealed")
    photo, data = ROOT / "docs" / "photo.jpg", ["--dataset", "npz", "--data-dir"]
    data.append(str(out.parent / "bars.npz"))
    for name, *args in (
        ("train", "--resume", run),
        ("evaluate", "--run", run),
        ("predict", "--run", run, photo, "--figure"),
        ("predict", "--model", run / "inference", photo),
        ("export", "--run", run),
        ("visualize", "curves", "--run", run),
        ("visualize", "pooling", "--out", out / "pooling.png"),
        ("analyze", "--runs", run),
        ("inspect_data", *data, "--out", out / "sheet.png"),
        ("corrupt", "--out", out / "fog", "--splits", "test", "--limit", 5, "--corruptions", "fog"),
        ("finetune", "--init-from", run, *data, "--epochs", 1, "--output-dir", out),
        ("benchmark", "load", "--rounds", 1, "--chart", out / "load.png"),
    ):
        done = elsewhere(name, *args, root="sealed")
        assert done.returncode == 0, (name, done.stderr)
        assert "Matplotlib" not in done.stderr and "Traceback" not in done.stderr
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["serve", "monitor"])
def test_the_servers_work_where_only_the_output_can_be_written(
    elsewhere: Runner, out: Path, name: str
) -> None:
    run, port = _train(elsewhere, out, root="free"), free_port()
    flag, root = ("--model", "sealed") if name == "serve" else ("--logdir", "read-only")
    folder = run / "inference" if name == "serve" else out  # VisualDL's locks need /dev/shm
    server = elsewhere(name, flag, folder, "--port", port, root=root, start=True)
    try:
        assert str(port) in server.stdout.readline(), server.stderr.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    wait_for(lambda: not list(out.rglob(".tmp-*")))


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, slow({"LC_ALL": "POSIX"})])
def test_chinese_classes_work_without_utf_8(tmp_path: Path, locale: dict[str, str]) -> None:
    images = bars(120)
    for number, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
        folder = tmp_path / "数据" / ("猫", "狗", "bird")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"图{number}.png")
    environment = {**os.environ, **locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    data = ["--dataset", "folder", "--data-dir", "数据", "--output-dir", ".", "--name", "run"]
    options = {"cwd": tmp_path, "env": environment, "encoding": "utf-8"}
    done = tool("train", *BARS, *data, **options)
    assert done.returncode == 0, done.stderr
    metrics = (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")
    assert list(json.loads(metrics)["per_class"]) == ["bird", "狗", "猫"]
    done = tool("predict", "--run", "run", "数据/猫", "--format", "csv", **options)
    assert done.returncode == 0 and "图" in done.stdout and ",猫," in done.stdout
