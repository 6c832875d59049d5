"""The settings of a training and of a fine-tuning: groups, and the flat dataclasses made of them.

Each setting is declared once, with its bound and its help text, in the group that uses it.
`config.learning_rate` and `TrainConfig(epochs=1)` are flat, as are flags and YAML; functions
take the group that they need, such as `load_data(config: DataConfig)`. The groups of the data
are in `data/datasets.py` and `data/augment.py`.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from lenet_paddle.data.augment import AugmentConfig
from lenet_paddle.data.datasets import (
    CORRUPTIONS,
    SPECIAL,
    DataConfig,
    DatasetConfig,
    DatasetName,
    corruption_names,
)
from lenet_paddle.errors import InputError
from lenet_paddle.models import KNOWN_MODEL, ModelName, input_size
from lenet_paddle.runtime import Device
from lenet_paddle.settings import (
    BELOW_1,
    COUNT,
    NATURAL,
    NOT_NEGATIVE,
    PATH,
    PER_COMMAND,
    POSITIVE,
    SHARE,
    Bound,
    Default,
    Settings,
)

Monitor = Literal["val_accuracy", "val_loss"]
NAME = Bound(  # no dots: paddle.Model.load would read what follows as a suffix
    lambda v: v.replace("-", "").replace("_", "").isalnum() and v.isascii(),
    "letters, digits, - and _",
)
LAYERS = Bound(
    lambda v: all(part.strip() for part in v.split(",")),
    "a number of layers, or names and patterns with commas between them",
)
SEEDS = Bound(lambda v: bool(parse_seeds(v)), "seeds with commas between them, as 0,1,2")


def to_name(text: str) -> str:
    """Return `text` as a valid name of a run, with other characters replaced by hyphens."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of `0,1,2`; an empty list for anything else, and for duplicates."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and part.isascii() and len(part) <= 10 for part in parts):
        return []
    seeds = [int(part) for part in parts]
    return seeds if len(set(seeds)) == len(seeds) and max(seeds) < 2**32 else []


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """The network and its initial weights."""

    model: Annotated[ModelName | str, KNOWN_MODEL] = "lenet_builtin"
    """The network; vision:NAME, such as vision:resnet18, takes any classifier of
    paddle.vision.models."""
    init_from: Annotated[str | None, PATH] = None
    """Start from these weights: a run, a checkpoint folder, a Paddle prefix, a file .pdparams or
    .safetensors; {seed} in it stands for the run's own seed."""
    with_optimizer: bool = False
    """With --init-from: load the optimizer's state too (Adam's moments)."""

    def _check_together(self) -> None:
        super()._check_together()
        if self.with_optimizer and not self.init_from:
            raise InputError("with_optimizer needs init_from: the run whose optimizer it takes")


