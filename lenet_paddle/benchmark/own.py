"""Workers that measure this project; a docstring says what, the keys of the result name units."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle import TrainConfig, build_model, load_dataset, train_and_evaluate
from lenet_paddle.benchmark.limit import count_training_flops, measure_rates
from lenet_paddle.benchmark.steps import (
    FAST,
    NUM_STEPS,
    WARMUP,
    batches,
    count_steps,
    time_steps,
)
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.evaluate import compute_logits, evaluate
from lenet_paddle.export.engines import load_paddle
from lenet_paddle.export.export import export_inference
from lenet_paddle.models import VISION_PREFIX, input_size
from lenet_paddle.models.layers import fast_layers
from lenet_paddle.run_folder import Run
from lenet_paddle.settings import load_yaml
from lenet_paddle.training.checkpoint import TrainState
from lenet_paddle.training.fit import fit
from lenet_paddle.training.optimizers import build_optimizer
from lenet_paddle.training.signals import StopOnSignal

LENET = "lenet_builtin"


class Clock(StopOnSignal):
    """Callback that measures time per step and memory, then stops; it must be the last callback.

    The steps of the warm-up are not measured.
    """

    def __init__(self, num_steps: int, warmup: int) -> None:
        super().__init__(TrainState(), "")
        self.num_steps, self.warmup, self.started = num_steps, warmup, 0.0
        self.ms_per_step = self.anonymous_mb = 0.0

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        if step + 1 == self.warmup:
            self.started = time.perf_counter()
        if step + 1 == self.warmup + self.num_steps:
            self.ms_per_step = (time.perf_counter() - self.started) / self.num_steps * 1000
            self.anonymous_mb = read_anonymous_mb()
            raise RunStopped("measured", status=0)


def read_anonymous_mb(process: int | str = "self") -> float:
    """Return a process's anonymous resident memory in MB (RssAnon: without mapped files)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def fit_for(
    num_steps: int,
    batch_size: int,
    train_set: Any,
    eval_set: Any,
    model: str = LENET,
    warmup: int = WARMUP,
) -> Clock:
    """Train with `fit` and all its callbacks for `num_steps` steps after a warm-up."""
    config, clock = TrainConfig(batch_size=batch_size, model=model), Clock(num_steps, warmup)
    with (
        tempfile.TemporaryDirectory() as folder,
        paddle.utils.unique_name.guard(),
        contextlib.suppress(RunStopped),
    ):
        network = build_model(model)
        fit(config, network, train_set, eval_set, Path(folder), stop=clock)
    return clock


def ours(batch_size: int, model: str = LENET) -> dict[str, float]:
    """Measure `fit` and the bare step in turn; `callbacks` is the difference."""
    num_turns = 1 if model.startswith(VISION_PREFIX) else 3
    turns = [
        (one_rank(batch_size, model)["ms_per_step"], bare(batch_size, model))
        for _ in range(num_turns)
    ]
    fitted = float(np.median([ms for ms, _ in turns]))
    parts = {name: float(np.median([part[name] for _, part in turns])) for name in turns[0][1]}
    added = float(np.median([ms - sum(part.values()) for ms, part in turns]))
    return {"ms_per_step": fitted, **parts, "callbacks": added}


