"""What the tools share: flags from a dataclass, and one clear line for bad input.

tyro was chosen over jsonargparse: its flags carry hyphens by themselves, its help shows each
field's docstring, choices and default in one place, it guesses what a mistyped flag meant, and
it starts as fast. jsonargparse reads YAML itself, which costs six lines here (`config.load_yaml`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lenet_paddle.errors import InputError, RunStopped
from lenet_paddle.settings import check_types, load_yaml

Settings = TypeVar("Settings")


def parse_args(
    cls: type[Settings], description: str | None, argv: Sequence[str] | None = None
) -> Settings:
    """Make a `cls` (a dataclass) from flags; a field `config` names a YAML file beneath them.

    Prints help and exits with 0 for `--help`; raises `InputError` for anything that does not fit.
    """
    import tyro

    args = list(sys.argv[1:] if argv is None else argv)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if "resume" in names:
        _refuse_beside_resume(args)
    path = _config_path(args) if "config" in names else None
    default: Any = tyro.MISSING_NONPROP
    if path is not None:
        default = _unchecked(cls, load_yaml(path, cls))
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(cls, args=args, default=default, description=description)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_one_line(errors.getvalue())) from None


def _refuse_beside_resume(args: Sequence[str]) -> None:
    """A resumed run has its own settings: flags that would be ignored are refused."""
    flags = [arg.partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--")]
    allowed = ("--resume", "--device", "--data-dir", "--help")
    others = [flag for flag in flags if flag not in allowed]
    if "--resume" in flags and others:
        raise InputError(
            f"--resume goes on with the run's own settings; leave out {', '.join(others)}, or "
            "start a new run from its weights with --init-from"
        )


def _unchecked(cls: type[Any], settings: dict[str, Any]) -> Any:
    """A `cls` with these settings, its ranges not yet checked: tyro does so with the flags in."""
    default = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(default, field.name, settings.get(field.name, field.default))
    check_types(default)
    return default


def _config_path(args: Sequence[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    try:
        return parser.parse_known_args(args)[0].config
    except (argparse.ArgumentError, SystemExit):
        raise InputError("--config needs the path of a YAML file") from None


def _one_line(boxed: str) -> str:
    """tyro's boxed message as one line, without frames, titles and the pointer to --help."""
    text = re.sub(r"╭─.*─╮|[╭╮╰╯│]|─{3,}", " ", re.sub(r"\x1b\[[0-9;]*m", "", boxed))
    text = " ".join(text.split())
    text = re.sub(r"( Argument helptext:.*)? ?For full helptext,.*", " (see --help)", text)
    return re.sub(r"^Error parsing (?!-)\S+ ", "", text)  # a class's name; a flag's stays


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool's `main`; end with its status, or with one line and status 2 for bad input."""
    tool = Path(sys.argv[0]).name
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is no reason
        if isinstance(stream, io.TextIOWrapper):  # to lose the answers
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # to stderr
    logging.getLogger("lenet_paddle").setLevel(logging.INFO)
    try:
        status = main() or 0
        sys.stdout.flush()
    except InputError as error:
        status = _complain(tool, str(error), 2)
    except RunStopped as stop:
        status = _complain(tool, str(stop), stop.status)
    except BrokenPipeError:
        sys.stdout = None  # who read us has gone: nothing to flush
        status = 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        status = _complain(tool, f"{where}{error.strerror or error}", 2)
    except KeyboardInterrupt:
        status = _complain(tool, "stopped by Ctrl-C", 130)
    sys.exit(status)


def _complain(tool: str, message: str, status: int) -> int:
    print(f"{tool}: error: {' '.join(message.split())}", file=sys.stderr)
    return status
