"""The words in figures, in English or Chinese.

Plots write both at the place of use, so that one English word can have two translations:
`say("value", "函数值")` in one figure, `say("value", "像素值")` in another.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, Literal

Lang = Literal["en", "zh"]
_language = contextvars.ContextVar("language", default="en")


def say(english: str, chinese: str, **values: Any) -> str:
    """Return the text of the chosen language, its `{names}` filled in with `values`."""
    return (chinese if _language.get() == "zh" else english).format(**values)


@contextlib.contextmanager
def language(name: str) -> Iterator[None]:
    """Write the figures made inside the block in `name`: "en" or "zh"."""
    token = _language.set(name)
    try:
        yield
    finally:
        _language.reset(token)
