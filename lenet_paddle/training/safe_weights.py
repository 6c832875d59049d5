"""Files of weights, read without trust: names, shapes, numbers, and no code.

safetensors is made for that (github.com/huggingface/safetensors). Paddle's `.pdparams` and
`.pdopt` are pickles, which can name any function to be called; of those, only the steps that write
arrays and plain containers are taken.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.runtime import need


def is_safetensors(path: Path) -> bool:
    """Whether a file is one by its name, or by how it begins: a cache may hold it under another
    name, to which a link led."""
    with path.open("rb") as file:
        start = file.read(9)  # the length of a JSON text, 8 bytes, and its first character
    return path.suffix == ".safetensors" or start[8:] == b"{"


def save_safetensors(
    path: Path, weights: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write name -> array to `path`. Raises `InputError` where the package is missing."""
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    need("safetensors.numpy").save_file(arrays, str(path), metadata)


def load_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a `.safetensors` file as name -> array. Raises `InputError` for a damaged one."""
    numpy_format = need("safetensors.numpy")
    try:
        weights = numpy_format.load_file(str(path))
    except OSError:
        raise
    except Exception as error:  # SafetensorError, KeyError for a type that NumPy has not ...
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: not a safetensors file ({reason})") from None
    if not weights:
        raise InputError(f"{path}: holds no arrays; expected a network's weights")
    return weights


# The steps of a pickle that protocols 2 to 4 write for arrays, names, numbers and containers; and
# two of Python 2, for its texts. Left out are those for objects, sets and what lies elsewhere.
_TAKEN = b"".join(
    [
        *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK),
        *(pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
        *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE, pickle.BUILD),
        *(pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
        *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
        *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
        *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BINFLOAT),
        *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1),
        *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8),
        *(pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8),
        *(pickle.BINSTRING, pickle.SHORT_BINSTRING),
    ]
)
_MOST_STEPS = 1_000_000  # an array has about 20
_LARGEST = 4  # times the file's size: what is read from it; one array may stand under two names
_NUMBERS = re.compile(r"[fiu][1248]|b1")


class _NumberType:
    """What stands for `numpy.dtype`, which itself takes far more than the types of numbers."""

    def __init__(self, text: str, align: bool = False, copy: bool = False) -> None:
        if not _NUMBERS.fullmatch(text):
            raise InputError(f"it has an array of {text:.40}; expected numbers")
        self.dtype = np.dtype(text)


class _Array:
    """What stands for an array: made empty first, whatever shape is given, and filled later."""

    view: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass


def _make_dict() -> dict[str, Any]:
    return {}


def _make_tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise InputError("it makes a tuple of something else")
    return items


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise InputError("it encodes text, but not as latin1")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,  # named as the kind of array to make
    ("numpy", "dtype"): _NumberType,
    ("collections", "OrderedDict"): _make_dict,
    ("builtins", "tuple"): _make_tuple,  # paddle.save writes a tensor as tuple((name, array))
    ("__builtin__", "tuple"): _make_tuple,  # the same in protocol 2
    ("_codecs", "encode"): _encode_latin1,  # how protocol 2 writes bytes
}


class _Steps:
    """Gives the reader what to do for each step; counts them, for one byte may make an object."""

    def __init__(self, own: dict[bytes, Callable[[_Reader], None]]) -> None:
        base = pickle._Unpickler.dispatch
        self.known: dict[int, Callable[[Any], None]] = {code: base[code] for code in _TAKEN}
        self.known |= {code[0]: handler for code, handler in own.items()}
        self.left = _MOST_STEPS

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise InputError(f"it has over {_MOST_STEPS:,} steps; files of weights have few")
        if code not in self.known:
            raise InputError(
                f"it has a step {bytes([code])!r} of a pickle; only arrays and plain containers "
                "are read"
            )
        return self.known[code]


class _Reader(pickle._Unpickler):
    """Reads arrays and plain containers; every other name or step in the file is refused.

    It rests on Python's own reader that is written in Python: the one in C allocates whatever a
    length or a number in the file says.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.left = _LARGEST * len(data)
        self.dispatch = _Steps(  # type: ignore[misc,assignment]  # all that load() does is ask it
            {
                pickle.REDUCE: _Reader.load_reduce,
                pickle.BUILD: _Reader.load_build,
                pickle.SETITEM: _Reader.load_setitem,
                pickle.SETITEMS: _Reader.load_setitems,
            }
        )

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in the file."""
        if (module, name) not in _KNOWN:
            what = f"{module:.40}.{name:.40}"
            raise InputError(f"it refers to {what}; only arrays and plain containers are read")
        return _KNOWN[module, name]

    def load_reduce(self) -> None:
        """Call one of those with the few arguments that it takes."""
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(args, tuple) or len(args) > 3:
            raise InputError("it calls something with more than it takes")
        if function is _encode_latin1:
            self.spend(len(args[0]))
        self.stack.append(function(*args))

    def load_build(self) -> None:
        """Fill an array or its type; anything else would get attributes from the file."""
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, _NumberType):
            made.dtype = made.dtype.newbyteorder(state[1])
        elif isinstance(made, _Array):
            _, shape, number_type, is_fortran, content = state
            if isinstance(content, str):  # Python 2's
                self.spend(len(content))
                content = content.encode("latin1")
            made.view = _view(content, number_type.dtype, shape, "F" if is_fortran else "C")
        else:
            raise InputError("it sets attributes; only arrays and plain containers are read")

    def load_setitem(self) -> None:
        """Put one (name, value) into a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self) -> None:
        """Put many."""
        self.set_items(self.pop_mark())

    def set_items(self, items: list[Any]) -> None:
        """Names only: the hash of a tuple of tuples of tuples ... may take for ever."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise InputError(f"it has a key that is a {type(key).__name__}; expected names")
            self.stack[-1][key] = value

    def spend(self, size: int) -> None:
        """Count what is made against the file's size: a part of it may be used again and again."""
        self.left -= size
        if self.left < 0:
            raise InputError(f"it unpacks to over {_LARGEST} times its own size")

    def plain(self, content: dict[str, Any], seen: set[int]) -> dict[str, Any]:
        """The arrays, texts and numbers in `content`, by name; (name, array) pairs, as paddle.save
        writes tensors, become arrays. Anything else is left out. `seen` are the dicts so far."""
        if id(content) in seen:
            raise InputError("it has one dict in several places")
        seen.add(id(content))
        plain: dict[str, Any] = {}
        for key, value in content.items():
            if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], _Array):
                value = value[1]
            if isinstance(value, _Array):
                plain[key] = self.copy(value)
            elif isinstance(value, dict):
                plain[key] = self.plain(value, seen)
            elif isinstance(value, (str, int, float, type(None))):
                plain[key] = value
        return plain

    def copy(self, made: _Array) -> np.ndarray:
        """The array, in this machine's order of bytes."""
        if made.view is None:
            raise InputError("it has an array without content")
        self.spend(made.view.nbytes)
        return made.view.astype(made.view.dtype.newbyteorder("="))


def _view(content: bytes, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    """The bytes in the file as an array; nothing is allocated."""
    is_shape = isinstance(shape, tuple) and len(shape) <= 32
    if not is_shape or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise InputError("it has an array of a shape that cannot be")
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * dtype.itemsize:
        raise InputError(f"it has an array of shape {shape} with more or fewer numbers in it")
    return np.ndarray(shape, dtype, content, order=order)


def load_pickle(path: Path) -> dict[str, Any]:
    """The content of a `.pdparams` or `.pdopt` file, by name: arrays, texts, numbers, and dicts of
    these; nothing in it is executed. Raises `InputError`."""
    reader = _Reader(path.read_bytes())
    try:
        content = reader.load()
        if not isinstance(content, dict):
            raise InputError(f"it holds a {type(content).__name__}; expected named arrays")
        return reader.plain(content, set())
    except InputError as error:
        raise InputError(f"{path}: refused, {error}") from None
    except Exception as error:  # a broken pickle raises nearly anything
        reason = f"{type(error).__name__}: {reprlib.repr(str(error))}"
        raise InputError(f"{path}: not a file of Paddle weights ({reason})") from None
