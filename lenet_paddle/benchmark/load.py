"""Load test: `tools/serve.py` with two workers against wrk on the same machine."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from lenet_paddle import build_model, load_dataset
from lenet_paddle.benchmark.own import read_anonymous_mb
from lenet_paddle.errors import InputError
from lenet_paddle.export.export import export_formats

SECONDS = 70  # 200,000 requests at 3,000 a second
NUM_WORKERS = 2
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "multipart/form-data; boundary=limit"
done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"""


def serve(connections: int, seconds: int = SECONDS) -> dict[str, float]:
    """Measure POST /predict of an MNIST digit, a PNG in a multipart body.

    Returns requests/s, latencies in ms, `errors` (answers other than 2xx), `memory_mb` (the
    workers' anonymous memory after a tenth of the time) and `grown_mb` (its growth until the end).
    Raises `InputError` if wrk is missing.
    """
    if shutil.which("wrk") is None:
        raise InputError("wrk is not installed; apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = load_dataset("mnist", "test").take(slice(0, 64))
        info = {"preprocess": "digit", "dataset": "mnist"}
        export_formats(
            *(build_model("lenet_builtin"), folder / "model", images, 28, info, ("paddle", "onnx")),
            is_measured=False,
        )
        file = io.BytesIO()
        Image.fromarray(images.images[0]).save(file, "PNG")
        head = b'--limit\r\nContent-Disposition: form-data; name="files"; filename="7.png"\r\n\r\n'
        (folder / "body").write_bytes(head + file.getvalue() + b"\r\n--limit--\r\n")
        (folder / "wrk.lua").write_text(SCRIPT.format(body=folder / "body"), encoding="utf-8")
        with _run_server(folder / "model") as (url, pids):
            _run_wrk(folder, url, connections, max(1, seconds // 10))
            before = sum(map(read_anonymous_mb, pids))
            found = _run_wrk(folder, url, connections, seconds)
            grown = sum(map(read_anonymous_mb, pids)) - before
    return {
        "requests_per_s": found["requests"] / found["microseconds"] * 1e6,
        "p50_ms": found["p50"] / 1000,
        "p99_ms": found["p99"] / 1000,
        "errors": found["errors"],
        "requests": found["requests"],
        "memory_mb": before,
        "grown_mb": grown,
    }


@contextlib.contextmanager
def _run_server(model: Path) -> Iterator[tuple[str, list[int]]]:
    """Start a server; yield its address and its workers' process ids."""
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--model", str(model)]
    command += ["--engine", "onnx", "--port", "0", "--workers", str(NUM_WORKERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
            pids = [int(pid) for pid in children.read_text(encoding="utf-8").split()]
            commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
            yield url, [pid for pid in pids if "spawn_main" in commands[pid]]  # the workers
        finally:
            server.terminate()


def _run_wrk(folder: Path, url: str, connections: int, seconds: int) -> dict[str, float]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(folder / "wrk.lua")]
    done = subprocess.run([*command, f"{url}/predict"], check=True, capture_output=True, text=True)
    return json.loads(re.findall(r"^{.*}$", done.stdout, re.MULTILINE)[-1])
