"""Errors with which the tools end in one line."""

from __future__ import annotations

_LONGEST_MESSAGE = 2000  # characters


class InputError(ValueError):
    """Bad input from outside: its one-line text says what came, what was expected, how to mend.

    Names in it may come from a file: characters that would command a terminal are written out,
    and what is too long to be read is shortened.
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
    """A run ended early for a reason; `status` is the exit status that a tool ends with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
