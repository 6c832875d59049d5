"""Errors that a tool reports in one line, and the commands that it proposes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], object]
"""Takes a line about input that is used, but odd."""

_TOOLS = Path(__file__).resolve().parents[1] / "tools"
_LONGEST_MESSAGE = 2000  # characters


class InputError(ValueError):
    """Bad input. The one-line message says what came, what was expected and how to mend it.

    Names in it may come from a file: control characters are escaped, and messages of over 2,000
    characters are shortened.
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, shortened if it is over 2,000 characters.

    A line break becomes one space; other spaces stay, since they may be in a path.
    """
    text = re.sub(r"[ \t]*[\r\n]\s*", " ", text)
    if len(text) > _LONGEST_MESSAGE:
        text = f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 4 :]}"
    return printable(text.replace("\t", " "))


def printable(text: str) -> str:
    """Escape line breaks, control codes and broken bytes, as names of files may hold them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class RunStopped(RuntimeError):
    """A run that ended early; `status` is the tool's exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def quote(*words: object) -> str:
    """Return words of a command as text to paste into a shell, quoted where they need it."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def tool_line(name: str, *words: object) -> str:
    """Return the command that starts tools/<name>.py from the current folder with `words`."""
    here, own = Path("tools") / f"{name}.py", _TOOLS / f"{name}.py"
    return quote("python", own if own.is_file() and not here.is_file() else here, *words)
