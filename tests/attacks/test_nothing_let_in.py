"""Names and links cannot leave their folder; archives and pictures cannot fill the memory."""

from __future__ import annotations

import io
import os
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from tools_help import QUICK, assert_refused, tool

from lenet_paddle.config import TrainConfig
from lenet_paddle.data import idx, npz
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import TooManyPixels, decode_picture
from lenet_paddle.errors import InputError
from lenet_paddle.export.predictor import read_description
from lenet_paddle.files import leads_out
from lenet_paddle.run_folder import Run
from lenet_paddle.workflows.predict import find_pictures

Tree = Callable[[int, int], Path]
UPWARD = ["../x", "..", ".", "", "a/b", "/tmp/x", "a\\b", "x\0y", "a.b", "~", "é"]


# --- names ---


@pytest.mark.parametrize("name", UPWARD)
def test_the_name_of_a_run_cannot_leave_its_folder(name):
    with pytest.raises(InputError, match=r"name is .*; expected letters, digits, - and _"):
        TrainConfig(name=name)


@pytest.mark.parametrize("name", [*UPWARD, "epoch_1", "epoch_0001/../..", "model", "best\n"])
def test_the_name_of_a_checkpoint_cannot_leave_its_folder(tmp_path, name):
    for folder in (tmp_path, tmp_path / "checkpoints"):
        folder.mkdir(exist_ok=True)
        (folder / "model.pdparams").write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint"):
        Run(tmp_path).find_checkpoint(name)


def test_a_name_with_a_path_is_refused_by_the_tool_and_nothing_is_written(tmp_path):
    out = tmp_path / "output"
    done = tool("train", *QUICK, "--output-dir", out, "--name", "../x")
    assert_refused(done, "name is '../x'; expected letters, digits, - and _")
    assert list(tmp_path.iterdir()) == []


DESCRIPTION = "preprocess: digit\ndataset: mnist\ninput: {shape: [-1, 1, 28, 28]}\nclasses: "


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ('["\\e[31mred", b]', "cannot be printed"),
        ('["a\\nb", b]', "cannot be printed"),
        (f"[{'a' * 101}, b]", "too long"),
        ("[a, b, a]", "a class name twice"),
    ],
)
def test_a_foreign_models_class_names_can_be_shown(tmp_path, classes, said):
    (tmp_path / "inference.yml").write_text(DESCRIPTION + classes)
    with pytest.raises(InputError, match=said):
        read_description(tmp_path / "inference.yml")
    (tmp_path / "inference.yml").write_text(DESCRIPTION + '["../../x", "a/b", "T-shirt/top"]')
    assert read_description(tmp_path / "inference.yml")["classes"][0] == "../../x"  # only shown


def test_a_model_whose_classes_are_paths_writes_no_file_by_their_names(
    tmp_path, write_tree: Tree, monkeypatch
):
    """Figures use the class names of a checkpoint, which may be paths, as captions only."""
    from lenet_paddle.data.imageset import ImageSet
    from lenet_paddle.evaluation.metrics import compute_probs
    from lenet_paddle.figures.results.confusion import plot_confusion
    from lenet_paddle.figures.results.mistakes import plot_mistakes
    from lenet_paddle.figures.style import save_figure

    inside = tmp_path / "a" / "b"
    names = ("../../climbed", str(tmp_path / "absolute"), "$\\frac{")
    images = ImageSet(np.zeros((3, 28, 28), np.uint8), np.arange(3), names)
    probs = compute_probs(np.eye(3)[[1, 2, 0]])
    save_figure(plot_confusion(np.eye(3, dtype=int), names, names[0]), inside / "confusion.png")
    figure = plot_mistakes(images.images, images.labels, probs, names, title=names[0])
    save_figure(figure, inside / "mistakes.png")
    files = [p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(map(str, files)) == ["a/b/confusion.png", "a/b/mistakes.png"]


def test_a_message_cannot_control_a_terminal_or_fill_it():
    message = str(InputError("a\x1b[31m\nb\x07\u202e\ud800" + "x" * 10**6))
    assert message.startswith("a\\x1b[31m b\\x07\\u202e\\ud800xxx")
    assert message.isprintable() and len(message) < 2000


def test_damaged_reports_of_a_foreign_run_give_one_line_or_none(tmp_path: Path):
    from lenet_paddle.evaluation.forgetting import read_matrix
    from lenet_paddle.export.card import _robustness
    from lenet_paddle.run_folder import Run

    (tmp_path / "matrix.csv").write_text(f"stage,clean,mean\nbefore,{'1' * 200_000},1\n")
    assert read_matrix(tmp_path / "matrix.csv", ["clean"]) == {}  # is computed again
    (tmp_path / "metrics-mnist_c.json").write_text("[" * 100_000)
    assert _robustness(tmp_path / "metrics-mnist_c.json") == []
    for text in ("epoch,train_loss\n1,2\n", f"epoch\n{'1' * 200_000}\n"):
        (tmp_path / "history.csv").write_text(text)
        with pytest.raises(InputError, match=r"history\.csv: damaged"):
            Run(tmp_path).read_history()


# --- links ---


def _load(folder: Path) -> int:
    return len(load_dataset("folder", "train", folder, val_size=0, test_size=1))


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    Image.fromarray(np.full((28, 28), 200, np.uint8)).save(folder / "secret.png")
    return folder


def test_links_within_a_folder_of_pictures_are_followed(write_tree: Tree):
    folder = write_tree(4, 4)
    (folder / "cat" / "again.png").symlink_to("00.png")
    (folder / "dog" / "other.png").symlink_to(folder / "cat" / "01.png")
    (folder / "pets").symlink_to("dog")
    assert _load(folder) == 4 + 4 + 2 + 5 - 1


def test_a_link_to_a_folder_given_by_the_user_is_read(write_tree: Tree, outside: Path):
    (outside / "link").symlink_to(write_tree(4, 4))
    (outside / "link" / "cat" / "again.png").symlink_to("00.png")
    assert _load(outside / "link") == 8


@pytest.mark.parametrize("place", ["cat/x.png", "cow", "up"])
def test_a_link_out_of_a_folder_of_pictures_is_refused(write_tree: Tree, outside: Path, place):
    folder = write_tree(4, 4)
    target = {"cat/x.png": outside / "secret.png", "cow": outside, "up": Path("..")}[place]
    (folder / place).symlink_to(target)
    assert leads_out(folder / place, folder)
    with pytest.raises(InputError, match=f"{place}: a link out of"):
        _load(folder)


def test_a_link_in_place_of_train_is_refused(tmp_path: Path, write_picture, outside: Path):
    for place in ("data/test/a", "data/test/b", "other/a", "other/b"):
        write_picture(tmp_path / place / "1.png", np.zeros((28, 28)))
    (tmp_path / "data" / "train").symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match="train: a link out of"):
        _load(tmp_path / "data")


