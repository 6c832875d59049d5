"""SIGKILL for real, and cheaply: a process that has imported Paddle forks one for each call."""

from __future__ import annotations

import errno
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"}


class Tools:
    """Calls of the tools, one at a time, each in a process of its own that can be killed.

    Such a process starts in 0.1 s, so a hundred kills take minutes. A finished call stays a zombie
    until `wait`, so `kill` never hits another process.
    """

    pid = 0  # of the running call, or of a finished one before `wait`

    def __enter__(self) -> Tools:
        command = [sys.executable, __file__]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._ask("") == "ready"
        return self

    def __exit__(self, *error: object) -> None:
        with self.server:
            assert self.server.stdin is not None
            if self.pid:
                self.kill()
                self.wait()
            self.server.stdin.close()

    def _ask(self, line: str) -> str:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline().strip()

    def start(
        self,
        name: str,
        *args: Any,
        output: Path,
        kill_at: int = 0,
        below: Path | None = None,
        links: bool = True,
    ) -> None:
        """Start tools/<name>.py; what it says goes to the file `output`. With `kill_at` it kills
        itself before its so-manieth change of a file below the folder `below`; when it has fewer
        it ends, and says how many. Without `links` it cannot make symbolic ones."""
        argv = [str(ROOT / "tools" / f"{name}.py"), *map(str, args)]
        call = {"argv": argv, "output": str(output), "kill_at": kill_at, "below": str(below)}
        call["links"] = links
        self.pid = int(self._ask(json.dumps(call)))

    def kill(self) -> None:
        """SIGKILL, from outside."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit status, or minus the signal, of the call."""
        status, self.pid = int(self._ask("wait")), 0
        return status

    def run(self, name: str, *args: Any, output: Path, **options: Any) -> int:
        """Start and wait."""
        self.start(name, *args, output=output, **options)
        return self.wait()


def serve() -> None:
    """Fork a process for each call that comes as a line of JSON; say its id, then its status."""
    sys.path.insert(0, str(ROOT))
    sys.stdin.readline()
    import matplotlib.figure  # noqa: F401  all that the tools import when they start
    import tyro  # noqa: F401
    import visualdl  # noqa: F401

    import lenet_paddle.workflows.finetune  # noqa: F401

    print("ready", flush=True)
    pid = 0
    for line in sys.stdin:
        if line.strip() == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _call(**json.loads(line))
        print(pid, flush=True)


def _refuse_link(*args: Any, **options: Any) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def _call(argv: list[str], output: str, kill_at: int, below: str, links: bool) -> None:
    """The child: become the tool, and never return."""
    if not links:
        os.symlink = _refuse_link
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv, status = argv, 0
    changes = _Changes(kill_at, below)
    if kill_at:
        sys.addaudithook(changes)
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    if kill_at:
        print(f"{changes.count} changes")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Changes:
    """An audit hook that kills this process before Python's `number`-th change below a folder."""

    def __init__(self, number: int, below: str) -> None:
        self.number, self.below, self.count = number, below, 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        is_opened = event == "open" and isinstance(args[2], int) and args[2] & 0o3
        if not (is_opened or event in WRITES):
            return
        where = str(args[0])
        if event in ("os.remove", "os.rmdir") and args[1] != -1:  # so rmtree calls them
            where = str(Path(f"/proc/self/fd/{args[1]}").readlink())
        self.count += self.below in where
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def result_of(run_dir: Path) -> dict[str, Any]:
    """Everything of a finished run that must be equal, bit for bit."""
    from lenet_paddle.run_folder import Run

    latest = Run(run_dir).find_checkpoint("latest")
    state = json.loads((latest / "state.json").read_text())
    kept = ("epoch", "step", "history", "best_epoch", "sha256", "rng")
    return {
        **{key: state[key] for key in kept},
        "files": {p.name: p.read_bytes() for p in latest.iterdir() if p.name != "state.json"},
        "history.csv": (run_dir / "history.csv").read_bytes(),
        "metrics": json.loads((run_dir / "metrics.json").read_text()),
        "curves": [
            points(run_dir, f"train/{tag}") for tag in ("loss", "accuracy", "learning_rate")
        ],
    }


def points(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    """A curve of VisualDL's log: (step, value)."""
    from visualdl import LogReader

    reader = LogReader(file_path=str(run_dir / "vdl" / "vdlrecords.log"))
    return [(p.id, p.value) for p in reader.get_data("scalar", tag)]


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll closely for something that another process does."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)


if __name__ == "__main__":
    serve()
