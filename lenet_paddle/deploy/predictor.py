"""From pictures to answers: an exported model, or a run's checkpoint."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from lenet_paddle.config import InputError, Preprocess, TrainConfig, load_yaml, read_yaml
from lenet_paddle.data.preprocess import load_picture, normalise, prepare_picture, shrink
from lenet_paddle.deploy.export import load_engine, run_engine
from lenet_paddle.evaluation.evaluate import compute_logits
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.models import build_model, input_size
from lenet_paddle.training.checkpoint import find_checkpoint, load_weights, read_state, set_weights


@dataclass(frozen=True)
class Answer:
    """What is said of one picture."""

    name: str
    """The file, or whatever the picture was called."""
    picture: np.ndarray
    """What came, for looking at: grey uint8 (H, W), at most 400 pixels a side."""
    seen: np.ndarray
    """What the network saw: uint8 (28, 28)."""
    top_k: list[tuple[str, float]]
    """(class, probability), the most probable first."""

    def to_dict(self) -> dict[str, Any]:
        """`file`, `class`, `probability` and `top_k`, JSON-ready."""
        best, probability = self.top_k[0]
        ranked = [{"class": name, "probability": p} for name, p in self.top_k]
        return {"file": self.name, "class": best, "probability": probability, "top_k": ranked}


class Predictor:
    """Answers for pictures; made by `from_export` or `from_run`."""

    def __init__(
        self,
        compute_logits: Callable[[np.ndarray], np.ndarray],
        classes: tuple[str, ...],
        preprocess: Preprocess,
        size: int,
        dataset: str,
    ) -> None:
        self.compute_logits, self.classes = compute_logits, classes
        self.preprocess, self.size, self.dataset = preprocess, size, dataset

    @classmethod
    def from_export(cls, folder: Path) -> Predictor:
        """Use an exported folder through Paddle Inference, with no checkpoint.

        Raises `InputError` when its files are missing or `inference.yml` is not what
        `export_inference` writes.
        """
        for name in ("inference.yml", "inference.json", "inference.pdiparams"):
            if not (folder / name).is_file():
                raise InputError(f"{folder}: no exported model (it has no {name})")
        classes, preprocess, size, dataset = _read_description(folder / "inference.yml")
        try:
            engine = load_engine(folder)
            logits = run_engine(engine, np.zeros((1, 1, size, size), np.float32))
        except Exception:  # Paddle raises what its C++ says, over many lines
            raise InputError(f"{folder}: a damaged exported model; export it again") from None
        if logits.shape != (1, len(classes)):
            raise InputError(
                f"{folder}: inference.yml names {len(classes)} classes, the model has "
                f"{logits.shape[-1]}; export it again"
            )
        return cls(lambda batch: run_engine(engine, batch), classes, preprocess, size, dataset)

    @classmethod
    def from_run(cls, run_dir: Path, checkpoint: str = "best") -> Predictor:
        """Use a run's checkpoint (`best`, `latest`, `epoch_0005`). Raises `InputError`."""
        config, network, classes = load_run(run_dir, checkpoint)
        return cls(
            lambda batch: compute_logits(network, batch),
            classes,
            config.picture_mode,
            input_size(config.model),
            config.dataset,
        )

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float64 (N, C) of prepared images, uint8 (N, H, W)."""
        return compute_probs(self.compute_logits(normalise(images, self.size)))

    def answer(self, name: str, picture: np.ndarray, top_k: int = 3) -> Answer:
        """The answer for one grey picture, uint8 (H, W) of any size."""
        seen = prepare_picture(picture, self.preprocess)
        probs = self.predict(seen[None])[0]
        ranked = np.argsort(-probs, kind="stable")[:top_k]
        return Answer(
            name, shrink(picture, 400), seen, [(self.classes[i], float(probs[i])) for i in ranked]
        )

    def answer_files(self, paths: Iterable[Path], top_k: int = 3) -> Iterator[Answer | InputError]:
        """An answer for each file, or the error of one that cannot be read."""
        for path in paths:
            try:
                yield self.answer(str(path), load_picture(path), top_k)
            except InputError as error:
                yield error
            except OSError as error:
                yield InputError(f"{path}: {error.strerror}")


def load_run(
    run_dir: Path, checkpoint: str = "best"
) -> tuple[TrainConfig, paddle.nn.Layer, tuple[str, ...]]:
    """A run's settings, its network with a checkpoint's weights in evaluation mode, its classes.

    Raises `InputError` for a folder that is no run, a missing or damaged checkpoint.
    """
    config = read_config(run_dir)
    path = find_checkpoint(run_dir, checkpoint)
    classes = tuple(read_state(path).classes)
    network = build_model(config.model, len(classes))
    set_weights(network, load_weights(path / "model.pdparams"), str(path))
    network.eval()
    return config, network, classes


def read_config(run_dir: Path) -> TrainConfig:
    """The settings of a run. Raises `InputError` for a folder that is no run."""
    if not (run_dir / "config.yaml").is_file():
        raise InputError(f"{run_dir}: no run (it has no config.yaml); expected output/<run>")
    settings = load_yaml(run_dir / "config.yaml")
    try:
        return TrainConfig(**settings)
    except InputError as error:
        raise InputError(f"{run_dir / 'config.yaml'}: {error}") from None


def _read_description(path: Path) -> tuple[tuple[str, ...], Preprocess, int, str]:
    try:
        description = read_yaml(path)
        classes = tuple(
            str(name) for name in description["classes"] if isinstance(name, (str, int))
        )
        size = description["input"]["shape"][-1]
        preprocess, dataset = description["preprocess"], description["dataset"]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: not what an export writes ({error!r})") from None
    if preprocess not in ("digit", "resize") or not isinstance(size, int) or not 1 <= size <= 512:
        raise InputError(
            f"{path}: preprocess {reprlib.repr(preprocess)}, size {reprlib.repr(size)}; "
            "export it again"
        )
    return classes, preprocess, size, str(dataset)