def one_rank(batch_size: int, model: str = LENET) -> dict[str, float]:
    """Measure `fit`, in one process or as one of several ranks."""
    train_set, eval_set = load_dataset("mnist", "train"), load_dataset("mnist", "val")
    num_steps, warmup = count_steps(model)
    num_steps = min(num_steps, len(train_set) // batch_size - warmup)
    clock = fit_for(num_steps, batch_size, train_set, eval_set, model, warmup)
    return {"ms_per_step": clock.ms_per_step}


def two_ranks(batch_size: int) -> dict[str, float]:
    """Measure `fit` in two processes under Paddle's launcher, which share each batch."""
    script = Path(__file__).with_name("workers.py")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2"]
        command += ["--log_dir", folder, str(script), "one_rank", str(batch_size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(re.findall(r"^{.*}$", done.stdout, re.MULTILINE)[-1])


def _training(model: str) -> tuple[Any, Any, Any]:
    network = build_model(model)
    optimizer = build_optimizer(TrainConfig(), network.parameters())
    return network, optimizer, paddle.nn.CrossEntropyLoss()


def bare(batch_size: int, model: str = LENET) -> dict[str, float]:
    """Measure the parts of a step without hapi and callbacks, in milliseconds."""
    network, optimizer, loss_function = _training(model)
    source = batches(batch_size, input_size(model))
    num_steps, warmup = count_steps(model)
    parts = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)

    def step() -> None:
        marks = [time.perf_counter()]
        images, labels = (paddle.to_tensor(array) for array in next(source))
        marks.append(time.perf_counter())
        loss = loss_function(network(images), labels)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        optimizer.step()
        optimizer.clear_grad()
        float(loss)  # every worker reads its loss
        marks.append(time.perf_counter())
        for name, start, end in zip(parts, marks, marks[1:], strict=False):
            parts[name] += (end - start) * 1000

    with fast_layers(network):
        for _ in range(warmup):
            step()
        parts.update(dict.fromkeys(parts, 0.0))
        for _ in range(num_steps):
            step()
    return {name: ms / num_steps for name, ms in parts.items()}


def limit(batch_size: int) -> dict[str, float]:
    """Return the least time of a step: its multiply-adds at the machine's measured rate."""
    rates, gflop = measure_rates(), batch_size * count_training_flops(LENET) / 1e9
    return {"ms_per_step": gflop / max(rates.values()) * 1000, "gflop": gflop, **rates}


def epoch(batch_size: int) -> dict[str, float]:
    """Measure an epoch of `train.py`: trainings of three epochs and of one, half the difference."""
    seconds = []
    for epochs in (1, 3):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            train_and_evaluate(TrainConfig(epochs=epochs, batch_size=batch_size, output_dir=folder))
            seconds.append(time.perf_counter() - started)
    return {"seconds": (seconds[1] - seconds[0]) / 2}


def profile(batch_size: int) -> dict[str, float]:
    """Measure Paddle's operators with `paddle.profiler`: milliseconds per step, if 0.02 or more."""
    network, optimizer, loss_function = _training(LENET)
    source = batches(batch_size)

    def step() -> None:
        images, labels = (paddle.to_tensor(array) for array in next(source))
        loss_function(network(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()

    profiler = paddle.profiler.Profiler(
        targets=[paddle.profiler.ProfilerTarget.CPU], on_trace_ready=lambda profiler: None
    )
    text = io.StringIO()
    with fast_layers(network):
        time_steps(step, WARMUP)
        with profiler:
            for _ in range(NUM_STEPS):
                step()
                profiler.step()
    with contextlib.redirect_stdout(text):
        view = [paddle.profiler.SummaryView.OperatorView]
        profiler.summary(op_detail=False, thread_sep=False, time_unit="ms", views=view)
    rows = re.findall(r"^(\w+)(?: dygraph)? +\d+ +([\d.]+) /", text.getvalue(), re.MULTILINE)
    means = {name.removeprefix("Global_"): float(total) / NUM_STEPS for name, total in rows}
    return {name: ms for name, ms in means.items() if ms >= 0.02}


def start(batch_size: int) -> dict[str, float]:
    """Measure the seconds from starting `tools/train.py` to the end of its first step."""
    code = (
        "import os, runpy, sys; sys.argv = sys.argv[1:]; import lenet_paddle\n"
        "from paddle import Model; train_batch = Model.train_batch\n"
        "def first(*args, **kwargs): train_batch(*args, **kwargs); os._exit(0)\n"
        "Model.train_batch = first; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return _run_tool(batch_size, "-c", code)


def job(batch_size: int) -> dict[str, float]:
    """Measure the seconds from the start of `tools/train.py`, export included, to its end."""
    return _run_tool(batch_size)


def _run_tool(batch_size: int, *python: str) -> dict[str, float]:
    tool = str(Path(__file__).resolve().parents[2] / "tools" / "train.py")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *python, tool, "--output-dir", folder]
        started = time.perf_counter()
        subprocess.run([*command, "--batch-size", str(batch_size)], check=True, capture_output=True)
        return {"seconds": time.perf_counter() - started}


def network(batch_size: int) -> dict[str, float]:
    """Measure inference with the dygraph network in evaluation mode."""
    paddle.seed(0)
    lenet = build_model("lenet_builtin")
    return _time_inference(lambda batch: compute_logits(lenet, batch), batch_size)


def inference(batch_size: int, onednn: bool = False) -> dict[str, float]:
    """Measure Paddle Inference without oneDNN."""
    images = load_dataset("mnist", "test").take(slice(0, 256))
    with tempfile.TemporaryDirectory() as folder:
        export_inference(build_model("lenet_builtin"), Path(folder) / "inference", images, 28, {})
        return _time_inference(load_paddle(Path(folder) / "inference", onednn), batch_size)


def inference_onednn(batch_size: int) -> dict[str, float]:
    """Measure Paddle Inference with oneDNN."""
    return inference(batch_size, onednn=True)


def _time_inference(infer: Callable[[np.ndarray], Any], batch_size: int) -> dict[str, float]:
    """Return p50 and p99 of a call in milliseconds, and images per second."""
    images = next(batches(batch_size))[0]
    times = []
    for _ in range(WARMUP + 400):
        started = time.perf_counter()
        infer(images)
        times.append((time.perf_counter() - started) * 1000)
    p50, p99 = np.percentile(times[WARMUP:], (50, 99))
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "images_per_s": batch_size / np.mean(times[WARMUP:]) * 1000,
    }


def evaluation(batch_size: int) -> dict[str, float]:
    """Measure the evaluation of the 10,000 test images with all metrics."""
    lenet, test_set = build_model("lenet_builtin"), load_dataset("mnist", "test")
    evaluate(lenet, test_set, batch_size=batch_size)
    started = time.perf_counter()
    evaluate(lenet, test_set, batch_size=batch_size)
    return {"seconds": time.perf_counter() - started}


def fast(seed: int) -> dict[str, float]:
    """Train configs/mnist_fast.yaml with this seed; return seconds and the final test accuracy.

    The seconds include an evaluation of the test images after each epoch.
    """
    recipe = load_yaml(FAST, TrainConfig)
    with tempfile.TemporaryDirectory() as folder:
        result = train_and_evaluate(TrainConfig(**recipe, seed=seed, output_dir=folder))
        row = Run(result["run_dir"]).read_result()
        assert row is not None, "a run that has just been finished"
    return {"seconds": row["seconds"], "accuracy": row["test_accuracy"]}
