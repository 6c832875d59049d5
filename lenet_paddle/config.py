"""The settings of a training run: one flat frozen dataclass, from which the flags are made."""

from __future__ import annotations

import dataclasses
import re
import reprlib
import sys
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from lenet_paddle.errors import InputError
from lenet_paddle.settings import check_types

ModelName = Literal[
    "lenet5",
    "lenet_sequential",
    "lenet_subclass",
    "lenet_builtin",
    "mlp",
    "lenet_relu",
    "lenet_d2l",
    "cnn_regularized",
    "lenet_modern",
]
VISION_PREFIX = "vision:"
VISION_NAMES = (  # the classifiers of paddle.vision.models, in its order
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext50_64x4d", "resnext101_32x4d", "resnext101_64x4d"),
    *("resnext152_32x4d", "resnext152_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
    *("vgg11", "vgg13", "vgg16", "vgg19"),
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("densenet121", "densenet161", "densenet169", "densenet201", "densenet264"),
    *("alexnet", "inception_v3", "squeezenet1_0", "squeezenet1_1", "googlenet"),
    *("shufflenet_v2_x0_25", "shufflenet_v2_x0_33", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    *("shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "shufflenet_v2_swish"),
)
DatasetName = Literal["mnist", "fashion_mnist", "folder", "npz", "mnist_c"]
CORRUPTIONS = (  # of MNIST-C (Mu and Gilmer 2019, arXiv 1906.02337)
    *("shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate"),
    *("brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag"),
    "canny_edges",
)
CLEAN = "clean"  # MNIST itself, among corruptions
IDENTITY = "identity"  # MNIST-C's sixteenth folder: nothing is changed
OWN_DATA = {  # data sets that need a data_dir -> what it is the path of
    "folder": "a folder of pictures",
    "npz": "a .npz file",
    "mnist_c": "the folder mnist_c (python tools/corrupt.py makes one)",
}
Preprocess = Literal["digit", "resize"]
Device = Literal["auto", "cpu", "gpu"]
Fill = Literal["background", "nearest"]
EngineName = Literal["paddle", "onnx", "onnx-int8"]
EngineChoice = Literal["auto", "paddle", "onnx", "onnx-int8"]


# What tells one invocation from another, but is no property of the run that it makes.
_INVOCATION = ("config", "output_dir", "name", "overwrite", "resume", "seeds")


MODEL_CHOICES = (
    f"one of {', '.join(typing.get_args(ModelName))}, or {VISION_PREFIX}NAME with NAME one of "
    f"{', '.join(VISION_NAMES)}"
)


def is_model(name: str) -> bool:
    """Whether `name` is one of the networks or `vision:<name>`; tells without Paddle."""
    if name.startswith(VISION_PREFIX):
        return name.removeprefix(VISION_PREFIX) in VISION_NAMES
    return name in typing.get_args(ModelName)


def check_model(name: str) -> None:
    """Raise `InputError` that lists the valid names unless `name` is a network."""
    if not is_model(name):
        raise InputError(f"model {name!r} is unknown; expected {MODEL_CHOICES}")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `tools/train.py`. Raises `InputError` when a value has a wrong type or range."""

    model: ModelName | str = "lenet_builtin"
    """The network (see "The models" in the README); vision:NAME, such as vision:resnet18, takes
    any classifier of paddle.vision.models."""
    dataset: DatasetName = "mnist"
    """The data: mnist is embedded; folder, npz and mnist_c are your own, named by --data-dir."""
    data_dir: str | None = None
    """Where the data lies: a folder of IDX files, of pictures, of .npy files, the folder mnist_c
    or one that holds it, or a .npz file."""
    corruption: str | None = None
    """mnist_c: one corruption, such as fog; without it all that are in the folder, mixed."""
    replay: str | None = None
    """mnist_c: other corruptions, and clean for MNIST, of which some images are trained with it,
    as clean,shear."""
    replay_share: float = 0.2
    """How many: this share of the training images' number, added to them."""
    val_size: int = 5000
    """Training images held out to choose the model by; 0: none, curves come from the test set."""
    test_size: int | None = None
    """dataset folder in one tree: images held out as test set (default: a tenth)."""
    limit: int | None = None
    """Train on the first N images only, for a quick look."""
    preprocess: Literal["auto", "digit", "resize"] = "auto"
    """How a foreign picture is brought to 28x28: digit (as MNIST was made) or resize."""

    augment: Literal["none", "light", "strong"] = "none"
    """How training images are varied: the ranges of a preset; each flag below overrides one."""
    rotation: float | None = None
    """Degrees, to either side (light 10, strong 15)."""
    shift: float | None = None
    """Share of the side, along each axis (light 0.05, strong 0.1)."""
    zoom: float | None = None
    """z: each axis is scaled by 1 - z to 1 + z (light 0.1, strong 0.15)."""
    shear: float | None = None
    """Degrees by which upright lines lean (light 6, strong 10)."""
    elastic: float | None = None
    """Standard deviation in pixels of elastic displacements (light 0.4, strong 0.7)."""
    elastic_sigma: float | None = None
    """Pixels of the Gaussian that smooths them (presets 2)."""
    horizontal_flip: float | None = None
    """Probability of exchanging left and right (presets 0)."""
    vertical_flip: float | None = None
    """Probability of exchanging top and bottom (presets 0)."""
    erase: float | None = None
    """Probability of covering a rectangle with one random grey (strong 0.25)."""
    bars: float | None = None
    """Probability of each of three straight bars of one random grey (presets 0)."""
    brightness: float | None = None
    """Share of 255 that is added or taken away (presets 0)."""
    contrast: float | None = None
    """c: distances from the image's mean are scaled by 1 - c to 1 + c (strong 0.2)."""
    noise: float | None = None
    """The highest standard deviation of Gaussian noise, as a share of 255 (strong 0.05)."""
    blur: float | None = None
    """The highest standard deviation in pixels of a Gaussian blur (presets 0)."""
    fill: Fill | None = None
    """What stands where a moved image leaves a gap: background (0, the presets') or nearest."""

    epochs: int = 5
    """Passes over the training images."""
    batch_size: int = 64
    """Images in a step; the last, partial batch of an epoch counts too."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw", "muon"] = "adam"
    """The optimizer."""
    learning_rate: float = 0.001
    """The (highest) learning rate."""
    momentum: float = 0.9
    """Used by --optimizer momentum and muon."""
    muon_adam_rate: float = 0.003
    """muon: the highest rate of the AdamW that moves what is no matrix, and the last layer."""
    weight_decay: float = 0.0
    """c: adds c/2 * sum(w^2) to the loss; adamw and muon decouple it from the gradient."""
    l2: float = 0.0
    """c: adds c * sum(w^2) over the kernels (no biases) to the loss, as Keras's l2 does."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is evaluated and kept; 0: none."""
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"] = "constant"
    """How the learning rate changes during the run."""
    warmup_epochs: float = 0.0
    """The rate rises evenly from 0 during these; the schedule has the epochs that are left."""
    decay_epochs: int = 2
    """step: lower the rate every N epochs; plateau: after N epochs without improvement."""
    decay_factor: float = 0.1
    """step and plateau multiply the rate by this."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes, 0 <= s < 1 (train loss only)."""
    accumulate: int = 1
    """Average the gradients of N batches before each update."""
    amp: Literal["O0", "O1", "O2"] = "O0"
    """Automatic mixed precision, for GPUs: O1 mixed, O2 nearly all in half precision."""

    monitor: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    """What the best checkpoint is chosen by."""
    patience: int | None = None
    """Stop when --monitor has not improved for N epochs (default: never)."""
    keep_last: int = 2
    """Checkpoints kept: the newest N, and what is or was the best at each of them."""
    keep_every: int = 0
    """Keep the checkpoint of every K-th epoch too; 0: none."""
    log_every: int = 20
    """Write a point of VisualDL's training curves every N steps."""
    vdl: Literal["plain", "rich"] = "plain"
    """rich: VisualDL also gets samples, filters, feature maps, histograms of gradients and
    activations, the graph, hyperparameters, embeddings, and PR and ROC curves."""

    seed: int = 0
    """Seeds the weights, the order of the images and all that is drawn while training; not which
    images are for validation and test."""
    seeds: str | None = None
    """Run these seeds one after the other, e.g. 0,1,2, in place of --seed, and write a table of
    these."""
    device: Device = "auto"
    """auto takes a GPU when Paddle sees one."""
    init_from: str | None = None
    """Start from these weights: a run, a checkpoint folder, a Paddle prefix, a file .pdparams or
    .safetensors; {seed} in it stands for the run's own."""
    freeze: str | None = None
    """Layers that are not trained: the first N with weights, or names and patterns of layers, as
    features.0,fc*."""
    with_optimizer: bool = False
    """With --init-from: take the optimizer's state along (Adam's moments)."""
    output_dir: str = "output"
    """Folder that holds the runs."""
    name: str | None = None
    """Name of the run (default: a free one such as lenet_builtin-mnist-001)."""
    overwrite: bool = False
    """Replace the run of that name."""
    resume: str | None = None
    """Go on with this run, e.g. output/RUN, from its last whole epoch, with its own settings."""
    config: str | None = None
    """A YAML file of settings, keys named as here; flags override it."""

    def __post_init__(self) -> None:
        check_types(self)
        for name, (holds, expected) in _RANGES.items():
            value = getattr(self, name, None)
            if value is not None and not holds(value):
                raise InputError(f"{name} is {reprlib.repr(value)}; expected {expected}")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.dataset in OWN_DATA and self.data_dir is None:
            raise InputError(
                f"dataset {self.dataset} needs data_dir: the path of {OWN_DATA[self.dataset]}"
            )
        if self.corruption is not None and self.dataset != "mnist_c":
            raise InputError(
                f"corruption {self.corruption} is for dataset mnist_c; dataset is {self.dataset}"
            )
        if self.replay is not None and self.dataset != "mnist_c":
            raise InputError(f"replay is for dataset mnist_c; dataset is {self.dataset}")
        if self.val_size == 0 and (self.patience or self.schedule == "plateau"):
            raise InputError(
                "val_size 0 leaves nothing to judge by; patience and schedule plateau need "
                "validation images (--val-size 5000)"
            )
        if self.optimizer == "muon" and self.amp != "O0":
            raise InputError("amp works with Paddle's own optimizers; choose another than muon")
        if self.ema and self.amp == "O2":
            raise InputError("ema averages in single precision; amp O2 has half, choose O1 or O0")
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"warmup_epochs {self.warmup_epochs:g} leaves nothing of {self.epochs} epochs; "
                "lower it"
            )
        if self.l2 and self.weight_decay and self.optimizer not in ("adamw", "muon"):
            raise InputError(f"l2 and weight_decay are one thing with {self.optimizer}; choose one")
        if self.seeds is not None and (self.overwrite or self.resume):
            raise InputError(
                "seeds goes on with the runs that are there; leave out overwrite and resume"
            )
        if self.overwrite and self.name is None:
            raise InputError("overwrite needs name: the run that it replaces")
        if self.with_optimizer and not self.init_from:
            raise InputError("with_optimizer needs init_from: the run whose optimizer it takes")

    def to_dict(self) -> dict[str, Any]:
        """The settings that `config.yaml` keeps: all but those of one invocation."""
        given = [f.name for f in dataclasses.fields(self) if f.init and f.name not in _INVOCATION]
        return {name: getattr(self, name) for name in given}

    def on_data(self, dataset: DatasetName | None, data_dir: str | None) -> TrainConfig:
        """The same run on other data; itself when that is its own, or none is named."""
        if dataset in (None, self.dataset) and data_dir is None:
            return self
        return dataclasses.replace(
            self,
            dataset=dataset or self.dataset,
            data_dir=data_dir,
            corruption=self.corruption if dataset in (None, self.dataset) else None,
            replay=None,
            preprocess=self.picture_mode,
        )

    @property
    def picture_mode(self) -> Preprocess:
        """`preprocess` with `auto` decided: `digit` for MNIST's digits, else `resize`."""
        if self.preprocess != "auto":
            return self.preprocess
        return "digit" if self.dataset in ("mnist", "mnist_c") else "resize"


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Settings of `tools/finetune.py`: those of a training, and how it goes through the data.

    Network and preprocess are those of the run `init_from`.
    """

    model: ModelName | str | None = None  # type: ignore[assignment]  # the stages have one
    """The network; to be given where --init-from is a file of weights without a run."""
    dataset: DatasetName = "mnist_c"
    """The new data: folder, npz and mnist_c are your own, named by --data-dir."""
    name: str | None = None
    """The fine-tuning's folder under output_dir (default: the run's name and the mode)."""
    resume: str | None = None
    """Go on with this fine-tuning, e.g. output/NAME, exactly as if it had not stopped."""
    mode: Literal["joint", "sequential", "replay"] = "joint"
    """joint: all in one stage. sequential: mnist_c's corruptions one after the other, each stage
    from the best weights of the one before. replay: the same, with a share of what was before."""
    corruptions: str | None = None
    """sequential and replay: these, in this order, as fog,stripe (default: all in the folder)."""
    batch_size: int = 128
    """Images in a step; the last, partial batch of an epoch counts too."""
    monitor: Literal["val_accuracy", "val_loss"] = "val_loss"
    """What the checkpoint that is carried on is chosen by."""
    replay_share: float = 0.2
    """replay: images of earlier stages and of MNIST, as a share of the stage's own, added."""

    # Decided for each stage, or without meaning here: no flags.
    corruption: str | None = field(default=None, init=False)
    replay: str | None = field(default=None, init=False)
    seeds: str | None = field(default=None, init=False)
    with_optimizer: bool = field(default=False, init=False)
    overwrite: bool = field(default=False, init=False)

    def _check_combinations(self) -> None:
        if self.resume is not None:
            return
        if self.init_from is None:
            raise InputError("init_from is missing; expected the run to start from, output/<run>")
        if self.mode != "joint" and self.dataset != "mnist_c":
            raise InputError(
                f"mode {self.mode} goes through the corruptions of mnist_c; dataset "
                f"{self.dataset} has one stage: mode joint"
            )
        if self.mode == "joint" and self.corruptions is not None:
            raise InputError("corruptions is the order of the stages; mode joint has one stage")
        super()._check_combinations()


_COUNT = (lambda v: v >= 1, "a whole number of 1 or more")
_NATURAL = (lambda v: v >= 0, "a whole number of 0 or more")
_SHARE = (lambda v: 0 <= v <= 1, "a number from 0 to 1")
_BELOW_1 = (lambda v: 0 <= v < 1, "a number from 0 to below 1")
_POSITIVE = (lambda v: 0 < v <= sys.float_info.max, "a number above 0")
_NOT_NEGATIVE = (lambda v: 0 <= v <= sys.float_info.max, "a number of 0 or more")
_RANGES: dict[str, tuple[Any, str]] = {
    "model": (is_model, MODEL_CHOICES),
    "val_size": _NATURAL,
    "test_size": _COUNT,
    "limit": _COUNT,
    "corruption": (
        lambda v: v in (*CORRUPTIONS, IDENTITY),
        f"one of {', '.join((*CORRUPTIONS, IDENTITY))}",
    ),
    "corruptions": (
        lambda v: are_corruptions(v, CORRUPTIONS),
        f"names with commas between them, each once, of {', '.join(CORRUPTIONS)}",
    ),
    "replay": (
        lambda v: are_corruptions(v, (CLEAN, *CORRUPTIONS)),
        f"names with commas between them, each once, of {', '.join((CLEAN, *CORRUPTIONS))}",
    ),
    "replay_share": _SHARE,
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "rotation": (lambda v: 0 <= v <= 180, "degrees from 0 to 180"),
    "shift": _SHARE,
    "zoom": _BELOW_1,
    "shear": (lambda v: 0 <= v <= 60, "degrees from 0 to 60"),
    "elastic": (lambda v: 0 <= v <= 10, "a number from 0 to 10"),
    "elastic_sigma": (lambda v: 1 <= v <= 20, "a number from 1 to 20"),
    "horizontal_flip": _SHARE,
    "vertical_flip": _SHARE,
    "erase": _SHARE,
    "bars": _SHARE,
    "brightness": _SHARE,
    "contrast": _SHARE,
    "noise": _SHARE,
    "blur": (lambda v: 0 <= v <= 10, "a number from 0 to 10"),
    "learning_rate": _POSITIVE,
    "momentum": _BELOW_1,
    "muon_adam_rate": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "l2": _NOT_NEGATIVE,
    "ema": _BELOW_1,
    "warmup_epochs": _NOT_NEGATIVE,
    "decay_epochs": _COUNT,
    "decay_factor": (lambda v: 0 < v < 1, "a number between 0 and 1"),
    "label_smoothing": _BELOW_1,
    "accumulate": _COUNT,
    "patience": _COUNT,
    "keep_last": _COUNT,
    "keep_every": _NATURAL,
    "log_every": _COUNT,
    "seed": (lambda v: 0 <= v < 2**32, "a whole number from 0 to 4294967295"),
    "seeds": (lambda v: bool(parse_seeds(v)), "seeds with commas between them, as 0,1,2"),
    "freeze": (
        lambda v: all(part.strip() for part in v.split(",")),
        "a number of layers, or names and patterns with commas between them",
    ),
    "name": (
        lambda v: v.replace("-", "").replace("_", "").isalnum() and v.isascii(),
        "letters, digits, - and _",  # no dots: Model.load would read what follows as a suffix
    ),
}


def to_name(text: str) -> str:
    """`text` as a name is allowed to be: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def are_corruptions(text: str, known: tuple[str, ...]) -> bool:
    """Whether `text` is names of `known` with commas between them, none twice."""
    names = text.split(",")
    return set(names) <= set(known) and len(set(names)) == len(names)


def parse_seeds(text: str) -> list[int]:
    """The seeds of `0,1,2`; none when it is not that, or names one twice."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and part.isascii() and len(part) <= 10 for part in parts):
        return []
    seeds = [int(part) for part in parts]
    return seeds if len(set(seeds)) == len(seeds) and max(seeds) < 2**32 else []