@dataclass(frozen=True)
class OptimizationConfig(Settings):
    """How the weights are trained."""

    epochs: Annotated[int, COUNT] = Default(5)
    """Passes over the training images; with --resume the run's new number of them."""
    batch_size: Annotated[int, COUNT] = 64
    """Images per step; the last, partial batch of an epoch is used too."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw", "muon"] = "adam"
    """The optimizer."""
    learning_rate: Annotated[float, POSITIVE] = 0.001
    """The (highest) learning rate."""
    momentum: Annotated[float, BELOW_1] = 0.9
    """Momentum of --optimizer momentum and muon."""
    muon_adam_rate: Annotated[float, POSITIVE] = 0.003
    """muon: the highest learning rate of AdamW, for non-matrix parameters and the last layer."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.0
    """c: adds c/2 * sum(w^2) to the loss; adamw and muon decouple it from the gradient."""
    l2: Annotated[float, NOT_NEGATIVE] = 0.0
    """c: adds c * sum(w^2) over the kernels (not the biases) to the loss, as Keras's l2 does."""
    ema: Annotated[float, BELOW_1] = 0.0
    """Decay of a moving average of the weights, which is evaluated and kept; 0: none."""
    schedule: Literal["constant", "step", "cosine", "one_cycle", "plateau"] = "constant"
    """How the learning rate changes during the run."""
    warmup_epochs: Annotated[float, NOT_NEGATIVE] = 0.0
    """The learning rate rises linearly from 0 during these; the schedule takes the rest."""
    decay_epochs: Annotated[int, COUNT] = 2
    """step: lower the rate every N epochs; plateau: after N epochs without improvement."""
    decay_factor: Annotated[float, Bound(lambda v: 0 < v < 1, "a number between 0 and 1")] = 0.1
    """Factor by which step and plateau multiply the rate."""
    label_smoothing: Annotated[float, BELOW_1] = 0.0
    """Share of the target spread evenly over all classes, 0 <= s < 1 (training loss only)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: in the training loss an image counts N / (classes * images of its class), so that
    rare classes count as much as frequent ones."""
    outliers: Annotated[float, BELOW_1] = 0.0
    """Share of each batch that is replaced by pictures that are no digits, made from its digits, on
    which all classes shall get the same probability; for grey digits."""
    accumulate: Annotated[int, COUNT] = 1
    """Average the gradients of N batches before each update."""
    amp: Literal["O0", "O1", "O2"] = "O0"
    """Automatic mixed precision, for GPUs: O1 mixed, O2 nearly all in half precision."""
    freeze: Annotated[str | None, LAYERS] = None
    """Layers that are not trained: the first N with weights, or names and patterns of layers, as
    features.0,fc*."""
    monitor: Monitor = "val_accuracy"
    """The metric that chooses the best checkpoint."""
    patience: Annotated[int | None, COUNT] = None
    """Stop when --monitor has not improved for N epochs (default: never)."""
    device: Device = "auto"
    """auto takes a GPU when Paddle sees one."""

    def _check_together(self) -> None:
        super()._check_together()
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
            raise InputError(
                f"l2 and weight_decay are the same penalty with {self.optimizer}; choose one"
            )


@dataclass(frozen=True)
class OutputConfig(Settings):
    """What a run writes, and where."""

    output_dir: Annotated[str, PATH, PER_COMMAND] = "output"
    """Folder of the runs."""
    keep_last: Annotated[int, COUNT] = 2
    """Checkpoints kept: the newest N, and the best one as of each of them."""
    keep_every: Annotated[int, NATURAL] = 0
    """Keep the checkpoint of every K-th epoch too; 0: none."""
    log_every: Annotated[int, COUNT] = 20
    """Write a point of VisualDL's training curves every N steps."""
    vdl: Literal["plain", "rich"] = "plain"
    """rich: VisualDL also gets samples, filters, feature maps, histograms of gradients and
    activations, the graph, hyperparameters, embeddings, and PR and ROC curves."""


@dataclass(frozen=True)
class RunConfig(Settings):
    """Which run or runs to make."""

    name: Annotated[str | None, NAME, PER_COMMAND] = None
    """Name of the run (default: a free one such as lenet_builtin-mnist-001)."""
    overwrite: Annotated[bool, PER_COMMAND] = False
    """Replace the run of that name."""
    resume: Annotated[str | None, PATH, PER_COMMAND] = None
    """Resume this run, e.g. output/RUN, after its last whole epoch, with its own settings."""
    seeds: Annotated[str | None, SEEDS, PER_COMMAND] = None
    """Train once per seed, e.g. 0,1,2, in place of --seed, and write a table of the results."""
    config: Annotated[str | None, PATH, PER_COMMAND] = None
    """A YAML file of settings, with the flags' names as keys; flags override it."""

    def _check_together(self) -> None:
        super()._check_together()
        if self.seeds is not None and (self.overwrite or self.resume):
            raise InputError("seeds resumes the runs that exist; leave out overwrite and resume")
        if self.overwrite and self.name is None:
            raise InputError("overwrite needs name: the run that it replaces")


