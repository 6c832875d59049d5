"""Run one worker: `python -m lenet_paddle.benchmark.workers NAME SIZE` prints one JSON line."""

from __future__ import annotations

import importlib
import json
import logging
import sys

from lenet_paddle.benchmark.measurements import find_module


def measure(worker: str, size: int) -> dict[str, float]:
    """Call a worker by its name. Raises KeyError for an unknown one."""
    return getattr(importlib.import_module(find_module(worker)), worker)(size)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
