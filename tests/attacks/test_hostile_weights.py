"""Hostile `.pdparams` and `.pdopt` files: each is one line, runs nothing, is quick, stays small.

One process reads them all; it may take 1 GB more than it has before the first.
"""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lenet_paddle.errors import InputError
from lenet_paddle.training.safe_weights import load_pickle

SECONDS = 5.0  # of the processor, for one file
READ_ALL = """
import json, resource, sys, time
from pathlib import Path
from lenet_paddle.errors import InputError
from lenet_paddle.training import weights as weight_files

size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30),) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    for load in (weight_files.load_weights, weight_files.load_optimizer_state):
        start = time.process_time()
        try:
            said = f"read {sorted(load(path))}"
        except InputError as error:
            said = str(error)
        row = [path.name, load.__name__, said, time.process_time() - start]
        print(json.dumps(row), flush=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


class _Reduce:
    """Whatever `pickle.dumps` shall have called, and with which state."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.made = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> Any:
        return self.made


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


DTYPE = _name("numpy", "dtype") + _text("f4") + b"\x89\x88\x87R"
EMPTY = _name("numpy.core.multiarray", "_reconstruct") + _name("numpy", "ndarray") + b"K\0\x85"
EMPTY += b"C\x01b\x87R"


def _array(shape: bytes, content: bytes, dtype: bytes = DTYPE) -> bytes:
    """The steps that fill an array: the state is (1, shape, dtype, False, content)."""
    return EMPTY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def _named(steps: bytes) -> bytes:
    return b"\x80\x04}" + _text("weight") + steps + b"s."


def _doubled(steps: bytes, double: bytes, times: int = 100) -> bytes:
    """A value, and behind it `times` a container that holds the one before twice."""
    return steps + b"".join(b"q\x01" + double for _ in range(times)) + b"q\x01"


TUPLES = b"](" + _doubled(b")", b"h\x01\x86") + b"e"  # the last one is the memo's number 1


