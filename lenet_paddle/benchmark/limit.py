"""The machine's rate of float32 arithmetic: a loop of multiply-adds, and a matrix product."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lenet_paddle.analysis.layers import analyse_model

CHAINS = 12  # independent sums that hide the latency of an FMA, within 16 registers
SIDE = 1024  # of the matrices
SOURCE = f"""
#if defined(__AVX512F__)
enum {{ WIDTH = 16 }};
#elif defined(__AVX__)
enum {{ WIDTH = 8 }};
#else
enum {{ WIDTH = 4 }};
#endif
typedef float vector __attribute__((vector_size(4 * WIDTH)));
int width(void) {{ return WIDTH; }}
float run(long steps, float factor) {{
    vector a = factor - (vector){{0}}, b = a * 0.5f, sums[{CHAINS}], total = b;
    for (int i = 0; i < {CHAINS}; i++) sums[i] = b * (float)i;
    while (steps--) for (int i = 0; i < {CHAINS}; i++) sums[i] = sums[i] * a + b;
    for (int i = 0; i < {CHAINS}; i++) total += sums[i];
    float result = 0;
    for (int i = 0; i < WIDTH; i++) result += total[i];
    return result;
}}
"""


def measure_rates() -> dict[str, float]:
    """Return GFLOP/s of all cores of this process; `fma_gflop_per_s` only where there is `cc`."""
    matrix = np.ones((SIDE, SIDE), np.float32)
    rates = {"sgemm_gflop_per_s": 2 * SIDE**3 / _shortest(lambda: matrix @ matrix) / 1e9}
    if shutil.which("cc") is None:
        return rates
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fma.so"
        command = ["cc", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        command += ["-xc", "-", "-o", str(library)]
        subprocess.run(command, input=SOURCE, text=True, check=True)
        functions = ctypes.CDLL(str(library))
    steps, cores = 5_000_000, len(os.sched_getaffinity(0))
    arguments = [(ctypes.c_long(steps), ctypes.c_float(0.999))] * cores
    with ThreadPoolExecutor(cores) as threads:  # a call through ctypes releases Python's lock
        seconds = _shortest(lambda: list(threads.map(lambda pair: functions.run(*pair), arguments)))
    operations = 2 * CHAINS * functions.width() * steps * cores
    return {"fma_gflop_per_s": operations / seconds / 1e9, **rates}


def _shortest(function: Callable[[], object], times: int = 7) -> float:
    """Return the seconds of the quickest of some calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return min(taken)


def count_training_flops(network: str) -> int:
    """Count the operations of a training step for one image, two for a multiply-add.

    Those of the forward pass are repeated for the gradients of the weights and of each layer's
    input, but for the images, which need none. Activations, pooling and optimizer are left out.
    """
    macs = [row.macs for row in analyse_model(network) if row.macs]
    return 2 * (3 * sum(macs) - macs[0])
