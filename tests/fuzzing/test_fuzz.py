"""Fuzz every reader: a file is read completely, or refused with one line.

A few dozen examples per reader, the same in every run. With LENET_PADDLE_FUZZ_SECONDS=300 each
reader gets new ones for 300 seconds, and prints how many (pytest -s).
"""

from __future__ import annotations

import faulthandler
import gzip
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from PIL import Image
from scipy.io import savemat

from lenet_paddle.config import FinetuneConfig, TrainConfig
from lenet_paddle.data import idx, npz
from lenet_paddle.data.cifar import load_cifar10
from lenet_paddle.data.csv_files import load_csv
from lenet_paddle.data.mat import load_mat
from lenet_paddle.data.mnist_c import load_mnist_c
from lenet_paddle.data.preprocess import decode_picture, prepare_picture
from lenet_paddle.errors import InputError
from lenet_paddle.export.predictor import read_description
from lenet_paddle.run_folder import Run
from lenet_paddle.settings import load_yaml
from lenet_paddle.training import checkpoint
from lenet_paddle.training import weights as weight_files
from lenet_paddle.training.safe_weights import load_pickle, load_safetensors, save_safetensors

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")  # not in the project
SECONDS = float(os.environ.get("LENET_PADDLE_FUZZ_SECONDS", "0"))
EXAMPLES = 40  # per reader, by default
ROUND = 1000  # examples between two checks of the time
MOST_SECONDS = 5.0  # of CPU time, for one example
MOST_MEMORY = 1 << 30  # added to the process by all examples of a reader
NUMBERS = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63])


@st.composite
def mutated(draw: Any, sources: Any) -> bytes:
    """Draw one of `sources` with bytes changed, inserted, deleted, repeated, or cut off."""
    data = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["byte", "number", "insert", "delete", "copy", "cut"]))
        if kind == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "number":
            width, order = (
                draw(st.sampled_from([1, 2, 4, 8])),
                draw(st.sampled_from(["big", "little"])),
            )
            number = (draw(NUMBERS) % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
            data[at : at + width] = number
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 32))]
        elif kind == "copy":
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        else:
            del data[at:]
    return bytes(data)


