"""The folder of a training run: this module alone knows what lies where in it.

    output/<run>/config.yaml  versions.json  history.csv  train.log  metrics.json
                 calibration.json
                 checkpoints/ vdl/ figures/ inference/

Opening a run does not import Paddle; loading its network does.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lenet_paddle import runtime
from lenet_paddle.config import FinetuneConfig, TrainConfig
from lenet_paddle.data.datasets import find_dataset
from lenet_paddle.data.form import SIZE
from lenet_paddle.errors import InputError, quote
from lenet_paddle.files import (
    follow_link,
    leads_out,
    locked,
    new_folder,
    open_file,
    read_link,
    read_text,
    rename_new,
    write_json,
    write_text,
)
from lenet_paddle.models import VISION_PREFIX
from lenet_paddle.settings import load_yaml

if TYPE_CHECKING:
    import paddle

    from lenet_paddle.evaluation.calibration import Calibration
    from lenet_paddle.training.checkpoint import TrainState


class Run:
    """A run's folder: its parts by name.

    `Run.create` makes a new one, `Run.open` checks that a folder is one; `Run(path)` checks
    nothing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = follow_link(Path(path))  # a fine-tuning's `final` may be a file
        self.named = "best"
        """The checkpoint that `best` means: the one that `Run.open` was given."""
        self.config_file = self.path / "config.yaml"
        self.history_file = self.path / "history.csv"
        self.log_file = self.path / "train.log"
        self.calibration_file = self.path / "calibration.json"
        self.checkpoints = self.path / "checkpoints"
        self.vdl = self.path / "vdl"
        self.figures = self.path / "figures"
        self.inference = self.path / "inference"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open the run at `path`, or the one whose checkpoint `path` is, in its place of `best`.

        Raises `InputError` if there is no valid config.yaml.
        """
        run = cls(path)
        if not run.config_file.is_file():
            run = cls._around(path) or run
        if not run.config_file.is_file():
            raise InputError(f"{path}: not a run (it has no config.yaml); expected output/<run>")
        run.config  # noqa: B018  read now, so that a damaged one is reported here
        return run

    @classmethod
    def _around(cls, path: str | Path) -> Run | None:
        """Return the run in whose `checkpoints` folder `path` lies, links not followed."""
        whole = Path(path).absolute()
        for folder in (whole, *whole.parents):
            if folder.name == "checkpoints" and (folder.parent / "config.yaml").is_file():
                run = cls(folder.parent)
                run.named = next(iter(whole.relative_to(folder).parts), "best")
                return run
        return None

    @classmethod
    def create(cls, config: TrainConfig) -> Run:
        """Make the folder of a new run with config.yaml and versions.json.

        Without `config.name` a free name is chosen. The folder appears by one rename, so it is
        never without a config, and only one of two runs gets a name. Raises `InputError` if the
        name is taken and `config.overwrite` is not set.
        """
        with new_folder(Path(config.output_dir)) as temporary:
            write_text(temporary / "config.yaml", dump_config(config))
            write_json(temporary / "versions.json", runtime.versions())
            if config.name is None:
                return cls(_publish_numbered(temporary, config))
            path = temporary.parent / config.name
            if config.overwrite:
                _remove(path, config.init_from)
            if not rename_new(temporary, path):
                raise InputError(
                    f"{path} exists; choose another --name, --overwrite it, or "
                    + quote("--resume", path)
                )
            return cls(path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The folder's own name, links followed."""
        return self.path.resolve().name

    def metrics_file(self, suffix: str = "") -> Path:
        """Return metrics.json, of the run's own test set, or metrics<suffix>.json."""
        return self.path / f"metrics{suffix}.json"

    @cached_property
    def config(self) -> TrainConfig:
        """The settings of the run. Raises `InputError`."""
        settings = load_yaml(self.config_file, TrainConfig)
        try:  # before there were other forms, all pictures were grey 28x28
            return TrainConfig(**{"channels": 1, "image_size": SIZE, **settings})
        except InputError as error:
            raise InputError(f"{self.config_file}: {error}") from None

    def set_epochs(self, epochs: int) -> None:
        """Change the number of epochs in config.yaml, and nothing else."""
        settings = {**load_yaml(self.config_file, TrainConfig), "epochs": epochs}
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        write_text(self.config_file, text)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the run for this process; raises `InputError` while another one holds it."""
        return locked(self.path)

    def find_checkpoint(self, name: str = "best") -> Path:
        """Return the folder of checkpoint `best`, `latest` or one such as `epoch_0005`.

        Raises `InputError` if there is none, or a link leads out of the run.
        """
        from lenet_paddle.training.checkpoint import find_original

        name = self.named if name == "best" else name
        link = self.checkpoints / name
        if not re.fullmatch(r"best|latest|epoch_\d{4,}", name) or not _has_weights(link):
            present = sorted(p.name for p in self.checkpoints.glob("[a-z]*") if _has_weights(p))
            target = read_link(link) if link.parent == self.checkpoints else None
            what = "has no weights" if link.is_dir() else "is not there"
            lost = "" if target is None else f" (that names {target}, which {what})"
            raise InputError(
                f"{self.path}: no checkpoint {name!r}{lost}; it has {', '.join(present) or 'none'}"
            )
        if leads_out(link, self.checkpoints):
            raise InputError(
                f"{link} leads out of the run, to {os.path.realpath(link)}; replace the link by "
                "what it names, or choose another checkpoint"
            )
        return find_original(follow_link(link))

    def newest_checkpoint(self) -> tuple[Path, TrainState] | None:
        """Return `training.checkpoint.newest_checkpoint` of the run."""
        from lenet_paddle.training.checkpoint import newest_checkpoint

        return newest_checkpoint(self.checkpoints)

    def saved_classes(self) -> tuple[str, ...] | None:
        """Return the classes of the newest checkpoint; None for none, or a data set whose classes
        are always in one order."""
        if "classes" not in find_dataset(self.config.dataset).options:
            return None
        saved = self.newest_checkpoint()
        return None if saved is None else tuple(saved[1].classes)

    def load_network(self, checkpoint: str = "best") -> tuple[paddle.nn.Layer, tuple[str, ...]]:
        """Return the network with a checkpoint's weights, in evaluation mode, and its classes.

        Raises `InputError` if the checkpoint is missing or damaged.
        """
        from lenet_paddle.models import build_model
        from lenet_paddle.training.checkpoint import read_state
        from lenet_paddle.training.weights import load_weights, set_weights

        path = self.find_checkpoint(checkpoint)
        classes = tuple(read_state(path).classes)
        network = build_model(self.config.model, len(classes), *self.config.form)
        set_weights(network, load_weights(path / "model.pdparams"), str(path))
        network.eval()
        return network, classes

    def write_calibration(self, checkpoint: str, calibration: Calibration | None) -> None:
        """Write calibration.json for a checkpoint such as epoch_0005, or remove it."""
        if calibration is None:
            self.calibration_file.unlink(missing_ok=True)
        else:
            values = {"checkpoint": checkpoint, **calibration.to_dict()}
            write_json(self.calibration_file, values)

    def read_calibration(self, checkpoint: str = "best") -> Calibration | None:
        """Return the calibration of a checkpoint; None where there is none, or of another one.

        Raises `InputError` if calibration.json is damaged.
        """
        from lenet_paddle.evaluation.calibration import read_calibration

        path = self.calibration_file
        try:
            values = json.loads(read_text(path))
        except FileNotFoundError:  # an older run, or one without validation images
            return None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; expected a file of JSON") from None
        except (ValueError, RecursionError):
            raise InputError(f"{path}: not JSON; remove it to go on without calibration") from None
        calibration = read_calibration(values, path)
        own = self.find_checkpoint(checkpoint).resolve().name
        return calibration if values.get("checkpoint") == own else None

    def read_history(self) -> list[dict[str, float]]:
        """Return the rows of history.csv; a row lacks what is empty in the file.

        Raises `InputError` if the file is missing, damaged or without rows.
        """
        from lenet_paddle.training.checkpoint import is_history

        path = self.history_file
        try:
            with io.TextIOWrapper(open_file(path), encoding="utf-8", newline="") as file:
                rows = [
                    {name: float(cell) for name, cell in row.items() if cell != ""}
                    for row in csv.DictReader(file)
                ]
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; has this run trained an epoch?") from None
        except (ValueError, TypeError, csv.Error):
            raise InputError(f"{path}: damaged; expected rows of numbers") from None
        if not rows:
            raise InputError(f"{path}: no epoch yet")
        if not is_history(rows):
            raise InputError(f"{path}: damaged; expected the columns that a training writes")
        return rows

    def read_result(self) -> dict[str, Any] | None:
        """Return the results of a run that is fully trained, tested and exported, else None.

        Keys: `epochs`, `val_accuracy` (None without validation images), `test_accuracy`,
        `test_loss`, and `seconds` of training.
        """
        from lenet_paddle.training.callbacks import is_finished
        from lenet_paddle.training.checkpoint import epoch_name

        saved = self.newest_checkpoint()
        is_exported = (self.inference / "inference.yml").exists()
        if saved is None or not self.metrics_file().exists() or not is_exported:
            return None
        state = saved[1]
        if not is_finished(self.config, state):
            return None
        try:
            metrics = json.loads(read_text(self.metrics_file()))
            if metrics["checkpoint"] != epoch_name(state.best_epoch):
                return None  # tools/evaluate.py has evaluated another one since
            tested = {"test_accuracy": metrics["accuracy"], "test_loss": metrics["loss"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        best = state.history[state.best_epoch - 1]
        return {
            "epochs": state.epoch,
            "val_accuracy": best.get("val_accuracy"),
            **tested,
            "seconds": state.seconds,
        }


def _has_weights(checkpoint: Path) -> bool:
    return (follow_link(checkpoint) / "model.pdparams").is_file()


def dump_config(config: TrainConfig | FinetuneConfig) -> str:
    """Return `config` as the YAML text that `--config` and `--resume` read."""
    settings = {**config.to_dict(), "preprocess": config.picture_mode}
    for key in ("data_dir", "init_from"):  # absolute: the run may be resumed from elsewhere
        if settings[key] is not None:
            settings[key] = str(Path(settings[key]).resolve())
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _publish_numbered(temporary: Path, config: TrainConfig) -> Path:
    """Rename `temporary` to the first free name such as lenet_builtin-mnist-001."""
    model = config.model.removeprefix(VISION_PREFIX)  # no colon in a folder's name
    for number in range(1, 10_000):
        path = temporary.parent / f"{model}-{config.dataset}-{number:03d}"
        if rename_new(temporary, path):
            return path
    raise InputError(f"{temporary.parent}: has 9,999 runs of that name; choose one with --name")


def _remove(path: Path, init_from: str | None) -> None:
    """Remove the run to be overwritten, unless that would destroy something else."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not (path / "config.yaml").is_file():
        raise InputError(f"{path} is not a run's own folder with a config.yaml; remove it yourself")
    if init_from is not None and Path(init_from).resolve().is_relative_to(path.resolve()):
        raise InputError(f"--overwrite would delete {init_from}, which --init-from needs")
    with locked(path):
        shutil.rmtree(path)


def find_weights(name: str | Path) -> Path:
    """Return the weights file that `name` means, links followed.

    `name` is a run (its best checkpoint), a checkpoint folder, a Paddle prefix, or a `.pdparams` or
    `.safetensors` file. Raises `InputError` if there is none, or its checkpoint is damaged.
    """
    from lenet_paddle.training.checkpoint import RAW, read_state

    source = follow_link(Path(name))
    best = Run(source).checkpoints / "best"
    if _has_weights(best) or read_link(best) is not None:
        source = Run(source).find_checkpoint("best")
    candidates = [
        source / "model.pdparams",
        Path(f"{source}.pdparams"),
    ]
    if source.suffix in (".pdparams", ".safetensors"):
        candidates.append(source)
    for path in candidates:
        if path.is_file():
            path = path.resolve()
            is_ours = path.name in ("model.pdparams", RAW)
            if is_ours and (path.parent / "state.json").exists():
                read_state(path.parent)
            return path
    raise InputError(
        f"{source}: no weights there; expected a run, a checkpoint folder, a prefix or a file "
        ".pdparams or .safetensors"
    )
