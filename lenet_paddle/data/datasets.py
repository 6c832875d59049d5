"""The data sets: one record each, and the settings that choose one.

To add a data set, write a loader that returns one part as an `ImageSet`, and a record in
`DATASETS`. The choices of `--dataset`, the checks, the loading, the model card and the page
follow from the record.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from lenet_paddle.data.form import SIZE, Channels, Form, ImageSize
from lenet_paddle.errors import InputError
from lenet_paddle.settings import (
    COUNT,
    NATURAL,
    PATH,
    POSITIVE,
    SHARE,
    Bound,
    Settings,
    between,
)

EmnistSplit = Literal["balanced", "letters", "digits", "byclass"]
Preprocess = Literal["digit", "resize"]
"""How a picture from outside is prepared for the network: as MNIST's digits were, or scaled."""

DIGITS = tuple("0123456789")
FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CIFAR = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
HIRAGANA = tuple("おきすつなはまやれを")
CORRUPTIONS = (  # of MNIST-C (Mu and Gilmer 2019, arXiv 1906.02337)
    *("shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate"),
    *("brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag"),
    "canny_edges",
)
IDENTITY = "identity"  # MNIST-C's sixteenth folder: the unchanged images
CLEAN = "clean"  # MNIST itself, in a list of corruptions
ALL_CORRUPTIONS = (*CORRUPTIONS, IDENTITY)


@dataclass(frozen=True)
class DatasetRecord:
    """The facts of one data set."""

    loader: str
    """module:function in this package; (part, data_dir, **options) -> `ImageSet`."""
    content: str
    """What the images show."""
    classes: tuple[str, ...] | None
    """The class names; None: found in the data."""
    preprocess: Preprocess
    """How `preprocess: auto` brings pictures from outside to the network's form."""
    is_light_on_dark: bool
    """Whether it shows light things on a dark ground, as far as that is known."""
    title: str | None = None
    """Its name for readers; None: the user's own data, without credit and licence."""
    credit: str | None = None
    """Who made it."""
    licence: str | None = None
    """Its licence."""
    data_dir: str | None = None
    """What `data_dir` must be the path of; None: the data is found without it."""
    is_sorted: bool = False
    """Whether images may be sorted by class: validation images are then a stratified draw and
    the training images are shuffled once. Otherwise validation takes the last images."""
    may_shrink_val: bool = False
    """Whether a `val_size` of over half of the images becomes a tenth of them, instead of an error
    when none is left."""
    options: tuple[str, ...] = ()
    """Settings that the loader takes; with test_size it draws a test set where there is none."""
    may_have_val: bool = False
    """Whether the loader knows the part "val" too, and returns None where there is none."""

    @property
    def terms(self) -> str:
        """Return credit, licence and content in one phrase, for the model card."""
        if self.title is None:
            return "own data; its provider sets the licence"
        return f"{self.title} by {self.credit}, {self.licence}: {self.content}"