@pytest.mark.parametrize(
    ("dataset", "place"),
    [
        ("mnist", "t10k-images-idx3-ubyte"),
        ("npz", "x_test.npy"),
        ("mnist_c", "mnist_c/fog/test_images.npy"),
        ("mnist_c", "mnist_c/fog"),
        ("mnist_c", "mnist_c"),
    ],
)
def test_a_link_out_of_a_folder_of_arrays_is_refused(tmp_path: Path, dataset, place):
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8)
    own = tmp_path / "own"
    if dataset == "mnist":
        own.mkdir()
        (own / "t10k-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 0x803, 4, 28, 28) + bytes(4 * 784)
        )
        (own / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 4) + bytes(4))
    else:
        folder, x, y = {
            "npz": (own, "x_test", "y_test"),
            "mnist_c": (own / "mnist_c" / "fog", "test_images", "test_labels"),
        }[dataset]
        folder.mkdir(parents=True)
        arrays = {x: images, y: labels, "x_train": images, "y_train": labels}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
    corruption = "fog" if dataset == "mnist_c" else None
    assert len(load_dataset(dataset, "test", own, corruption=corruption)) == 4
    (own / place).rename(tmp_path / "other")
    (own / place).symlink_to(tmp_path / "other")
    with pytest.raises(InputError, match=f"{place}: a link out of"):
        load_dataset(dataset, "test", own, corruption=corruption)


@pytest.mark.parametrize("target", ["x.png", "missing.png", "../cat", ".."])
def test_loops_and_broken_links_do_not_hang(write_tree: Tree, target):
    folder = write_tree(4, 4)
    (folder / "cat" / "x.png").symlink_to(target)
    with pytest.raises(InputError, match=r"x\.png: (not a file|a link to a folder)"):
        _load(folder)