def fuzz(name: str, check: Callable[..., None], *strategies: Any) -> None:
    """Run `check` on `EXAMPLES` examples of the strategies, or for `SECONDS`."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count, start, start_cpu = 0, time.monotonic(), time.process_time()

    def counted(examples: Any) -> None:
        nonlocal count
        count += 1
        faulthandler.dump_traceback_later(20 * MOST_SECONDS, exit=True)  # if it hangs
        began = time.process_time()
        try:
            check(*examples)
        except BaseException:
            note(repr(examples)[:20_000])
            raise
        assert time.process_time() - began < MOST_SECONDS
        faulthandler.cancel_dump_traceback_later()

    options: dict[str, Any] = {
        "database": None,  # no folder .hypothesis
        "deadline": None,
        "suppress_health_check": list(HealthCheck),
    }
    if not SECONDS:
        tested = given(st.tuples(*strategies))(counted)
        settings(max_examples=EXAMPLES, derandomize=True, **options)(tested)()
    while time.monotonic() - start < SECONDS:
        tested = seed(time.time_ns())(given(st.tuples(*strategies))(counted))
        settings(max_examples=ROUND, **options)(tested)()
    if SECONDS:
        used = time.process_time() - start_cpu
        print(f"FUZZ {name}: {count:,} examples, {used:.0f} s of CPU time", flush=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MOST_MEMORY


def one_line(read: Callable[[], Any]) -> Any:
    """Return what `read` returns, or None if it raises an error of one printable line."""
    try:
        return read()
    except InputError as error:
        said = str(error)
        assert said and said.isprintable() and len(said) < 3000, said[:3000]
        return None


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- data ---


def idx_file(magic: int, *shape: int) -> bytes:
    size = int(np.prod(shape))
    return struct.pack(f">I{len(shape)}I", magic, *shape) + bytes(i % 10 for i in range(size))


def test_idx(tmp_path: Path) -> None:
    plain = [idx_file(0x803, 3, 4, 5), idx_file(0x801, 12), idx_file(0x803, 0, 28, 28)]

    def check(data: bytes, packed: bool, cut: int) -> None:
        path = written(tmp_path / "idx", gzip.compress(data, 1)[: cut or None] if packed else data)
        images = one_line(lambda: idx.read_images(path))
        labels = one_line(lambda: idx.read_labels(path))
        assert images is None or (images.dtype == np.uint8 and images.ndim == 3)
        assert labels is None or (labels.dtype == np.int64 and (labels < 10).all())

    packed = [gzip.compress(data) for data in plain]
    data = mutated(plain) | mutated(packed) | st.binary(max_size=64)
    fuzz("idx", check, data, st.booleans(), st.sampled_from([0, 0, 0, -1, -9, 12]))


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


IMAGES = (np.arange(4 * 28 * 28) % 251).astype(np.uint8).reshape(4, 28, 28)
LABELS = np.array([0, 1, 2, 1])


@st.composite
def npy_files(draw: Any, array: np.ndarray) -> bytes:
    """Draw a .npy file, whole, mutated, or with another header."""
    kind = draw(st.sampled_from(["whole", "mutated", "mutated", "header"]))
    if kind == "header":
        descr = draw(
            st.sampled_from(["|u1", "<i8", ">f4", "|O", "|S0", "<U9", "|V0", "<c16", "<M8[s]", "x"])
        )
        size = st.integers(-2, 5) | st.sampled_from([28, 2**31, 2**62, 2**64, True, "x", None, 1.5])
        shape = tuple(draw(st.lists(size, max_size=6)))
        head = f"{{'descr': {descr!r}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape}, }}"
        text = head.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()[:3000]
    return npy(array) if kind == "whole" else draw(mutated([npy(array)]))


def test_npy_folder(tmp_path: Path) -> None:
    def check(images: bytes, labels: bytes) -> None:
        for part in ("train", "test"):
            written(tmp_path / f"x_{part}.npy", images)
            written(tmp_path / f"y_{part}.npy", labels)
        check_set(one_line(lambda: npz.load_npz("train", tmp_path)))

    fuzz("npy", check, npy_files(IMAGES), npy_files(LABELS))


def check_set(image_set: Any) -> None:
    """Check that a set is consistent and can be read to its end."""
    if image_set is not None:
        assert len(image_set.images) == len(image_set.labels) > 0
        assert np.asarray(image_set.images[np.arange(len(image_set))]).dtype == np.uint8
        assert 0 <= image_set.labels.min() <= image_set.labels.max() < image_set.num_classes


def test_npz(tmp_path: Path) -> None:
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
    files = []
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, **arrays)
        files.append(out.getvalue())

    def check(data: bytes) -> None:
        path = written(tmp_path / "a.npz", data)
        check_set(one_line(lambda: npz.load_npz("train", path)))

    fuzz("npz", check, mutated(files) | st.binary(max_size=64))


def test_csv(tmp_path: Path) -> None:
    table = np.arange(12 * 17).reshape(12, 17) % 3
    texts = []
    for delimiter in (",", " "):
        out = io.StringIO()
        np.savetxt(out, table, "%d", delimiter, header="label" + ",p" * 16, comments="")
        texts.append(out.getvalue().encode())
    texts += [text.partition(b"\n")[2] for text in texts] + [gzip.compress(texts[0])]

    def check(data: bytes) -> None:
        path = written(tmp_path / "a.csv", data)
        check_set(one_line(lambda: load_csv("train", path, label_column="first")))

    fuzz("csv", check, mutated(texts) | st.binary(max_size=64))


def test_cifar10(tmp_path: Path) -> None:
    rows = np.zeros((2, 3073), np.uint8)
    batch = pickle.dumps({"data": rows[:, 1:].copy(), "labels": [1, 2]}, 2)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        member.size = len(batch)
        archive.addfile(member, io.BytesIO(batch))
    packed = out.getvalue()

    def check(data: bytes, in_archive: bytes) -> None:
        written(tmp_path / "data_batch_1", b"")
        written(tmp_path / "test_batch", data)
        check_set(one_line(lambda: load_cifar10("test", tmp_path)))
        path = written(tmp_path / "cifar-10-python.tar.gz", in_archive)
        check_set(one_line(lambda: load_cifar10("test", path)))

    inner = mutated([gzip.decompress(packed)]).map(lambda data: gzip.compress(data, 1))
    fuzz("cifar10", check, mutated([rows.tobytes(), batch]), mutated([packed]) | inner)


def test_mat(tmp_path: Path) -> None:
    files = []
    for packed in (False, True):
        out = io.BytesIO()
        arrays = {"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([[1], [10]])}
        savemat(out, arrays, do_compression=packed)
        files.append(out.getvalue())

    def check(data: bytes) -> None:
        written(tmp_path / "test_32x32.mat", data)
        check_set(one_line(lambda: load_mat("test", tmp_path)))

    fuzz("mat", check, mutated(files) | st.binary(max_size=200))


def test_mnist_c(tmp_path: Path) -> None:
    (tmp_path / "fog").mkdir()

    def check(images: bytes, labels: bytes, corruption: str | None) -> None:
        written(tmp_path / "fog" / "test_images.npy", images)
        written(tmp_path / "fog" / "test_labels.npy", labels)
        check_set(one_line(lambda: load_mnist_c("test", tmp_path, corruption)))

    images = npy_files(IMAGES) | npy_files(IMAGES[..., None])
    fuzz("mnist_c", check, images, npy_files(LABELS), st.sampled_from([None, "fog"]))


# --- pictures ---


def pictures() -> list[bytes]:
    """Return small pictures in every common format and mode."""
    grey = Image.fromarray((np.arange(40 * 30) % 256).astype(np.uint8).reshape(40, 30))
    made = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "SGI"):
        for mode in ("L", "RGB", "RGBA", "P", "1", "I;16"):
            out = io.BytesIO()
            try:
                grey.convert(mode).save(out, kind)
            except (OSError, ValueError, KeyError):
                continue  # a mode that this format lacks
            made.append(out.getvalue())
    return made


def test_pictures() -> None:
    def check(data: bytes, mode: Any) -> None:
        picture = one_line(lambda: decode_picture(io.BytesIO(data), "x.png", 1_000_000))
        if picture is not None:
            assert picture.dtype == np.uint8 and picture.ndim == 2 and picture.size > 0
            prepared = prepare_picture(picture, mode)
            assert prepared.shape == (28, 28) and prepared.dtype == np.uint8

    fuzz("pictures", check, mutated(pictures()), st.sampled_from(["digit", "resize"]))


def test_arrays_as_pictures() -> None:
    def check(height: int, width: int, values: bytes, scale: int, mode: Any) -> None:
        picture = np.resize(np.frombuffer(values, np.uint8), (height, width))
        picture = picture.repeat(scale, 0) if scale > 0 else picture.repeat(-scale, 1)
        prepared = prepare_picture(picture, mode)
        assert prepared.shape == (28, 28) and prepared.dtype == np.uint8

    side = st.integers(1, 40) | st.just(1)
    fuzz(
        "arrays",
        check,
        *(side, side, st.binary(min_size=1, max_size=200)),
        *(st.sampled_from([1, 1, 1, 7, -7, 300, -300]), st.sampled_from(["digit", "resize"])),
    )


# --- settings and descriptions ---

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**64, -(2**70), 10**400, 0, 1])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["nan", "1e999", ".inf", "../x", "\x1b[31m", "\n", "0,1", "vision:resnet18"])
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


def changed(base: dict[str, Any]) -> Any:
    """Draw mappings like `base` with some values changed, swapped, or missing."""
    own = st.sampled_from(list(base.values()))
    changes = st.dictionaries(st.sampled_from(list(base)), VALUES | own, max_size=4)
    gone = st.sets(st.sampled_from(list(base)), max_size=1)
    return st.builds(
        lambda new, out: {k: v for k, v in {**base, **new}.items() if k not in out}, changes, gone
    )


def yaml_texts(base: dict[str, Any]) -> Any:
    dumped = changed(base).map(lambda d: yaml.safe_dump(d, allow_unicode=True).encode())
    return (
        dumped
        | mutated([yaml.safe_dump(base).encode()])
        | st.text(max_size=80).map(lambda text: text.encode(errors="surrogatepass"))
    )


def test_config(tmp_path: Path) -> None:
    def check(data: bytes, cls: Any) -> None:
        path = written(tmp_path / "config.yaml", data)
        found = one_line(lambda: load_yaml(path, cls))
        if found is not None:
            one_line(lambda: cls(**found))
        one_line(lambda: Run.open(tmp_path))

    base = TrainConfig(rotation=5.0, patience=3, name="x").to_dict()
    fuzz("config", check, yaml_texts(base), st.sampled_from([TrainConfig, FinetuneConfig]))


def test_inference_yml(tmp_path: Path) -> None:
    base = {
        "classes": ["a", "b", 3],
        "preprocess": "digit",
        "dataset": "mnist",
        "input": {"name": "image", "shape": [-1, 1, 28, 28]},
        "engine": "onnx",
        "features": [{"name": "feature_1", "shape": [6, 28, 28]}],
        "formats": {"paddle": {"latency_ms": 0.1}},
    }

    def check(data: bytes) -> None:
        path = written(tmp_path / "inference.yml", data)
        description = one_line(lambda: read_description(path))
        if description is not None:
            assert all(isinstance(name, str) for name in description["classes"])
            assert 1 <= description["input"]["shape"][-1] <= 512

    fuzz("inference.yml", check, yaml_texts(base))


def test_state_json(tmp_path: Path) -> None:
    weights = written(tmp_path / "model.pdparams", b"weights")
    row = {"epoch": 1, "step": 5, "learning_rate": 0.1, "train_loss": 1.5, "train_accuracy": 0.5}
    row |= {"val_loss": 1.25, "val_accuracy": 0.75}
    base = {
        **{"epoch": 2, "step": 10, "history": [row, {**row, "epoch": 2}]},
        **{"best_epoch": 1, "vdl_bytes": 12, "seconds": 1.5, "classes": ["a", "b"]},
        **{"rng": {"seed": 0}, "config": {}},
        "sha256": {"model.pdparams": checkpoint._sha256(weights)},
    }

    def check(data: bytes) -> None:
        written(tmp_path / "state.json", data)
        state = one_line(lambda: checkpoint.read_state(tmp_path))
        if state is not None:
            assert 1 <= state.best_epoch <= state.epoch == len(state.history)
            assert all(isinstance(name, str) for name in state.classes)

    dumped = changed(base).map(lambda d: json.dumps(d, default=str).encode())
    paths = st.text(max_size=9) | st.sampled_from(
        ["../x", "/dev/zero", "\0", "state.json", "", "."]
    )
    sums = st.dictionaries(paths, VALUES, max_size=2).map(
        lambda more: json.dumps(
            {**base, "sha256": {**base["sha256"], **more}}, default=str
        ).encode()  # type: ignore[dict-item]
    )
    fuzz("state.json", check, dumped | sums | mutated([json.dumps(base).encode()]))


# --- weights ---


def check_weights(loaded: Any) -> None:
    for value in (loaded or {}).values():
        assert isinstance(value, (np.ndarray, str, int, float, dict, type(None)))
        if isinstance(value, np.ndarray):
            with np.errstate(all="ignore"):
                np.sum(value.astype(np.float32))


def test_safetensors(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    save_safetensors(path, {"a": np.zeros((2, 3), "f4"), "b": np.ones(5, "i8")}, {"model": "mlp"})
    whole = path.read_bytes()
    shapes = st.lists(st.integers(-1, 6) | st.sampled_from([2**31, 2**62, 2**64]), max_size=4)
    types = st.sampled_from(["F32", "F64", "BF16", "I8", "BOOL", "F8_E4M3", "U64", "x", None])
    offsets = st.lists(st.integers(-1, 64) | st.just(2**63), max_size=3)
    entry = st.fixed_dictionaries({"dtype": types, "shape": shapes, "data_offsets": offsets})
    headers = st.dictionaries(st.text(max_size=5), entry | VALUES, max_size=3)

    def check(data: bytes | dict[str, Any]) -> None:
        if isinstance(data, dict):
            text = json.dumps(data, default=str).encode()
            data = struct.pack("<Q", len(text)) + text + bytes(24)
        check_weights(one_line(lambda: load_safetensors(written(path, data))))
        check_weights(one_line(lambda: weight_files.load_weights(written(tmp_path / "w", data))))

    fuzz("safetensors", check, mutated([whole]) | headers)


@st.composite
def pickle_steps(draw: Any) -> bytes:
    """Draw pickle opcodes in any order, mostly ones that the reader accepts."""
    from lenet_paddle.data.pickles import _ALLOWED, _KNOWN

    plain = [bytes([code]) for code in _ALLOWED if bytes([code]) not in b"ch\x95rjBUTX\x8d\x8eC"]
    names = [f"c{module}\n{name}\n".encode() for module, name in _KNOWN]
    names += [b"cos\nsystem\n", b"cbuiltins\neval\n"]
    texts = [b"X\x02\0\0\0f4", b"X\x06\0\0\0latin1", b"X\x01\0\0\0<", b"X\x01\0\0\0w", b"C\x04abcd"]
    memo = [b"h\0", b"h\1", b"h\2", b"q\0", b"q\1", b"\x94", b"r\xff\xff\xff\xff"]
    numbers = [b"K\0", b"K\1", b"K\2", b"J\xff\xff\xff\xff", b"\x8a\x01\x04", b"\x89", b"\x88"]
    whole = [
        b"cnumpy\ndtype\nX\x02\0\0\0f4\x89\x88\x87R(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R",
        b"(K\x01K\x01\x85h\0\x89C\x04abcdtb",
    ]
    step = st.sampled_from(plain + 3 * names + 3 * texts + 3 * memo + 2 * numbers + 9 * whole)
    steps = b"".join(draw(st.lists(step | st.binary(max_size=3), max_size=40)))
    return b"\x80\x04}" + steps + draw(st.sampled_from([b".", b"u.", b"s.", b""]))


def test_pickles(tmp_path: Path) -> None:
    content = {
        "w": np.arange(6, dtype="f4").reshape(2, 3),
        "pair": ("name", np.ones(2)),
        "LR_Scheduler": {"last_epoch": 3, "last_lr": 0.1},
        "list": [1, (2.5, None), True],
    }
    files = [pickle.dumps(content, protocol) for protocol in (2, 3, 4)]

    def check(data: bytes) -> None:
        check_weights(one_line(lambda: load_pickle(written(tmp_path / "w.pdparams", data))))

    fuzz("pickle", check, mutated(files) | pickle_steps() | st.binary(max_size=40))


# --- ONNX, in its own process, which an error in its C++ could kill ---

ONNX_WORKER = """
import random, resource, sys, time
from pathlib import Path
from lenet_paddle.errors import InputError
from lenet_paddle.export.engines import load_engine

resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))
folder, whole, seconds = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), float(sys.argv[3])
rng, start, count, most = random.Random(int(sys.argv[4])), time.monotonic(), 0, 0.0
while count < 40 or time.monotonic() - start < seconds:
    data = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(600, len(data)))
        width, kind = rng.choice([1, 2, 8]), rng.randrange(4)
        if kind < 2:
            data[at : at + width] = rng.randbytes(width)
        elif kind == 2:
            del data[at : at + rng.randint(1, 40)]
        else:
            data[at:at] = data[at : at + rng.randint(1, 40)]
    if count == 0:  # found by this test: it was printed as well as raised
        data = whole.replace(b"Relu", bytes([255] * 4))
    (folder / "model.onnx").write_bytes(data)
    began = time.process_time()
    try:
        load_engine(folder, "onnx", 10, 28)
    except InputError as error:
        assert str(error).isprintable(), error
    most = max(most, time.process_time() - began)
    count += 1
used = time.process_time()
print(f"{count:,} examples, {used:.0f} s of CPU time, at most {most:.1f} s")
"""


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    whole = tmp_path / "whole.onnx"
    onnx.save(small_onnx(onnx), str(whole))
    number = time.time_ns() if SECONDS else 1
    done = subprocess.run(
        [sys.executable, "-c", ONNX_WORKER, *map(str, (tmp_path, whole, SECONDS, number))],
        capture_output=True,
        text=True,
        timeout=120 + SECONDS,
    )
    print(f"FUZZ onnx: {done.stdout}", end="")
    assert done.returncode == 0, (done.returncode, number, done.stderr[-3000:])
    assert done.stdout.count("\n") == 1 and not done.stderr, done.stdout + done.stderr


def small_onnx(onnx: Any) -> Any:
    """Return an ONNX network of a convolution and a linear layer."""
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["logits"]),
    ]
    shapes = {"k": (2, 1, 3, 3), "w": (98, 10), "b": (10,)}
    weights = [tensor(np.ones(shape, np.float32), name) for name, shape in shapes.items()]
    image = helper.make_tensor_value_info("image", 1, ["batch", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", 1, ["batch", 10])
    graph = helper.make_graph(nodes, "small", [image], [logits], weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)