# Fields come from the last base first: network, data, ... as --help and config.yaml list them.
@dataclass(frozen=True)
class TrainConfig(
    RunConfig, OutputConfig, OptimizationConfig, AugmentConfig, DataConfig, NetworkConfig
):
    """Settings of `tools/train.py`. Raises `InputError` when a value has a wrong type or range."""

    beside_resume = ("--epochs",)  # changes a resumed run; no field, as it has no type

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_together()

    def _check_together(self) -> None:
        super()._check_together()
        check_validation(self.val_size, self)

    @property
    def input_size(self) -> int:
        """The side in pixels of the network's input, of a run whose form is decided."""
        return input_size(self.model, self.form.size)

    def on_data(self, dataset: DatasetName | None, data_dir: str | None) -> TrainConfig:
        """Return the same run on other data; itself when that is its own, or none is named."""
        is_same = dataset in (None, self.dataset)
        if is_same and data_dir is None:
            return self
        kept: Any = {} if is_same else dict.fromkeys(SPECIAL) | {"skip_unreadable": False}
        return dataclasses.replace(
            self,
            dataset=dataset or self.dataset,
            data_dir=data_dir,
            replay=None,
            preprocess=self.picture_mode,
            **kept,
        )

    def is_trained_on(self, other: TrainConfig) -> bool:
        """Return whether `other` names the data that this run was trained on."""
        mine, its = (c.data_dir and Path(c.data_dir).resolve() for c in (self, other))
        return self.dataset == other.dataset and mine == its


def check_validation(val_size: int, config: OptimizationConfig) -> None:
    """Raise `InputError` where something needs validation images and there are none."""
    if val_size == 0 and (config.patience or config.schedule == "plateau"):
        raise InputError(
            "val_size 0 leaves nothing to judge by; patience and schedule plateau need "
            "validation images (--val-size 5000)"
        )


@dataclass(frozen=True)
class StagesConfig(Settings):
    """What is fine-tuned, and in which stages."""

    init_from: Annotated[str | None, PATH] = None
    """The weights to start from: a run, a checkpoint folder, a Paddle prefix, a file .pdparams or
    .safetensors."""
    model: Annotated[ModelName | str | None, KNOWN_MODEL] = None
    """The network, where --init-from is a file of weights without a run."""
    mode: Literal["joint", "sequential", "replay"] = "joint"
    """joint: all data in one stage. sequential: one stage per corruption of mnist_c, each from
    the best weights of the stage before. replay: the same, with a share of earlier images."""
    corruptions: Annotated[str | None, corruption_names(CORRUPTIONS)] = None
    """sequential and replay: the order of the stages, as fog,stripe (default: all in the
    folder)."""
    replay_share: Annotated[float, SHARE] = 0.2
    """replay: number of images of earlier stages and of MNIST, as a share of the stage's own."""
    name: Annotated[str | None, NAME, PER_COMMAND] = None
    """The fine-tuning's folder in --output-dir (default: the run's name and the mode)."""
    resume: Annotated[str | None, PATH, PER_COMMAND] = None
    """Resume this fine-tuning, e.g. output/NAME, exactly where it stopped."""
    config: Annotated[str | None, PATH, PER_COMMAND] = None
    """A YAML file of settings, with the flags' names as keys; flags override it."""


@dataclass(frozen=True)
class FinetuneConfig(StagesConfig, OutputConfig, OptimizationConfig, AugmentConfig, DatasetConfig):
    """Settings of `tools/finetune.py`: its stages, and how each stage is trained.

    The network and the preparation of pictures are those of the run `init_from`.
    """

    dataset: DatasetName = "mnist_c"
    batch_size: Annotated[int, COUNT] = 128
    monitor: Monitor = "val_loss"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is None:  # else all comes from the folder
            self._check_together()

    def _check_together(self) -> None:
        if self.init_from is None:
            raise InputError("init_from is missing; expected the run to start from, output/<run>")
        if self.mode != "joint" and self.dataset != "mnist_c":
            raise InputError(
                f"mode {self.mode} goes through the corruptions of mnist_c; dataset "
                f"{self.dataset} has one stage: mode joint"
            )
        if self.mode == "joint" and self.corruptions is not None:
            raise InputError("corruptions is the order of the stages; mode joint has one stage")
        super()._check_together()
        check_validation(self.val_size, self)

    def stage(self, **decided: object) -> TrainConfig:
        """Return the settings of one stage's training: those shared with it, and `decided`."""
        fields = (field.name for field in dataclasses.fields(TrainConfig))
        shared = {name: getattr(self, name) for name in fields if hasattr(self, name)}
        return TrainConfig(**{**shared, "resume": None, "config": None, **decided})
