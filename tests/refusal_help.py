"""What is refused is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lenet_paddle.errors import InputError


def refusal(call: Callable[[], object]) -> str:
    """Return the message of the `InputError` that `call` raises, which is one line."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refusal_of(path: Path, load: Callable[[], object]) -> str:
    """Return the message with which `load` refuses `path`, which it names."""
    message = refusal(load)
    assert str(path) in message
    return message
