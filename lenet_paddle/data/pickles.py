"""Read pickles from untrusted sources without running code in them.

A pickle can call any function; the reader here accepts only the opcodes that write arrays and
plain containers.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_paddle.errors import InputError
from lenet_paddle.files import describe_content

# The opcodes that protocols 2 to 4 write for arrays, names, numbers and containers, and two of
# Python 2 for text. Those for objects, sets and external data are left out.
_ALLOWED = b"".join(
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
_MOST_STEPS = 1_000_000  # an array takes about 20
_LARGEST = 4  # times the file's size; one array may appear under two names
_NUMBERS = re.compile(r"[fiu][1248]|b1")


class _NumberType:
    """Takes the place of `numpy.dtype`, which accepts far more than number types."""

    def __init__(self, text: str, align: bool = False, copy: bool = False) -> None:
        if not _NUMBERS.fullmatch(text):
            raise InputError(f"it has an array of {text:.40}; expected numbers")
        self.dtype = np.dtype(text)


class _Array:
    """Takes the place of an array: created empty, whatever its shape, and filled later."""

    view: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass


def _make_dict() -> dict[str, Any]:
    return {}


def _make_tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(items, tuple):
        raise InputError(f"it makes a tuple of a {type(items).__name__}")
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
    """Opcode -> handler. Counts the opcodes, since a single byte may create an object."""

    def __init__(self, own: dict[bytes, Callable[[_Reader], None]]) -> None:
        base = pickle._Unpickler.dispatch
        self.known: dict[int, Callable[[Any], None]] = {code: base[code] for code in _ALLOWED}
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
    """Unpickle arrays and plain containers; refuse every other name or opcode in the file.

    Based on the unpickler written in Python: the one in C allocates whatever a length in the file
    says.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes, with_lists: bool) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.with_lists = with_lists
        self.left = _LARGEST * len(data)
        self.dispatch = _Steps(  # type: ignore[misc,assignment]  # load() only indexes it
            {
                pickle.REDUCE: _Reader.load_reduce,
                pickle.BUILD: _Reader.load_build,
                pickle.SETITEM: _Reader.load_setitem,
                pickle.SETITEMS: _Reader.load_setitems,
            }
        )

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name in the file."""
        if (module, name) not in _KNOWN:
            what = f"{module:.40}.{name:.40}"
            raise InputError(f"it refers to {what}; only arrays and plain containers are read")
        return _KNOWN[module, name]

    def load_reduce(self) -> None:
        """Call a stand-in with at most three arguments."""
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(args, tuple) or len(args) > 3:
            raise InputError("it makes a call with other than 0 to 3 arguments")
        if function is _encode_latin1:
            self.spend(len(args[0]))
        self.stack.append(function(*args))

    def load_build(self) -> None:
        """Fill an array or its dtype; refuse to set attributes of anything else."""
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
        """Set one item of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self) -> None:
        """Set many items of a dict."""
        self.set_items(self.pop_mark())

    def set_items(self, items: list[Any]) -> None:
        """Set items with text keys only: hashing deeply nested tuples may never end."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise InputError(f"it has a key that is a {type(key).__name__}; expected names")
            self.stack[-1][key] = value

    def spend(self, size: int) -> None:
        """Limit the total size of arrays: the file may use one part again and again."""
        self.left -= size
        if self.left < 0:
            raise InputError(f"it unpacks to over {_LARGEST} times its own size")

    def plain(self, content: dict[str, Any], seen: set[int]) -> dict[str, Any]:
        """Return the arrays, texts and numbers in `content` by name.

        (name, array) pairs, as paddle.save writes tensors, become arrays; anything else is left
        out. `seen` holds the ids of the dicts so far.
        """
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
            elif isinstance(value, list) and self.with_lists:
                if all(type(one) is int for one in value):
                    plain[key] = value
            elif isinstance(value, (str, int, float, type(None))):
                plain[key] = value
        return plain

    def copy(self, made: _Array) -> np.ndarray:
        """Return the array in native byte order."""
        if made.view is None:
            raise InputError("it has an array without content")
        self.spend(made.view.nbytes)
        return made.view.astype(made.view.dtype.newbyteorder("="))


def _view(content: bytes, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    """Return bytes of the file as an array, without allocating."""
    is_shape = isinstance(shape, tuple) and len(shape) <= 32
    if not is_shape or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise InputError("it has an array of an impossible shape")
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * dtype.itemsize:
        raise InputError(f"it has an array of shape {shape} with more or fewer numbers in it")
    return np.ndarray(shape, dtype, content, order=order)


def read_pickle(data: bytes, source: object, what: str, with_lists: bool = False) -> dict[str, Any]:
    """Return the arrays, texts, numbers, and dicts of these, by name, of a pickled dict.

    With `with_lists` lists of whole numbers, too. Runs no code in it. Raises `InputError`, in which
    `source` is where the data comes from and `what` is what was expected.
    """
    hint = describe_content(data[:200])
    reader = _Reader(data, with_lists)
    try:
        content = reader.load()
        if not isinstance(content, dict):
            raise InputError(f"it holds a {type(content).__name__}; expected named arrays")
        return reader.plain(content, set())
    except InputError as error:
        raise InputError(f"{source}: refused, {error}{hint}") from None
    except Exception as error:  # a broken pickle raises nearly anything
        reason = f"{type(error).__name__}: {reprlib.repr(str(error))}"
        raise InputError(f"{source}: not {what} ({reason}){hint}") from None
