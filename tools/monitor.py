"""Watch runs in a browser: start VisualDL and print its address.

  python tools/monitor.py --logdir output
  python tools/monitor.py --logdir output/lenet_builtin-mnist-001 --lang zh --open

Only this machine can reach it, and its telemetry is off; over SSH and in a container it prints
how to open it from yours. Stop it with Ctrl-C.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.settings import PATH


@dataclass(frozen=True)
class Args:
    logdir: Annotated[str, PATH] = "output"
    """The folder of the runs, or one run."""
    port: int = 8040
    """The port."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 lets every machine that reaches this one read the logs."""
    lang: Literal["en", "zh"] = "en"
    """The language of the pages."""
    open: bool = False
    """Open the address in the browser."""


def main() -> None:
    args = parse_args(Args, __doc__)

    from lenet_paddle.workflows.monitor import monitor

    monitor(
        Path(args.logdir),
        port=args.port,
        language=args.lang,
        open_browser=args.open,
        host=args.host,
    )


if __name__ == "__main__":
    run_tool(main)
