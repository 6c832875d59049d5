"""What the tools share: flags from dataclasses, and one clear line for bad input.

tyro was chosen over jsonargparse: it writes flags with hyphens, shows each field's docstring,
choices and default in --help, proposes the right flag for a mistyped one, and starts as fast.
jsonargparse reads YAML by itself; here `settings.load_yaml` does.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import dataclasses
import errno
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lenet_paddle import runtime
from lenet_paddle.errors import InputError, RunStopped, printable
from lenet_paddle.settings import (
    Settings,
    check_types,
    expand_home,
    expand_paths,
    load_yaml,
    path_fields,
)

Config = TypeVar("Config")
MORE_MEMORY = "use a smaller --batch-size, network or data set, or stop other programs"


def parse_args(
    cls: type[Config], description: str | None, argv: Sequence[str] | None = None
) -> Config:
    """Make a `cls` (a dataclass) from flags; a field `config` names a YAML file of defaults.

    The flags of a class that is made of groups of `Settings` are listed by group. Prints help
    and exits with 0 for `--help`; raises `InputError` for bad flags and values.
    """
    import tyro

    args = list(sys.argv[1:] if argv is None else argv)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    if "resume" in names:
        _refuse_beside_resume(args, getattr(cls, "beside_resume", ()))
    path = _config_path(args) if "config" in names else None
    given = {} if path is None else load_yaml(expand_home(path), cls)
    groups = [b for b in reversed(cls.__bases__) if issubclass(b, Settings) and b is not Settings]
    flags: Any = _group_flags(cls, groups, given) if groups else cls
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = tyro.cli(
                flags, args=args, description=description, config=(tyro.conf.OmitArgPrefixes,)
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        file = next((arg for arg in args if arg.startswith("-") and os.path.lexists(arg)), None)
        if file is not None and "--" not in args:  # from a pattern such as *.png
            raise InputError(
                f"{file}: a file whose name begins like a flag; write ./*.png instead of *.png, "
                "or -- before the names"
            ) from None
        raise InputError(_one_line(errors.getvalue())) from None
    if groups:
        parts = vars(parsed).values()
        parsed = cls(**{name: value for part in parts for name, value in vars(part).items()})
    expand_paths(parsed)
    runtime.give_home(_written_folders(parsed))
    return parsed


def _written_folders(settings: Any) -> Iterator[Path]:
    """Yield the folders that the settings name for output, or those above them that exist."""
    names = path_fields(type(settings))
    for name in ("output_dir", "out", "chart", "run", "runs", "resume", "logdir", "model"):
        value = getattr(settings, name) if name in names else None
        for text in [value] if isinstance(value, str) else value or ():
            path = Path(text).absolute()
            yield next(folder for folder in (path, *path.parents) if folder.is_dir())


def _group_flags(cls: type[Any], groups: list[type[Any]], given: dict[str, Any]) -> type[Any]:
    """Make a dataclass with a field per group, whose defaults are those of `cls` and `given`.

    The defaults' types are checked, but not their ranges, which flags may mend.
    """
    values = {field.name: given.get(field.name, field.default) for field in dataclasses.fields(cls)}
    fields: list[Any] = []
    for group in groups:
        default = object.__new__(group)
        vars(default).update({f.name: values[f.name] for f in dataclasses.fields(group)})
        check_types(default)
        title = group.__name__.removesuffix("Config").lower()
        fields.append((title, group, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(cls.__name__, fields)


def _refuse_beside_resume(args: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise `InputError` for flags that a resumed run, with its own settings, would ignore."""
    flags = [arg.partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--")]
    allowed = ("--resume", "--device", "--data-dir", "--help", *allowed)
    others = [flag for flag in flags if flag not in allowed]
    if "--resume" in flags and others:
        raise InputError(
            f"--resume uses the run's own settings; leave out {', '.join(others)}, or "
            "start a new run from its weights with --init-from"
        )


def _config_path(args: Sequence[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    try:
        return parser.parse_known_args(args)[0].config
    except (argparse.ArgumentError, SystemExit):
        raise InputError("--config needs the path of a YAML file") from None


def _one_line(boxed: str) -> str:
    """Return tyro's boxed message as one line, without frames, titles and the --help pointer."""
    text = re.sub(r"╭─.*─╮|[╭╮╰╯│]|─{3,}", " ", re.sub(r"\x1b\[[0-9;]*m", "", boxed))
    text = " ".join(text.split())
    text = re.sub(r"( Argument helptext:.*)? ?For full helptext,.*", " (see --help)", text)
    return re.sub(r"^Error parsing (?!-)\S+ ", "", text)  # a class's name; a flag's stays


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool's `main`; end with its status, or with one line and status 2 for bad input."""
    _use_utf8()
    tool = Path(sys.argv[0]).name
    _open_streams()
    for stream in (sys.stdout, sys.stderr):  # print names that the terminal cannot show, escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="json_escape")
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[to_stderr])
    logging.getLogger("lenet_paddle").setLevel(logging.INFO)
    try:
        status = main() or 0
        sys.stdout.flush()
    except InputError as error:
        status = _complain(tool, str(error), 2)
    except RunStopped as stop:
        status = _complain(tool, str(stop), stop.status)
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone: nothing to flush
        status = 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        if error.errno == errno.ENOENT and not where:  # as os.getcwd raises it
            reason = "the current folder was deleted; change to another one"
        status = _complain(tool, f"{where}{reason}", 2)
    except MemoryError as error:  # NumPy's, or Paddle's with its place in C++ in further lines
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        status = _complain(tool, f"out of memory{reason}; {MORE_MEMORY}", 2)
    except KeyboardInterrupt:
        status = _complain(tool, "stopped by Ctrl-C", 130)
    sys.exit(status)


def _use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode if its encoding is ASCII.

    As with LC_ALL=C where PYTHONUTF8=0 says so: names of files, and of classes, that are not ASCII
    could be neither read nor written. The environment passes the mode on to child processes.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if is_ascii and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks as JSON does, so that JSON stays valid: é as \\u00e9."""
    assert isinstance(error, UnicodeEncodeError)
    escaped = json.dumps(error.object[error.start : error.end])  # ensure_ascii is its default
    return escaped[1:-1], error.end


codecs.register_error("json_escape", _escape)


class _OneLine(logging.Formatter):
    """Messages may hold names of files, and these line breaks and a terminal's control codes."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.exc_info else printable(text)


def _open_streams() -> None:
    """Open the null device in the place of closed standard streams (a daemon's, `2>&-`).

    Else printing fails, and the next file that is opened, such as a checkpoint, gets the number
    to which C++ libraries print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115, PTH123  lives as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115, PTH123


def _complain(tool: str, message: str, status: int) -> int:
    line = re.sub(r"\s*[\r\n]\s*", " ", message.strip())  # other spaces may be in a path
    print(f"{tool}: error: {printable(line)}", file=sys.stderr)
    return status
