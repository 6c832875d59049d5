"""Serve an exported model: a page to draw on, pictures over HTTP, and KServe's protocol.

  python tools/serve.py --model output/lenet_builtin-mnist-001/inference --workers 2
  curl -F files=@my_digit.jpg http://127.0.0.1:8000/predict
  curl http://127.0.0.1:8000/metrics

Prints the address once it answers: / is the page, /docs lists the endpoints. SIGTERM or Ctrl-C
ends it after the requests in progress. For other users put a proxy in front: docs/serving.md.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.serve.server import ServeConfig, serve


def main() -> None:
    serve(parse_args(ServeConfig, __doc__))


if __name__ == "__main__":
    run_tool(main)