def _torch(canary: Path) -> bytes:
    """A zip of a pickle whose tensors lie outside it, as torch.save writes them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Reduce(os.system, f"touch {canary}")))
    return out.getvalue()


def _persistent(canary: Path) -> bytes:
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 2)
    pickler.persistent_id = lambda obj: ("storage", "0") if obj == "outside" else None  # type: ignore[method-assign]
    pickler.dump({"weight": "outside"})
    return out.getvalue()


def _many(steps: bytes, count: int) -> bytes:
    return b"\x80\x04" + steps * count + b"."


# What stands in the file, for a file `canary` that would exist if any of it were run.
HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda c: pickle.dumps(_Reduce(os.system, f"touch {c}"), 2),
    "os.system, protocol 0": lambda c: pickle.dumps(_Reduce(os.system, f"touch {c}"), 0),
    "builtins.eval": lambda c: pickle.dumps(_Reduce(eval, f"open({str(c)!r}, 'w')"), 4),
    "builtins.exec, by name": lambda c: _named(
        _name("builtins", "exec") + _text(f"open({str(c)!r}, 'w')") + b"\x85R"
    ),
    "a reduce inside": lambda c: pickle.dumps({"weight": [(_Reduce(os.mkdir, str(c)),)]}, 4),
    "in an array of objects": lambda c: pickle.dumps(
        {"weight": np.array([_Reduce(os.mkdir, str(c))], object)}, 4
    ),
    "an array of objects": lambda c: pickle.dumps({"weight": np.array([1, "x"], object)}, 4),
    "in the state of an array": lambda c: pickle.dumps(
        {"weight": _Reduce(np.ndarray, (0,), state=_Reduce(os.mkdir, str(c)))}, 4
    ),
    "getattr chain": lambda c: pickle.dumps(
        _Reduce(getattr, _Reduce(__import__, "os"), "system"), 4
    ),
    "a dotted name": lambda c: _named(b"\x8c\x05numpy\x8c\x1cndarray.__class__.__base__.x\x93"),
    "numpy's own way to code": lambda c: _named(
        _name("numpy.testing._private.utils", "runstring")
        + _text(f"open({str(c)!r}, 'w')")
        + b"}\x86R"
    ),
    "torch: a storage outside": _persistent,
    "torch: zipped": _torch,
    "torch: its rebuild function": lambda c: _named(
        _name("torch._utils", "_rebuild_tensor_v2") + b")R"
    ),
    "paddle: a layer": lambda c: _named(
        _name("paddle.nn.layer.common", "Linear") + b"K\x01K\x01\x86R"
    ),
    "paddle: a tensor of the base": lambda c: _named(
        _name("paddle.base.core", "eager.Tensor") + b")R"
    ),
    "paddle: its own load": lambda c: _named(
        _name("paddle.framework.io", "load") + _text(str(c)) + b"\x85R"
    ),
    "EXT: a registered class": lambda c: _named(b"\x82\x01)R"),
    "INST": lambda c: f"(S'touch {c}'\nios\nsystem\n.".encode(),
    "OBJ": lambda c: b"(" + _name("os", "system") + _text(f"touch {c}") + b"o.",
    "NEWOBJ": lambda c: _named(_name("collections", "OrderedDict") + b")\x81"),
    "BUILD on a function": lambda c: _named(
        _name("_codecs", "encode") + b"}" + _text("__doc__") + _text("changed") + b"sb"
    ),
    "BUILD on a function, by slots": lambda c: _named(
        _name("_codecs", "encode") + b"N}" + _text("__defaults__") + b"(" + _text("x") + b"ts\x86b"
    ),
    "BUILD on a class": lambda c: _named(
        _name("numpy", "dtype") + b"N}" + _text("__doc__") + _text("x") + b"s\x86b"
    ),
    "another encoding": lambda c: _named(
        _name("_codecs", "encode") + _text("x" * 99) + _text("zip") + b"\x86R"
    ),
    "BINBYTES8 of 2**60": lambda c: _named(b"\x8e" + struct.pack("<Q", 2**60) + b"short"),
    "BINBYTES of 4 GB": lambda c: _named(b"B\xff\xff\xff\xffshort"),
    "BINUNICODE8 of 2**60": lambda c: _named(b"\x8d" + struct.pack("<Q", 2**60) + b"short"),
    "BYTEARRAY8 of 2**38": lambda c: _named(b"\x96" + struct.pack("<Q", 2**38) + b"short"),
    "LONG4 of 2 GB": lambda c: _named(b"\x8b\xff\xff\xff\x7f"),
    "FRAME of 2**62": lambda c: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "LONG_BINPUT of 2**32 - 1": lambda c: _named(b"Nr\xff\xff\xff\xff"),
    "LONG_BINPUT of 2**27": lambda c: _named(b"Nr\0\0\0\x08"),
    "an array made of a shape": lambda c: _named(
        _name("numpy", "ndarray") + b"\x8a\x05\0\0\0\0\x02\x85" + _text("f4") + b"\x86R"
    ),
    "an array of no strides": lambda c: _named(
        _name("numpy", "ndarray") + b"(J\0\0\0\x10\x85" + _text("f4") + b"C\x04abcdK\0K\0\x85tR"
    ),
    "a shape of a terabyte": lambda c: _named(_array(b"\x8a\x06\0\0\0\0\0\x01\x85", b"C\x04abcd")),
    "a negative shape": lambda c: _named(
        _array(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", b"C\x04abcd")
    ),
    "a shape of texts": lambda c: _named(
        _array(b"(" + _text("x" * 9) + b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", b"C\x04abcd")
    ),
    "a shape of long numbers": lambda c: _named(
        _array(b"(" + (b"\x8a\xff" + b"\x7f" * 255) * 20_000 + b"t", b"C\x04abcd")
    ),
    "a shape of doubled tuples": lambda c: (
        b"\x80\x04}(" + _text("a") + TUPLES + _text("b") + _array(b"h\x01", b"C\x04abcd") + b"u."
    ),
    "numbers of no size": lambda c: _named(
        _array(
            b"\x8a\x06\0\0\0\0\0\x7f\x85",
            b"C\0",
            _name("numpy", "dtype") + _text("V0") + b"\x89\x88\x87R",
        )
    ),
    "a type of a million fields": lambda c: _named(
        _name("numpy", "dtype") + _text("f4," * 1_000_000 + "f4") + b"\x85R"
    ),
    "a type of a huge array": lambda c: _named(
        _name("numpy", "dtype") + _text("(40000,40000)f8") + b"\x85R"
    ),
    "a type with fields in its state": lambda c: _named(
        DTYPE[:-1]
        + b"R(K\x03"
        + _text("<")
        + b"N"
        + _text("x")
        + b"}J\xff\xff\xff\x7fJ\xff\xff\xff\x7fK\x3ftb"
    ),
    "a type that is a doubled tuple": lambda c: (
        b"\x80\x04}(" + _text("a") + TUPLES + _text("b") + _name("numpy", "dtype") + b"h\x01\x85Ru."
    ),
    "an array never filled": lambda c: _named(EMPTY),
    "an array filled with itself": lambda c: _named(EMPTY + b"q\x01h\x01b"),
    "lists that double": lambda c: _named(b"](" + _doubled(b"]", b"](h\x01h\x01e") + b"e"),
    "dicts that double": lambda c: (
        b"\x80\x04}("
        + _text("x")
        + b"}q\x01"
        + b"".join(
            _text(str(i)) + b"}(" + _text("a") + b"h\x01" + _text("b") + b"h\x01uq\x01"
            for i in range(100)
        )
        + b"u."
    ),
    "a dict that holds itself": lambda c: b"\x80\x04}q\x01" + _text("a") + b"h\x01s.",
    "a list that holds itself": lambda c: _named(b"]q\x01h\x01a"),
    "a name that is a doubled tuple": lambda c: (
        b"\x80\x04}(" + _doubled(b")", b"h\x01\x86") + b"Ns."
    ),
    "a name that is a deep tuple": lambda c: b"\x80\x04})" + b"\x85" * 900_000 + b"Ns.",
    "a set of doubled tuples": lambda c: b"\x80\x04\x8f(" + _doubled(b")", b"h\x01\x86") + b"\x90.",
    "deep lists": lambda c: _named(b"]" * 400_000 + b"a" * 399_999),
    "deep dicts": lambda c: _named((b"}" + _text("a")) * 150_000 + b"N" + b"s" * 150_000),
    "twenty million lists": lambda c: _many(b"]", 20_000_000),
    "twenty million marks": lambda c: _many(b"(", 20_000_000),
    "one text encoded often": lambda c: _named(
        _text("x" * 1_000_000)
        + b"q\x01"
        + b"]("
        + (_name("_codecs", "encode") + b"h\x01" + _text("latin1") + b"\x86R") * 5000
        + b"e"
    ),
    "one array under many names": lambda c: (
        b"\x80\x04}("
        + b"".join(
            _text(str(i))
            + (
                _array(b"J@B\x0f\0\x85", b"B\0\x09=\0" + bytes(4_000_000)) + b"q\x01"
                if i == 0
                else b"h\x01"
            )
            for i in range(5000)
        )
        + b"u."
    ),
    "tuple of tuple of a dict": lambda c: _named(_name("builtins", "tuple") + b"}\x85R"),
    "long arguments, again and again": lambda c: (
        b"\x80\x04("
        + b"N" * 400_000
        + b"tq\x01"
        + (_name("numpy", "ndarray") + b"h\x01R") * 100_000
        + b"."
    ),
    "a truncated file": lambda c: pickle.dumps({"w": np.zeros(1000, "f4")}, 4)[:-900],
    "a number of many digits": lambda c: b"L" + b"9" * 3_000_000 + b"L\n.",
    "no pickle": lambda c: b"\x89PNG\r\n\x1a\n",
    "nothing": lambda c: b"",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[str, float]]:
    """What one process says to each file: (file, function) -> (message, seconds)."""
    folder, canary = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("out") / "canary"
    for number, write in enumerate(HOSTILE.values()):
        (folder / f"{number:03d}.pdparams").write_bytes(write(canary))
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(folder)], capture_output=True, text=True, timeout=120
    )
    *rows, grown = done.stdout.splitlines() or ["0"]
    names = dict(zip(sorted(path.name for path in folder.iterdir()), HOSTILE, strict=True))
    found = {}
    for name, load, said, seconds in map(json.loads, rows):
        found[names[name], load] = (said, seconds)
    assert done.returncode == 0, (len(found), list(found)[-1:], done.stderr[-2000:])
    largest = max(path.stat().st_size for path in folder.iterdir())
    assert int(grown) * 1024 < 6 * largest + 100e6
    assert not canary.exists() and not list(canary.parent.iterdir())
    return found


@pytest.mark.parametrize("load", ["load_weights", "load_optimizer_state"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_quick_line_and_runs_nothing(answers, name, load):
    said, seconds = answers[name, load]
    if load == "load_weights" or not said.startswith("read "):  # no optimizer state is one, too
        assert ".pdparams: " in said and "\n" not in said and len(said) < 500
        assert "MemoryError" not in said
    assert seconds < SECONDS


def test_the_functions_behind_the_names_are_as_they_were(tmp_path):
    from lenet_paddle.data import pickles

    for name in ("BUILD on a function", "BUILD on a function, by slots", "BUILD on a class"):
        (tmp_path / "w.pdparams").write_bytes(HOSTILE[name](tmp_path / "canary"))
        with pytest.raises(InputError, match="it sets attributes"):
            load_pickle(tmp_path / "w.pdparams")
    assert pickles._encode_latin1.__defaults__ is None
    assert pickles._encode_latin1.__doc__ is None


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_of_every_kind_of_number_order_and_shape_come_back(tmp_path, rng, protocol):
    arrays: dict[str, Any] = {
        f"{kind}{order}": rng.integers(0, 2, (2, 3)).astype(f"{order}{kind}")
        for kind in ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "u2", "b1")
        for order in "<>"
    }
    arrays["fortran"] = np.asfortranarray(rng.normal(size=(3, 4)))
    arrays["scalar"] = np.array(3.5)
    arrays["none"] = np.zeros((0, 4)) if protocol > 2 else np.zeros(1)
    shared = rng.normal(size=3)
    content = {**arrays, "a": shared, "b": shared, "OD": collections.OrderedDict(x=("n", shared))}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content, protocol))
    loaded = load_pickle(tmp_path / "w.pdparams")
    for name, array in {**arrays, "a": shared, "b": shared}.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype.newbyteorder("=") and loaded[name].flags.writeable
    np.testing.assert_array_equal(loaded["OD"]["x"], shared)


def test_texts_and_numbers_are_kept_and_other_values_left_out(tmp_path):
    content = {"a": 1, "b": 2.5, "c": None, "d": True, "e": "x", "f": {"g": -(2**70)}, "h": [1]}
    (tmp_path / "w.pdopt").write_bytes(pickle.dumps(content, 4))
    del content["h"]
    assert load_pickle(tmp_path / "w.pdopt") == content


def test_a_file_of_python_2_is_read(tmp_path):
    steps = EMPTY.replace(b"C\x01b", b"U\x01b") + b"(K\x01K\x02\x85"
    steps += _name("numpy", "dtype") + b"U\x02f4K\0K\x01\x87R"
    steps += b"\x89U\x08" + np.array([1, -2], "<f4").tobytes() + b"tb"
    (tmp_path / "w.pdparams").write_bytes(b"\x80\x02}U\x06weight" + steps + b"s.")
    assert load_pickle(tmp_path / "w.pdparams")["weight"].tolist() == [1, -2]