def test_a_pipe_does_not_hang(write_tree: Tree, tmp_path_factory: pytest.TempPathFactory):
    folder, arrays = write_tree(4, 4), tmp_path_factory.mktemp("arrays")
    os.mkfifo(folder / "cat" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: not a file"):
        _load(folder)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        os.mkfifo(arrays / f"{name}.npy")
    with pytest.raises(InputError, match="a pipe or a device"):
        npz.load_npz("train", arrays)


def test_predict_skips_links_out_of_a_folder_with_a_warning(write_tree: Tree, outside, caplog):
    folder = write_tree(2, 1) / "cat"
    (folder / "in.png").symlink_to("00.png")
    (folder / "out.png").symlink_to(outside / "secret.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    found = find_pictures([str(folder)])
    assert [path.name for path in found] == ["00.png", "01.png", "in.png"]
    assert "out.png: skipping a link that leads out of its folder" in caplog.text
    assert find_pictures([str(folder / "out.png")]) == [folder / "out.png"]  # given by the user


# --- archives and pictures that unpack to more than their size ---


def _grown() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_packed_bomb_is_refused_before_it_is_unpacked(tmp_path: Path):
    """An entry that claims three gigabytes of zeros."""
    million = np.zeros(1 << 20, np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as out:
            header = io.BytesIO()
            shape = (3 << 20, 32, 32)
            np.lib.format.write_array_header_1_0(
                header, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            out.write(header.getvalue())
            for _ in range(16):  # the header below claims the rest
                out.write(million)
        for name in ("y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"")
    data = (tmp_path / "a.npz").read_bytes()
    at = data.index(b"PK\x01\x02")  # the central directory: x_train's unpacked size
    assert struct.unpack_from("<I", data, at + 24)[0] > 1 << 24
    data = data[: at + 24] + struct.pack("<I", 3 << 30) + data[at + 28 :]
    (tmp_path / "a.npz").write_bytes(data)
    before = _grown()
    with pytest.raises(InputError, match="over a gigabyte and over a hundredfold"):
        npz.load_npz("train", tmp_path / "a.npz")
    assert _grown() - before < 1 << 28


def test_an_array_larger_than_its_file_is_refused(tmp_path: Path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 34, 28, 28)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue() + b"short")
    before = _grown()
    with pytest.raises(InputError, match=r"not a readable \.npz file"):
        npz.load_npz("train", tmp_path / "a.npz")
    assert _grown() - before < 1 << 28


def test_a_damaged_central_directory_is_one_line(tmp_path: Path):
    """Found by test_fuzz: an entry's offset before the file's start raised OSError."""
    arrays = {f"{k}_{part}": np.zeros(3, int) for k in "xy" for part in ("train", "test")}
    np.savez(tmp_path / "a.npz", **arrays)
    data = (tmp_path / "a.npz").read_bytes()
    at = data.index(b"PK\x01\x02")
    for change in (2**32 - 1, 2**31, 2**32 - 100):
        (tmp_path / "a.npz").write_bytes(
            data[: at + 42] + struct.pack("<I", change) + data[at + 46 :]
        )
        with pytest.raises(InputError, match=r"a\.npz: "):
            npz.load_npz("train", tmp_path / "a.npz")


@pytest.mark.parametrize("descr", ["|V0", "|S0", "<U0", "|O", "<M8[s]", "|u1"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 28, 28), (2**62, 28, 28), (2**64,)])
def test_an_impossible_npy_header_is_one_line(tmp_path: Path, descr, shape):
    """Found by test_fuzz: mapping |S0 of shape (-1,) killed the process (SIGFPE in NumPy)."""
    out = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    (tmp_path / "x_train.npy").write_bytes(out.getvalue() + bytes(5000))
    with pytest.raises(InputError, match=r"x_train\.npy: not a readable \.npy file"):
        npz.map_npy(tmp_path / "x_train.npy")


def test_an_archive_named_npy_is_one_line(tmp_path: Path):
    np.savez(tmp_path / "x_train.npz", a=np.zeros(3))
    (tmp_path / "x_train.npz").rename(tmp_path / "x_train.npy")
    with pytest.raises(InputError, match=r"not a readable \.npy file"):
        npz.map_npy(tmp_path / "x_train.npy")


def test_well_compressed_images_are_read(tmp_path: Path, monkeypatch):
    """The limit of a gigabyte is lowered to ten thousand bytes here."""
    images, labels = np.zeros((100, 28, 28), np.uint8), np.zeros(100, int)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    assert len(npz.load_npz("train", tmp_path / "a.npz")) == 100
    monkeypatch.setattr(idx, "_MAX_UNPACKED", 10_000)
    assert (tmp_path / "a.npz").stat().st_size * 100 > images.nbytes + 2 * labels.nbytes + 400
    assert len(npz.load_npz("train", tmp_path / "a.npz")) == 100  # below a hundredfold


def test_postscript_is_not_run(monkeypatch):
    """Pillow passes PostScript to Ghostscript."""

    def run(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    assert Image.open(io.BytesIO(data)).format == "EPS"
    with pytest.raises(InputError, match=r"x\.eps: not a readable picture"):
        decode_picture(io.BytesIO(data), "x.eps")


def test_an_icon_with_a_larger_picture_inside_is_refused():
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    side = 3000
    rows = zlib.compress(bytes((side + 7) // 8 + 1) * side)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0))
    png += chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    windows = struct.pack("<3H4B2H2I", 0, 1, 1, 16, 16, 0, 0, 1, 1, len(png), 22) + png
    entry = b"ic07" + struct.pack(">I", 8 + len(png)) + png
    mac = b"icns" + struct.pack(">I", 8 + len(entry)) + entry
    with pytest.raises(TooManyPixels, match="3000 x 3000"):
        decode_picture(io.BytesIO(windows), "icon", max_pixels=1_000_000)
    with pytest.raises(InputError, match=r"damaged picture .*sizes"):
        decode_picture(io.BytesIO(mac), "icon", max_pixels=1_000_000)
