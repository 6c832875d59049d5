"""Settings: dataclass fields checked by their types, and strict YAML."""

from __future__ import annotations

import dataclasses
import reprlib
import typing
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import yaml

from lenet_paddle.errors import InputError

_MOST_YAML = 1_000_000  # bytes
_MOST_DIGITS = 100  # of a number in it


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
    """A type as a reader of an error message wants it: `one of a, b`, `a whole number` ..."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if origin in (typing.Union, UnionType):
        return " or ".join(describe(part) for part in typing.get_args(hint))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "a list" if origin is list else "null")


class _PlainLoader(yaml.SafeLoader):
    """YAML without what can hide or grow: aliases, keys that stand twice, endless numbers."""

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
        if node.tag.endswith((":int", ":float")) and len(node.value) > _MOST_DIGITS:
            raise yaml.MarkedYAMLError(problem=f"it has a number of {len(node.value)} characters")
        return super().construct_scalar(node)


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file of plain values. Raises `InputError`."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_YAML + 1)
        if len(data) > _MOST_YAML:
            raise ValueError(f"over {_MOST_YAML:,} bytes")
        return yaml.load(data.decode(), _PlainLoader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a YAML file") from None
    except Exception as error:  # PyYAML raises nearly anything: `!!bool x`, `!!int ""`
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({reason}); expected `key: value` lines") from None


def load_yaml(path: str | Path, cls: type[Any]) -> dict[str, Any]:
    """Read settings for `cls` from a YAML file of `key: value` lines.

    Raises `InputError` for a file that is missing or no such YAML, and for unknown keys.
    """
    settings = read_yaml(path)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise InputError(f"{path}: holds a {type(settings).__name__}; expected `key: value` lines")
    hints = typing.get_type_hints(cls)
    for given in dataclasses.fields(cls):
        if not given.init:
            del hints[given.name]
    unknown = [str(key) for key in settings if key not in hints]
    if unknown:
        raise InputError(f"{path}: unknown key {', '.join(unknown)}; valid are {', '.join(hints)}")
    for key, value in settings.items():
        if hints[key] == str | None and type(value) is int:  # `freeze: 1`, `seeds: 0`
            settings[key] = str(value)
        if hints[key] in (float, float | None) and isinstance(
            value, str
        ):  # YAML 1.1 reads 1e-3 as text
            try:
                settings[key] = float(value)
            except ValueError:
                raise InputError(f"{path}: {key} is {value!r}; expected a number") from None
    return settings
