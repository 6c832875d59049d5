"""Run one worker: `python -m lenet_paddle.benchmark.workers WORKER SIZE` prints one JSON line.

A worker is the name of a function, or `NAME NETWORK`, as in "ours lenet5".
"""

from __future__ import annotations

import importlib
import json
import logging
import sys

from lenet_paddle.benchmark.measurements import find_module


def measure(worker: str, size: int) -> dict[str, float]:
    """Call a worker. Raises KeyError for an unknown one."""
    name, *network = worker.split()
    return getattr(importlib.import_module(find_module(worker)), name)(size, *network)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
