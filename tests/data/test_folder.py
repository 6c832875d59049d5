"""Folders of pictures: parts and classes by name, litter skipped, all unreadable files named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusal_help import refusal_of

from lenet_paddle.data.folder import load_folder
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.errors import InputError

Writer = Callable[[Path, np.ndarray], Path]


def _load_folder(folder: Path, part: str = "train", test_size: int | None = None) -> ImageSet:
    return load_folder(part, folder, "resize", test_size)


@pytest.fixture
def two_trees(tmp_path: Path, write_picture: Writer) -> Path:
    """Write train/ and test/ with classes b and a; each picture is filled with its own number."""
    names = ["train/b/1", "train/a/2", "train/a/1", "test/a/1", "test/b/1"]
    for value, name in enumerate(names):
        write_picture(tmp_path / f"{name}.png", np.full((28, 28), value))
    return tmp_path


def test_two_trees_give_their_own_pictures_with_sorted_classes(two_trees: Path) -> None:
    (two_trees / "train" / "a" / ".DS_Store").write_bytes(b"hidden files do not count")
    (two_trees / "train" / ".git").mkdir()
    train, test = _load_folder(two_trees, "train"), _load_folder(two_trees, "test")
    assert train.classes == test.classes == ("a", "b")
    assert train.images[:, 0, 0].tolist() == [2, 1, 0]  # a/1, a/2, b/1
    assert train.labels.tolist() == [0, 0, 1]
    assert test.images[:, 0, 0].tolist() == [3, 4]
    assert test.labels.tolist() == [0, 1]


@pytest.fixture
def one_tree(write_tree: Callable[[int, int], Path]) -> Path:
    return write_tree(20, 10)


@pytest.mark.parametrize(("test_size", "expected"), [(None, [2, 1]), (6, [4, 2]), (29, [19, 10])])
def test_one_tree_is_divided_completely_without_overlap(
    one_tree: Path, test_size: int | None, expected: list[int]
) -> None:
    train, test = (_load_folder(one_tree, part, test_size) for part in ("train", "test"))
    values = [*train.images[:, 0, 0], *test.images[:, 0, 0]]
    assert sorted(values) == list(range(30))
    assert np.bincount(test.labels, minlength=2).tolist() == expected
    for part in (train, test):
        np.testing.assert_array_equal(part.labels, part.images[:, 0, 0] >= 20)


def test_a_test_size_that_leaves_nothing_is_refused(one_tree: Path) -> None:
    with pytest.raises(InputError, match="test_size 30 leaves no training image of 30"):
        _load_folder(one_tree, "train", 30)


def _colour(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([picture, picture // 2, picture // 3], -1))


def _with_alpha(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([picture, 255 - picture], -1), "LA")


def _sixteen_bits(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture.astype(np.uint16) * 257)


KINDS: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "colour.png": _colour,
    "colour.jpg": _colour,
    "colour.bmp": _colour,
    "cmyk.tif": lambda picture: _colour(picture).convert("CMYK"),
    "alpha.png": _with_alpha,
    "sixteen.png": _sixteen_bits,
    "palette.gif": lambda picture: _colour(picture).convert("P"),
    "bits.png": lambda picture: Image.fromarray(picture).convert("1"),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(28, 28), (40, 60), (90, 20), (3, 5)])
def test_every_kind_and_size_of_picture_becomes_grey_28x28(
    tmp_path: Path, write_picture: Writer, rng: np.random.Generator, name: str, shape: tuple
) -> None:
    picture = rng.integers(0, 256, shape, dtype=np.uint8)
    write_picture(tmp_path / "train" / "a" / "1.png", picture)
    for folder in ("test/a", "test/b"):
        write_picture(tmp_path / folder / "1.png", picture)
    (tmp_path / "train" / "b").mkdir()
    KINDS[name](picture).save(tmp_path / "train" / "b" / name)
    read = load_folder("train", tmp_path, channels=1, image_size=28)
    assert read is not None and read.images.shape == (2, 28, 28)
    assert read.images.dtype == np.uint8
    assert read.images[1].std() > 0


def test_wide_and_tall_pictures_keep_their_aspect(two_trees: Path, write_picture: Writer) -> None:
    wide = np.full((30, 60), 10)
    wide[5:25, 5:55] = 200
    write_picture(two_trees / "train" / "a" / "1.png", wide)
    write_picture(two_trees / "train" / "b" / "1.png", wide.T)
    images = _load_folder(two_trees).images
    for picture in (images[0], images[2].T):
        rows, columns = np.nonzero(picture > 105)
        # scaled by 28/60 the bright 50 x 20 is 23.3 x 9.3 pixels
        assert 22 <= np.ptp(columns) + 1 <= 24
        assert 8 <= np.ptp(rows) + 1 <= 10


def _text_as_picture(folder: Path) -> Path:
    (folder / "train/a/3.png").write_text("no picture")
    return folder / "train/a/3.png"


def _cut_picture(folder: Path) -> Path:
    path = folder / "train/b/1.png"
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:700])
    return path


def _empty_picture(folder: Path) -> Path:
    (folder / "train/b/1.png").write_bytes(b"")
    return folder / "train/b/1.png"


def _empty_class(folder: Path) -> Path:
    (folder / "train/b/1.png").unlink()
    return folder / "train/b"


def _single_class(folder: Path) -> Path:
    (folder / "train/b").rename(folder / "elsewhere")
    return folder / "train"


def _no_class(folder: Path) -> Path:
    (folder / "train").rename(folder / "x")
    (folder / "train").mkdir()
    return folder / "train"


def _only_train(folder: Path) -> Path:
    (folder / "test").rename(folder / "x")
    return folder


def _other_classes(folder: Path) -> Path:
    (folder / "test/b").rename(folder / "test/c")
    return folder / "test"


def _test_without_classes(folder: Path) -> Path:
    """Divide as Kaggle does, with pictures to label in test/."""
    for name in "ab":
        (folder / f"test/{name}/1.png").rename(folder / f"test/{name}.png")
        (folder / "test" / name).rmdir()
    return folder / "test"


def _linked_folder(folder: Path) -> Path:
    (folder / "train/a/more").symlink_to("../b")
    return folder / "train/a/more"


def _parts_in_classes(folder: Path) -> Path:
    for name in "ab":
        (folder / f"train/{name}/train").mkdir()
        (folder / f"train/{name}/1.png").rename(folder / f"train/{name}/train/1.png")
    return folder / "train/a/train/1.png"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_text_as_picture, "not a readable picture"),
        (_cut_picture, "damaged picture"),
        (_empty_picture, "not a readable picture"),
        (_empty_class, "has no picture; expected at least one"),
        (_single_class, "has 1 class folders; expected two or more"),
        (_no_class, "has 0 class folders; expected two or more"),
        (_only_train, "only one of train/ and test/; expected both or neither"),
        (_other_classes, "has the classes c; expected those of"),
        (_test_without_classes, "has no class folders; expected those of"),
        (_linked_folder, "a link to a folder inside a class"),
        (_parts_in_classes, "expected train/<class>, not <class>/train"),
    ],
)
def test_a_spoilt_folder_is_refused_with_the_path_of_the_fault(
    two_trees: Path, spoil: Callable[[Path], Path], said: str
) -> None:
    at_fault = spoil(two_trees)
    assert said in refusal_of(at_fault, lambda: _load_folder(two_trees))


def test_a_path_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing", tmp_path / "file"):
        assert "is not a folder" in refusal_of(path, lambda path=path: _load_folder(path))


# --- parts and classes by name ---


@pytest.fixture
def plant(tmp_path: Path, write_picture: Writer) -> Callable[..., Path]:
    """Write pictures by their paths, each filled with its own number."""

    def write(*names: str) -> Path:
        for value, name in enumerate(names):
            write_picture(tmp_path / f"{name}.png", np.full((28, 28), value))
        return tmp_path

    return write


def _numbers(image_set: ImageSet | None) -> list[int]:
    assert image_set is not None
    return image_set.images[:, 0, 0].tolist()


def _said(folder: Path, part: str = "train", **options: object) -> list[str]:
    lines: list[str] = []
    load_folder(part, folder, say=lines.append, **options)  # type: ignore[arg-type]
    return lines


SPELLINGS = [("train", "val", "test"), ("training", "valid", "testing")]
SPELLINGS += [("Train", "Validation", "Test"), ("TRAIN", "VAL", "TEST")]


@pytest.mark.parametrize("names", SPELLINGS, ids="-".join)
def test_parts_are_known_by_every_usual_name(plant: Callable, names: tuple[str, ...]) -> None:
    folder = plant(*(f"{part}/{cls}/1" for part in names for cls in "ab"))
    parts = [_numbers(load_folder(part, folder)) for part in ("train", "val", "test")]
    assert parts == [[0, 1], [2, 3], [4, 5]]


def test_without_a_test_part_the_test_images_are_drawn_from_the_training_part(
    plant: Callable,
) -> None:
    folder = plant(*(f"train/{cls}/{i}" for cls in "ab" for i in range(10)), "val/a/1", "val/b/1")
    train, test = (_numbers(load_folder(part, folder)) for part in ("train", "test"))
    assert len(test) == 2 and sorted(train + test) == list(range(20))
    assert _numbers(load_folder("val", folder)) == [20, 21]


def test_a_class_may_be_called_like_a_part(plant: Callable) -> None:
    folder = plant("Train/1", "Train/2", "Bus/1", "Bus/2")
    train = load_folder("train", folder, test_size=1)
    assert train is not None and train.classes == ("Bus", "Train")
    assert load_folder("val", folder) is None


def test_two_folders_for_one_part_are_refused(plant: Callable) -> None:
    folder = plant("val/a/1", "valid/a/1", "train/a/1", "train/b/1")
    assert "val/ and valid/ are both for val" in refusal_of(folder, lambda: _load_folder(folder))


def test_folders_beside_the_parts_are_named_with_their_count(plant: Callable) -> None:
    folder = plant(*("train/a/1", "train/b/1", "test/a/1", "test/b/1", "more/a/1", "more/a/2"))
    assert [line for line in _said(folder) if f"{folder / 'more'}: 2 files are not used" in line]


def test_a_part_may_lack_a_class_and_it_is_said(plant: Callable) -> None:
    folder = plant("train/a/1", "train/b/1", "val/b/1", "test/a/1", "test/b/1")
    val = load_folder("val", folder)
    assert val is not None and val.classes == ("a", "b") and val.labels.tolist() == [1]
    assert f"{folder / 'val'}: has no folder of class a" in _said(folder)


def test_files_of_which_one_picture_of_several_is_used_are_counted(plant: Callable) -> None:
    folder = plant("train/a/1", "train/b/1", "test/a/1", "test/b/1")
    first, second = (Image.new("L", (28, 28), value) for value in (50, 60))
    first.save(folder / "train/a/2.tif", save_all=True, append_images=[second])
    said = f"1 of 3 files hold several pictures, as {folder / 'train/a/2.tif'}; only the first"
    assert [line for line in _said(folder) if said in line]
    assert 50 in _numbers(load_folder("train", folder))
    assert _said(folder, "test") == []


NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("names", [(NFC, NFD, NFC), (NFD, NFC, NFD)], ids=("nfc", "nfd"))
def test_a_class_is_the_same_in_both_forms_of_unicode(
    plant: Callable, names: tuple[str, ...]
) -> None:
    parts = dict(zip(("train", "val", "test"), names, strict=True))
    folder = plant(*(f"{part}/{name}/1" for part in parts for name in ("a", parts[part])))
    for order, classes in [(None, ("a", NFC)), ((NFC, "a"), (NFC, "a")), ((NFD, "a"), (NFD, "a"))]:
        for number, part in enumerate(parts):
            loaded = load_folder(part, folder, classes=order)
            assert loaded is not None and loaded.classes == classes
            positions = {
                loaded.classes[label]: n
                for label, n in zip(loaded.labels, _numbers(loaded), strict=True)
            }
            assert positions == {"a": 2 * number, classes[1 - classes.index("a")]: 2 * number + 1}


def test_the_order_of_classes_does_not_depend_on_the_form_of_unicode(plant: Callable) -> None:
    folder = plant(f"{NFD}/1", f"{NFD}/2", "cafz/1", "cafz/2")
    train = load_folder("train", folder, test_size=1)
    assert train is not None and train.classes == ("cafz", NFC)


def test_a_class_in_both_forms_at_once_is_refused(plant: Callable) -> None:
    folder = plant(f"{NFC}/1", f"{NFD}/1")
    assert "a class name twice" in refusal_of(folder, lambda: _load_folder(folder))


def test_classes_are_in_natural_order_or_in_that_of_an_old_run(plant: Callable) -> None:
    names = ["1", "2", "10", "11", "a2", "a10"]
    folder = plant(*(f"{part}/{name}/1" for part in ("train", "test") for name in sorted(names)))
    new, old, other = (
        load_folder("train", folder, classes=order) for order in (None, sorted(names), ["x"])
    )
    assert new is not None and old is not None and other is not None
    assert new.classes == other.classes == tuple(names)
    assert old.classes == tuple(sorted(names)) and old.labels.tolist() == list(range(6))
    assert [new.classes[i] for i in new.labels] == list(names)


def test_an_old_order_draws_the_old_test_images(plant: Callable) -> None:
    """The draw depends on the order of the classes, which was that of text."""
    folder = plant(*(f"{cls}/{i}" for cls in ("1", "10", "2") for i in range(9)))
    old = load_folder("test", folder, test_size=5, classes=("1", "10", "2"))
    assert _numbers(old) == [4, 5, 11, 17, 26]  # as version 0.1.0 drew them


# --- litter and unreadable files ---


def test_litter_is_skipped_and_counted(plant: Callable) -> None:
    folder = plant("train/a/1", "train/b/1", "test/a/1", "test/b/1")
    litter = ["train/a/Thumbs.db", "test/b/Thumbs.db", "train/b/desktop.ini", "train/a/README.md"]
    litter += ["train/b/.DS_Store", "train/b/labels.csv", "readme", "test/a/notes.TXT"]
    for name in litter:
        (folder / name).write_text("no picture")
    for place in ("__MACOSX/train/a", "train/__MACOSX", "train/a/__MACOSX", "train/.git"):
        (folder / place).mkdir(parents=True)
    [line] = _said(folder)
    assert "skipped 12 files and folders: __MACOSX (3), Thumbs.db (2), " in line
    assert _numbers(_load_folder(folder)) == [0, 1]
    assert _said(folder, "test") == [line]  # so that it is said once


def test_a_picture_is_not_litter_whatever_its_name(plant: Callable) -> None:
    folder = plant("train/a/readme", "train/license/LICENSE", "test/a/1", "test/license/1")
    assert _numbers(_load_folder(folder)) == [0, 1]
    assert _said(folder) == []


@pytest.fixture
def seven_bad(plant: Callable) -> Path:
    folder = plant("train/a/ok", "train/b/ok", "test/a/1", "test/b/1")
    for i in range(7):
        (folder / f"train/b/bad{i}.png").write_bytes(b"\x89PNG" * (i + 1))
    return folder


def test_all_unreadable_pictures_are_named_at_once(seven_bad: Path) -> None:
    message = refusal_of(seven_bad, lambda: _load_folder(seven_bad))
    assert "7 of 9 pictures cannot be read" in message and "--skip-unreadable" in message
    assert [i for i in range(7) if f"bad{i}.png" in message] == [0, 1, 2, 3, 4]


def test_unreadable_pictures_are_left_out_when_asked(seven_bad: Path) -> None:
    [line] = _said(seven_bad, skip_unreadable=True)
    assert "7 of 9 pictures cannot be read and are left out" in line and "bad4.png" in line
    kept = load_folder("train", seven_bad, skip_unreadable=True)
    assert _numbers(kept) == [0, 1]
    assert kept is not None and kept.names is not None
    assert list(kept.names) == ["train/a/ok.png", "train/b/ok.png"]


def test_a_part_without_a_readable_picture_is_refused(plant: Callable) -> None:
    folder = plant("train/a/1", "train/b/1", "test/a/1", "test/b/1")
    for name in ("test/a/1.png", "test/b/1.png"):
        (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match="2 of 2 pictures cannot be read"):
        load_folder("test", folder, skip_unreadable=True)


# --- pictures of more than 8 bits ---


def test_white_is_that_of_the_whole_folder(tmp_path: Path) -> None:
    """A dark picture stays dark beside a bright one, in another class or part, and it is said."""
    for name, value in {"train/a": 100, "train/b": 400, "test/a": 200, "test/b": 3000}.items():
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(np.full((28, 28), value, np.uint16)).save(tmp_path / name / "1.png")
    parts = {part: load_folder(part, tmp_path) for part in ("train", "test")}
    assert _numbers(parts["train"]) == [100 * 255 // 4095, 400 * 255 // 4095]
    assert _numbers(parts["test"]) == [200 * 255 // 4095, 3000 * 255 // 4095]
    lines = [_said(tmp_path, part) for part in ("train", "test")]
    assert lines[0] == lines[1] and len(lines[0]) == 1
    assert "4 pictures of more than 8 bits: largest value 3000, read as 0 to 4095" in lines[0][0]


# --- all of a folder as test set ---


def test_a_whole_folder_is_all_of_its_pictures_or_its_test_part(plant: Callable) -> None:
    folder = plant(*(f"{cls}/{i}" for cls in "ab" for i in range(5)))
    assert _numbers(load_folder("test", folder, whole=True)) == list(range(10))
    parts = plant("parts/test/a/1", "parts/test/b/1") / "parts"
    assert _numbers(load_folder("test", parts, whole=True)) == [0, 1]
    plant("parts/train/a/1", "parts/train/b/1", "parts/val/a/1")
    said = _said(parts, "test", whole=True)
    assert f"{parts}: has test/, so its other 3 pictures are not used" in said
    single = plant("single/a/1", "single/a/2") / "single"
    test_set = load_folder("test", single, whole=True)
    assert test_set is not None and test_set.classes == ("a",)
