"""Settings: dataclasses whose fields carry their bounds, and strict YAML.

>>> @dataclass(frozen=True)
... class LoaderConfig(Settings):
...     batch_size: Annotated[int, COUNT] = 64
>>> LoaderConfig(batch_size=0)
InputError: batch_size is 0; expected a whole number of 1 or more
"""

from __future__ import annotations

import codecs
import os
import re
import reprlib
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import yaml

from lenet_paddle.errors import InputError
from lenet_paddle.files import open_file

_MOST_YAML = 1_000_000  # bytes
_MOST_DIGITS = 100  # of a number in it


@dataclass(frozen=True)
class Bound:
    """The valid values of a field, declared as `field: Annotated[type, Bound(...)]`."""

    holds: Callable[[Any], bool]
    words: str
    """What was expected, for the error message."""


def between(low: float, high: float, what: str = "a number") -> Bound:
    """Return the bound of a number in [low, high]."""
    return Bound(lambda v: low <= v <= high, f"{what} from {low} to {high}")


COUNT = Bound(lambda v: v >= 1, "a whole number of 1 or more")
NATURAL = Bound(lambda v: v >= 0, "a whole number of 0 or more")
SHARE = between(0, 1)
BELOW_1 = Bound(lambda v: 0 <= v < 1, "a number from 0 to below 1")
POSITIVE = Bound(lambda v: 0 < v <= sys.float_info.max, "a number above 0")
NOT_NEGATIVE = Bound(lambda v: 0 <= v <= sys.float_info.max, "a number of 0 or more")


class Default(int):
    """A default that code can tell from the same number given by the user."""


PER_COMMAND = "belongs to one command and is not kept with the run"
PATH = "a path, or a list of them, in which ~ stands for the home folder"
USER_HOME = "LENET_PADDLE_USER_HOME"  # the user's home, where `runtime` gives libraries another


@dataclass(frozen=True)
class Settings:
    """Base of the groups of settings. Raises `InputError` for a value of a wrong type or range.

    A dataclass that is made of groups calls `_check_together` once it is whole.
    """

    def __post_init__(self) -> None:
        check_types(self)
        expand_paths(self)
        for name, marks in _marks(type(self)).items():
            value = getattr(self, name)
            for bound in marks:
                if isinstance(bound, Bound) and value is not None and not bound.holds(value):
                    raise InputError(f"{name} is {reprlib.repr(value)}; expected {bound.words}")

    def _check_together(self) -> None:
        """Raise `InputError` for settings that contradict each other."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that a run keeps in its YAML file: all but those `PER_COMMAND`."""
        values = {
            n: getattr(self, n)
            for n, marks in _marks(type(self)).items()
            if PER_COMMAND not in marks
        }
        return {n: int(v) if isinstance(v, Default) else v for n, v in values.items()}


def _marks(cls: type[Any]) -> dict[str, tuple[Any, ...]]:
    """Return the metadata of each field's `Annotated` type."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}


def expand_paths(settings: Any) -> None:
    """Replace `~` in the fields of a dataclass that are marked `PATH`. Raises `InputError`."""
    for name in path_fields(type(settings)):
        value = getattr(settings, name)
        if isinstance(value, str):
            object.__setattr__(settings, name, expand_home(value))
        elif isinstance(value, list):
            object.__setattr__(settings, name, [expand_home(path) for path in value])


def path_fields(cls: type[Any]) -> list[str]:
    """Return the names of the fields that are marked `PATH`."""
    return [name for name, marks in _marks(cls).items() if PATH in marks]


def expand_home(path: str) -> str:
    """Return `path` with a leading `~` or `~user` replaced by that home, as a shell does.

    Raises `InputError` for `~` where there is no home. An unknown `~user` stays as it is.
    """
    if not path.startswith("~"):
        return path
    if path[1:2] not in ("", "/", os.sep):
        return os.path.expanduser(path)  # noqa: PTH111  pathlib raises for an unknown user
    home = user_home()
    if home is None:
        raise InputError(
            f"{path}: there is no home folder (HOME is not set and this user has no passwd "
            "entry); write the whole path"
        )
    return home + path[1:]


def user_home() -> str | None:
    """Return the user's home folder, which may not exist; None where there is none."""
    home = os.environ.get(USER_HOME) or os.path.expanduser("~")  # noqa: PTH111
    return None if home == "~" else home


def check_types(settings: Any) -> None:
    """Raise `InputError` for the first field of a dataclass whose value does not fit its type."""
    for name, hint in typing.get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if not _fits(value, hint):
            raise InputError(f"{name} is {reprlib.repr(value)}; expected {describe(hint)}")


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def describe(hint: Any) -> str:
    """Return a type in the words of an error message: `one of a, b`, `a whole number` ..."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin in (typing.Union, UnionType):
        return " or ".join(describe(part) for part in typing.get_args(hint))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "a list" if origin is list else "null")


class _PlainLoader(yaml.SafeLoader):
    """A YAML loader that refuses aliases, duplicate keys, numbers of over 100 characters, and those
    that YAML 1.1 reads as something else than they seem: 010 is 8, 1:30 is 90."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="it has an alias (*name), write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []  # `!!map [a]` is none
        seen: set[str] = set()
        for key in (key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)):
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"it has the key {key:.40} twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        is_number = node.tag.endswith((":int", ":float"))
        if is_number and len(node.value) > _MOST_DIGITS:
            raise yaml.MarkedYAMLError(problem=f"it has a number of {len(node.value)} characters")
        is_octal = node.tag.endswith(":int") and re.match(r"[-+]?0[\d_]", node.value)
        if is_octal or (is_number and ":" in node.value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value} is base 8 or 60; write a decimal number, or a text in quotes"
            )
        return super().construct_scalar(node)


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file of plain values. Raises `InputError`."""
    try:
        with open_file(Path(path)) as file:
            data = file.read(_MOST_YAML + 1)
        if len(data) > _MOST_YAML:
            raise ValueError(f"over {_MOST_YAML:,} bytes")
        is_utf16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as PowerShell's `>`
        return yaml.load(data.decode("utf-16" if is_utf16 else "utf-8"), _PlainLoader)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a YAML file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not YAML in UTF-8; save it with that encoding") from None
    except Exception as error:  # PyYAML raises nearly anything: `!!bool x`, `!!int ""`
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({reason}); expected `key: value` lines") from None


def load_yaml(path: str | Path, cls: type[Any]) -> dict[str, Any]:
    """Read settings for `cls` from a YAML file of `key: value` lines.

    Raises `InputError` for a missing or malformed file and for unknown keys.
    """
    settings = read_yaml(path)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(f"{path}: holds a {type(settings).__name__}; expected `key: value` lines")
    hints = typing.get_type_hints(cls)
    unknown = [str(key) for key in settings if key not in hints]
    if unknown:
        raise InputError(f"{path}: unknown key {', '.join(unknown)}; valid are {', '.join(hints)}")
    for key, value in settings.items():
        if hints[key] == str | None and type(value) is int:  # `freeze: 1`, `seeds: 0`
            settings[key] = str(value)
        # YAML 1.1 reads 1e-3 as text.
        if hints[key] in (float, float | None) and isinstance(value, str):
            try:
                settings[key] = float(value)
            except ValueError:
                raise InputError(f"{path}: {key} is {value!r}; expected a number") from None
    return settings
