"""Errors that a tool reports in one line."""

from __future__ import annotations

_LONGEST_MESSAGE = 2000  # characters


class InputError(ValueError):
    """Bad input. The one-line message says what came, what was expected and how to mend it.

    Names in it may come from a file: control characters are escaped, and messages of over 2,000
    characters are shortened.
    """

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST_MESSAGE:
            text = f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 4 :]}"
        super().__init__("".join(map(_printable, text)))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\t\r\n" else character.encode("unicode_escape").decode()


class RunStopped(RuntimeError):
    """A run that ended early; `status` is the tool's exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
