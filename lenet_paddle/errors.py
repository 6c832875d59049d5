"""Errors that a tool reports in one line."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], object]
"""Takes a line about input that is used, but odd."""

_LONGEST_MESSAGE = 2000  # characters


class InputError(ValueError):
    """Bad input. The one-line message says what came, what was expected and how to mend it.

    Names in it may come from a file: control characters are escaped, and messages of over 2,000
    characters are shortened.
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


def one_line(text: str) -> str:
    """Return `text` with control characters escaped, shortened if it is over 2,000 characters."""
    if len(text) > _LONGEST_MESSAGE:
        text = f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 4 :]}"
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\t\r\n" else character.encode("unicode_escape").decode()


class RunStopped(RuntimeError):
    """A run that ended early; `status` is the tool's exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