DATASETS: dict[str, DatasetRecord] = {
    "mnist": DatasetRecord(
        loader="sources:load_mnist",
        content="grey digits, 28x28",
        classes=DIGITS,
        preprocess="digit",
        is_light_on_dark=True,
        title="MNIST",
        credit="Yann LeCun and Corinna Cortes",
        licence="CC BY-SA 3.0",
    ),
    "fashion_mnist": DatasetRecord(
        loader="sources:load_fashion_mnist",
        content="grey clothes, 28x28",
        classes=FASHION,
        preprocess="resize",
        is_light_on_dark=True,
        title="Fashion-MNIST",
        credit="Zalando (Xiao et al. 2017)",
        licence="MIT",
    ),
    "cifar10": DatasetRecord(
        loader="cifar:load_cifar10",
        content="animals and vehicles in colour, 32x32",
        classes=CIFAR,
        preprocess="resize",
        is_light_on_dark=False,
        title="CIFAR-10",
        credit="Alex Krizhevsky (2009)",
        licence="its author's terms",
    ),
    "emnist": DatasetRecord(
        loader="emnist:load_emnist",
        content="grey letters and digits, 28x28",
        classes=None,
        preprocess="digit",
        is_light_on_dark=True,
        title="EMNIST",
        credit="Gregory Cohen et al. (2017)",
        licence="its authors' terms",
        options=("emnist_split",),
    ),
    "kmnist": DatasetRecord(
        loader="emnist:load_kmnist",
        content="grey cursive hiragana, 28x28",
        classes=HIRAGANA,
        preprocess="resize",
        is_light_on_dark=True,
        title="KMNIST",
        credit="CODH (Clanuwat et al. 2018)",
        licence="CC BY-SA 4.0",
    ),
    "qmnist": DatasetRecord(
        loader="emnist:load_qmnist",
        content="MNIST's digits with 60,000 for testing, 28x28",
        classes=DIGITS,
        preprocess="digit",
        is_light_on_dark=True,
        title="QMNIST",
        credit="Chhavi Yadav and Léon Bottou (2019)",
        licence="BSD",
    ),
    "folder": DatasetRecord(
        loader="folder:load_folder",
        content="pictures of any size and colour, one folder per class",
        classes=None,
        preprocess="resize",
        is_light_on_dark=False,
        data_dir="a folder of pictures",
        is_sorted=True,
        may_shrink_val=True,
        options=(
            *("preprocess", "test_size", "channels", "image_size", "classes", "whole"),
            *("skip_unreadable", "say"),
        ),
        may_have_val=True,
    ),
    "npz": DatasetRecord(
        loader="npz:load_npz",
        content="arrays x_train, y_train, x_test, y_test",
        classes=None,
        preprocess="resize",
        is_light_on_dark=False,
        data_dir="a .npz file",
        is_sorted=True,
        may_shrink_val=True,
        options=("scale", "test_size", "classes", "whole", "say"),
        may_have_val=True,
    ),
    "csv": DatasetRecord(
        loader="csv_files:load_csv",
        content="a line per image: its label and the pixels of a grey square",
        classes=None,
        preprocess="resize",
        is_light_on_dark=False,
        data_dir="a .csv file, or a folder with one for training and one for testing",
        is_sorted=True,
        may_shrink_val=True,
        options=("scale", "test_size", "label_column", "whole", "say"),
        may_have_val=True,
    ),
    "mat": DatasetRecord(
        loader="mat:load_mat",
        content="digits of house numbers in colour, 32x32",
        classes=DIGITS,
        preprocess="resize",
        is_light_on_dark=False,
        title="SVHN",
        credit="Netzer et al. (2011)",
        licence="for non-commercial use only",
        data_dir="a folder with train_32x32.mat and test_32x32.mat",
    ),
    "mnist_c": DatasetRecord(
        loader="mnist_c:load_mnist_c",
        content="MNIST's digits under 15 corruptions, 28x28",
        classes=DIGITS,
        preprocess="digit",
        is_light_on_dark=True,
        title="MNIST-C",
        credit="Norman Mu and Justin Gilmer (2019)",
        licence="its authors' terms",
        data_dir="the folder mnist_c (python tools/corrupt.py makes one)",
        may_shrink_val=True,
        options=("corruption",),
    ),
}
if TYPE_CHECKING:
    DatasetName = str
else:
    DatasetName = Literal[tuple(DATASETS)]


def find_dataset(name: str) -> DatasetRecord:
    """Return the record of a data set. Raises `InputError` for an unknown name."""
    if name not in DATASETS:
        raise InputError(f"dataset {name!r} is unknown; expected one of {', '.join(DATASETS)}")
    return DATASETS[name]


def describe_data(name: str) -> dict[str, Any]:
    """Return what the page shows of the data set a model was trained on, for model.json."""
    record = DATASETS.get(name)  # an export may come from a version with other data sets
    return {
        "dataset": name,
        "dataset_title": record and record.title,
        "is_light_on_dark": record is not None and record.is_light_on_dark,
    }


SPECIAL = ("corruption", "scale", "label_column", "emnist_split", "skip_unreadable")
"""Settings of which each is for some data sets only."""


def check_request(name: str, data_dir: object, **special: object) -> None:
    """Raise `InputError` for a data set without the path it needs, or with a `special` option, such
    as a corruption, that only others take."""
    record = find_dataset(name)
    if record.data_dir is not None and data_dir is None:
        raise InputError(f"dataset {name} needs data_dir: the path of {record.data_dir}")
    for option, value in special.items():
        if value and option not in record.options:
            owners = (other for other, its in DATASETS.items() if option in its.options)
            raise InputError(
                f"{option} {value} is for dataset {' and '.join(owners)}; dataset is {name}"
            )


def corruption_names(known: tuple[str, ...]) -> Bound:
    """Return the bound of a text of `known` names with commas between them, each once."""

    def holds(text: str) -> bool:
        names = text.split(",")
        return set(names) <= set(known) and len(set(names)) == len(names)

    return Bound(holds, f"names with commas between them, each once, of {', '.join(known)}")


