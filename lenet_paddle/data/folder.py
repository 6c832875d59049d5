"""Load a folder of pictures, one folder per class or lists, perhaps divided into parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.form import Channels, Side
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.lists import find_lists, read_lists
from lenet_paddle.data.pictures import choose_picture_form, read_pictures
from lenet_paddle.data.sources import draw_part
from lenet_paddle.data.tree import scan_folders
from lenet_paddle.errors import InputError, Say

_log = logging.getLogger(__name__)


def load_folder(
    part: str,
    data_dir: Path,
    preprocess: Preprocess = "resize",
    test_size: int | None = None,
    *,
    channels: Channels = "auto",
    image_size: Side = "auto",
    classes: Sequence[str] | None = None,
    whole: bool = False,
    skip_unreadable: bool = False,
    say: Say = _log.warning,
) -> ImageSet | None:
    """Load a folder of pictures: `train/<class>/*`, `val/...` and `test/...`, or `<class>/*`, or
    those that `train_list.txt` names (see `lists.read_lists`).

    The parts may also be named training, valid, validation and testing, in any case. Classes are
    the folders' names in natural order (1, 2, 10), or in the order of `classes` where these are
    the same. Pictures of any colour and size become uint8 (N, S, S) or (N, S, S, 3) by
    `prepare_picture`; `auto` is filled in by `pictures.choose_picture_form`.
    Where there is no test/, `test_size` images (default a tenth) are drawn as test set,
    stratified, the same ones in every run; with `whole` a folder without parts is the test set.
    Returns None for the part "val" where there is none. `say` gets a line for what is skipped.

    Raises `InputError` for files that are not pictures (all of them at once), unless
    `skip_unreadable`, and for a link out of `data_dir`.
    """
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: is not a folder; expected one folder of pictures per class")
    if lists := find_lists(data_dir, whole):
        tree = read_lists(data_dir, lists, classes, say)
    else:
        tree = scan_folders(data_dir, classes, whole, say)
    if part == "val" and part not in tree.files:
        return None
    if part == "val" or "test" in tree.files:
        files, labels = tree.files[part]
        if whole and len(tree.files) > 1:
            others = sum(len(of_part) for of_part, _ in tree.files.values()) - len(files)
            say(f"{data_dir}: has test/, so its other {others:,} pictures are not used")
    elif whole:
        files = [file for of_part, _ in tree.files.values() for file in of_part]
        labels = np.concatenate([of_part for _, of_part in tree.files.values()])
    else:
        files, labels = tree.files["train"]
        chosen = draw_part(part, labels, test_size)
        files, labels = [files[i] for i in chosen], labels[chosen]
    form = choose_picture_form(tree, preprocess, channels, image_size, say)
    return read_pictures(tree, part, files, labels, form, preprocess, skip_unreadable, say)