CORRUPTION = Bound(lambda v: v in ALL_CORRUPTIONS, f"one of {', '.join(ALL_CORRUPTIONS)}")


Config = TypeVar("Config", bound="DatasetConfig")


@dataclass(frozen=True)
class DatasetConfig(Settings):
    """The images to train and test on."""

    dataset: DatasetName = "mnist"
    """The data set; mnist is embedded, and data of your own needs --data-dir."""
    data_dir: Annotated[str | None, PATH] = None
    """Where the data is: a folder of IDX files, of pictures or of .npy files, the folder mnist_c
    or its parent, a .npz or .csv file, CIFAR-10's folder or archive, or a folder of .mat files."""
    val_size: Annotated[int, NATURAL] = 5000
    """Training images held out for validation, to choose the model, where the data has none of its
    own; with 0 the curves come from the test set."""
    test_size: Annotated[int | None, COUNT] = None
    """dataset folder, npz, csv without test images: how many are held out for testing (default: a
    tenth)."""
    scale: Annotated[float | None, POSITIVE] = None
    """dataset npz, csv: factor that brings the values of the images to 0..255, such as 15.9375 for
    0..16 (default: none for whole numbers; floats by their range)."""
    label_column: Literal["first", "last"] | None = None
    """dataset csv: where the labels are (default: by the header, or where only one may be)."""
    emnist_split: EmnistSplit | None = None
    """dataset emnist: which of its divisions (default: balanced)."""
    skip_unreadable: bool = False
    """dataset folder: leave out pictures that cannot be read, and name them."""
    limit: Annotated[int | None, COUNT] = None
    """Train on the first N images only, for a quick look."""
    preprocess: Literal["auto", "digit", "resize"] = "auto"
    """How pictures from outside are brought to the network's form: digit (grey 28x28, as MNIST was
    made) or resize."""
    channels: Channels = "auto"
    """1: grey pictures, 3: colour (default: as the training images are)."""
    image_size: ImageSize = "auto"
    """Side in pixels of the pictures that the network gets, 28 to 224 (default: that of arrays; of
    a folder 28, 32 or 64 by the size of its pictures)."""
    seed: Annotated[int, between(0, 2**32 - 1, "a whole number")] = 0
    """Seed of the initial weights, the order of the images and all random draws in training; the
    validation and test images do not depend on it."""

    def _check_together(self) -> None:
        super()._check_together()
        special = {name: getattr(self, name) for name in SPECIAL if hasattr(self, name)}
        check_request(self.dataset, self.data_dir, **special)
        if self.picture_mode == "digit":
            for name, only in (("channels", 1), ("image_size", SIZE)):
                if getattr(self, name) not in ("auto", only):
                    raise InputError(
                        f"{name} is {getattr(self, name)}; preprocess digit makes grey pictures of "
                        f"{SIZE}x{SIZE}: use --preprocess resize for others"
                    )

    @property
    def picture_mode(self) -> Preprocess:
        """Return `preprocess`, with the data set's own mode in place of `auto`."""
        own = find_dataset(self.dataset).preprocess
        return own if self.preprocess == "auto" else self.preprocess

    def with_form(self: Config, form: Form) -> Config:
        """Return the same settings for pictures of `form`."""
        return dataclasses.replace(self, channels=form.channels, image_size=form.size)

    @property
    def form(self) -> Form:
        """The form of the pictures of a run, whose settings have no `auto` for it."""
        assert self.channels != "auto" and self.image_size != "auto"
        return Form(self.channels, self.image_size)


@dataclass(frozen=True)
class DataConfig(DatasetConfig):
    """The images to train and test on, with corruptions of MNIST-C."""

    corruption: Annotated[str | None, CORRUPTION] = None
    """mnist_c: one corruption, such as fog (default: all in the folder, mixed)."""
    replay: Annotated[str | None, corruption_names((CLEAN, *CORRUPTIONS))] = None
    """mnist_c: other corruptions to mix in, as clean,shear; clean is MNIST itself."""
    replay_share: Annotated[float, SHARE] = 0.2
    """Number of replayed images, as a share of the training images, added to them."""

    def _check_together(self) -> None:
        super()._check_together()
        if self.replay is not None and self.dataset != "mnist_c":
            raise InputError(f"replay is for dataset mnist_c; dataset is {self.dataset}")
