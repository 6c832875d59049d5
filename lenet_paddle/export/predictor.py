"""Classify pictures with an exported model or a run's checkpoint.

Paddle is imported on first use: an exported ONNX file does not need it.
"""

from __future__ import annotations

import dataclasses
import logging
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lenet_paddle.data.datasets import Preprocess
from lenet_paddle.data.depth import Depth
from lenet_paddle.data.form import CHANNELS, SIZE, Form, to_grey
from lenet_paddle.data.imageset import check_classes
from lenet_paddle.data.many import Score, find_digits
from lenet_paddle.data.preprocess import (
    channels_read,
    holds_several,
    is_empty,
    load_picture,
    normalise,
    prepare_picture,
    shrink,
)
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.calibration import Calibration, read_calibration
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.export.engines import (
    AUTOMATIC,
    FEATURES,
    Engine,
    EngineChoice,
    EngineName,
    OnnxModel,
    choose_engine,
    load_engine,
)
from lenet_paddle.export.pages import Page, name_digits
from lenet_paddle.runtime import need
from lenet_paddle.settings import read_yaml

PAGE_SIDE = 1600  # most pixels a side of a page that is kept for display
_log = logging.getLogger(__name__)

Rotate = Literal["none", "auto"]
CLEARLY = 3  # times as likely to be wrong must the picture as it is be, before it is turned


@dataclass(frozen=True)
class Answer:
    """The classes predicted for one picture."""

    name: str
    """The file, or another name given for the picture."""
    picture: np.ndarray
    """The picture for display: uint8 (H, W) or (H, W, 3), at most 400 pixels a side."""
    seen: np.ndarray
    """The network's input before normalisation: uint8 (S, S) or (S, S, 3)."""
    top_k: list[tuple[str, float]]
    """Pairs (class, probability), the most probable first; empty if nothing is written."""
    is_digit: bool | None = None
    """Whether it shows a digit at all: False means unclear; None: the model does not know."""
    rotated: int | None = None
    """Degrees by which the picture was turned anticlockwise; None if no turns were tried."""

    @property
    def best(self) -> tuple[str, float] | tuple[None, None]:
        """The most probable class and its probability, or None twice if nothing is written."""
        return self.top_k[0] if self.top_k else (None, None)

    def to_dict(self) -> dict[str, Any]:
        """Return `file`, `class`, `probability`, `top_k`, `is_digit`, and `rotated` if turns were
        tried, for JSON."""
        best, probability = self.best
        ranked = [{"class": name, "probability": p} for name, p in self.top_k]
        answer = {"file": self.name, "class": best, "probability": probability, "top_k": ranked}
        answer["is_digit"] = self.is_digit
        return answer if self.rotated is None else {**answer, "rotated": self.rotated}


class Predictor:
    """A classifier of pictures, from an exported folder: `Predictor("output/RUN/inference")`.

    `engine` is `paddle`, `onnx` or `onnx-int8`; `auto` takes the faster of the first two as
    measured at export and recorded in `inference.yml`, or the only one that can run here. The ONNX
    engines do not import Paddle. `from_run` loads a run's checkpoint instead. Raises `InputError`
    if files or packages are missing, or if the files are not an export of `tools/export.py`.
    """

    engine: EngineName
    classes: tuple[str, ...]
    preprocess: Preprocess
    form: Form
    """The form of the pictures."""
    size: int
    """The input's side in pixels; pictures are padded if it is larger."""
    dataset: str
    description: dict[str, Any]
    """The content of inference.yml; empty for a run's checkpoint."""
    calibration: Calibration | None
    """Temperature and threshold; None for models that have none."""
    compute_logits: Engine
    """Normalised batch, float32 (B, C, S, S) -> calibrated logits, float32 (B, C)."""

    def __init__(self, path: str | Path, engine: EngineChoice = "auto") -> None:
        self.folder = Path(path)
        if not (self.folder / "inference.yml").is_file():
            raise InputError(f"{self.folder}: no exported model (it has no inference.yml)")
        self.description = read_description(self.folder / "inference.yml")
        self.classes = self.description["classes"]
        self.preprocess = self.description["preprocess"]
        _, channels, _, self.size = shape = self.description["input"]["shape"]
        self.form = Form(channels, self.description["image_size"])
        self.dataset = str(self.description["dataset"])
        self.calibration = self.description["calibration"]
        if engine == "auto":
            engine = choose_engine(self.folder, self.description["engine"])
        self.engine = engine
        self.compute_logits = load_engine(self.folder, engine, len(self.classes), shape[1:])

    @classmethod
    def from_run(cls, run_dir: Path, checkpoint: str = "best") -> Predictor:
        """Load a run's checkpoint (`best`, `latest`, `epoch_0005`). Raises `InputError`."""
        from lenet_paddle.evaluation.evaluate import compute_logits
        from lenet_paddle.run_folder import Run

        run = Run.open(run_dir)
        config, (network, classes) = run.config, run.load_network(checkpoint)
        made = cls.__new__(cls)
        made.folder, made.description, made.engine = run_dir, {}, "paddle"
        made.classes, made.preprocess = classes, config.picture_mode
        made.form, made.size, made.dataset = config.form, config.input_size, config.dataset
        calibration = made.calibration = run.read_calibration(checkpoint)
        scale = np.asarray if calibration is None else calibration.scale
        made.compute_logits = lambda batch: scale(compute_logits(network, batch))
        return made

    @cached_property
    def _features(self) -> OnnxModel:
        path = self.folder / FEATURES
        if not path.is_file():
            raise InputError(f"{self.folder}: it has no {FEATURES}; export it with format onnx")
        need("onnxruntime")
        shape = (1, self.form.channels, self.size, self.size)
        try:
            model = OnnxModel(path)
            logits = model.run_all(np.zeros(shape, np.float32))["logits"]
        except Exception:  # C++ errors of any type, many lines long
            raise InputError(f"{path}: a damaged model; export it again") from None
        if logits.shape != (1, len(self.classes)):
            raise InputError(f"{path}: not made from the model in this folder; export it again")
        return model

    def run_with_maps(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return logits as `predict_logits` does, and each convolution's activated maps by name.

        The maps `feature_1`, `feature_2` ... are float32 (N, C, H, W). Both come from features.onnx
        with every engine. Raises `InputError` if the folder does not hold that file.
        """
        outputs = self._features.run_all(normalise(images, self.size))
        return outputs.pop("logits"), outputs

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities, float64 (N, C), of images as `predict_logits` takes them."""
        return compute_probs(self.predict_logits(images))

    def predict_logits(self, images: np.ndarray) -> np.ndarray:
        """Return calibrated logits, float32 (N, C), of images, uint8 (N, *self.form.shape).

        `answer` and `data.preprocess.prepare_picture` take pictures of other sizes. Raises
        `InputError` for another dtype or shape.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self.form.shape or not len(images):
            expected = ", ".join(map(str, self.form.shape))
            raise InputError(
                f"images: {images.dtype} {images.shape}; expected uint8 (N, {expected}), N >= 1"
            )
        return self.compute_logits(normalise(images, self.size))

    def judge(self, logits: np.ndarray | None) -> bool | None:
        """Return whether a picture with these logits, float32 (C,), shows a digit.

        None stands for a picture with nothing written, which does not. Returns None if the model
        does not know: it has no threshold.
        """
        if self.calibration is None or self.calibration.threshold is None:
            return None
        return logits is not None and bool(self.calibration.accepts(logits[None])[0])

    def answer(self, name: str, picture: np.ndarray, top_k: int = 3) -> Answer:
        """Classify one picture of any size, uint8 (H, W) or (H, W, 3); an empty one has no class.

        A grey picture has three equal channels for a network of colour, a colour picture becomes
        grey for one of grey.
        """
        if picture.ndim == 2 and self.form.channels == 3:
            picture = np.dstack([picture] * 3)
        elif picture.ndim == 3 and self.form.channels == 1 and self.preprocess != "digit":
            picture = to_grey(picture)
        seen = prepare_picture(picture, self.preprocess, self.form.size)
        logits, ranked = None, []
        if not is_empty(seen):
            [logits] = self.predict_logits(seen[None])
            [probs] = compute_probs(logits[None])
            order = np.argsort(-probs, kind="stable")[:top_k]
            ranked = [(self.classes[i], float(probs[i])) for i in order]
        return Answer(name, shrink(picture, 400), seen, ranked, self.judge(logits))

    def answer_turned(self, name: str, picture: np.ndarray, top_k: int = 3) -> Answer:
        """Classify a picture as `answer` does, in the best of its four turns by 90 degrees.

        It is turned only if the probability that the answer is wrong becomes less than a third:
        a 6 turned by 180 degrees is a 9, of which nothing in the picture tells.
        """
        turned = [
            self.answer(name, np.ascontiguousarray(np.rot90(picture, k)), top_k) for k in range(4)
        ]
        doubts = [1 - (answer.best[1] or 0) + 1e-6 for answer in turned]
        best = int(np.argmin(doubts))
        best = best if doubts[0] > CLEARLY * doubts[best] else 0
        return dataclasses.replace(turned[best], rotated=90 * best)

    def answer_files(
        self, paths: Iterable[Path], top_k: int = 3, rotate: Rotate = "none"
    ) -> Iterator[Answer | InputError]:
        """Yield an answer for each file, or the error if it cannot be read.

        Pictures of which only the first is read, and those read by their own largest value, are
        logged.
        """
        depth = Depth()
        target = self.form.size if self.preprocess == "resize" else None  # as in training
        for path in paths:
            try:
                channels = channels_read(self.preprocess, self.form.channels)
                picture = load_picture(path, depth, channels, target)
                answer_one = self.answer_turned if rotate == "auto" else self.answer
                answer = answer_one(str(path), picture, top_k)
                if holds_several(path):
                    _log.warning("%s: holds several pictures; only the first is classified", path)
                yield answer
            except InputError as error:
                yield error
            except OSError as error:
                yield InputError(f"{path}: {error.strerror}")
        if depth.count and self.preprocess == "resize":  # a digit's ink is measured anyway
            _log.warning(
                "%d pictures of more than 8 bits are each read by its own largest value; to read "
                "all alike, save them with 8 bits",
                depth.count,
            )

    def read_page(self, name: str, picture: np.ndarray, score: Score | None = None) -> Page:
        """Find the digits on a picture, uint8 (H, W) or (H, W, 3), and join them into numbers.

        `score` runs the network in place of `predict_logits`. Raises `InputError` if the model
        is not one of handwritten digits.
        """
        self._need_digits()
        grey = to_grey(picture) if picture.ndim == 3 else picture
        found = find_digits(grey, score or self.predict_logits)
        digits = name_digits(found, self.classes, self.judge)
        return Page(name, shrink(picture, PAGE_SIDE), picture.shape[1], digits)

    def read_pages(self, paths: Iterable[Path]) -> Iterator[Page | InputError]:
        """Yield the page in each file, or the error if it cannot be read.

        Raises `InputError` as `read_page` does, before the first.
        """
        self._need_digits()
        for path in paths:
            try:
                yield self.read_page(str(path), load_picture(path))
                if holds_several(path):
                    _log.warning("%s: holds several pictures; only the first is read", path)
            except InputError as error:
                yield error
            except OSError as error:
                yield InputError(f"{path}: {error.strerror}")

    def _need_digits(self) -> None:
        if self.preprocess != "digit":
            raise InputError(
                f"a model trained on {self.dataset} does not find numbers on a page; expected one "
                "of handwritten digits, such as mnist"
            )


def read_description(path: Path) -> dict[str, Any]:
    """Read and check an `inference.yml`.

    The result has `classes` as a tuple of texts, `preprocess`, `dataset`, `input` with a shape (-1,
    C, S, S), `image_size` (default 28), `engine` (default `paddle`), and `features`, the names
    and shapes of the maps in features.onnx, and `calibration`, a `Calibration` or None. Raises
    `InputError` if an entry is missing or invalid.
    """
    try:
        defaults = {"engine": "paddle", "features": [], "image_size": SIZE, "calibration": None}
        description = {**defaults, **read_yaml(path)}
        description["classes"] = tuple(
            str(name) for name in description["classes"] if isinstance(name, (str, int))
        )
        checked = {key: description[key] for key in ("dataset", "preprocess", "engine")}
        _, *checked["shape"] = description["input"]["shape"]
        checked["image_size"] = description["image_size"]
        description["features"] = [
            {"name": str(row["name"]), "shape": [int(n) for n in row["shape"]]}
            for row in description["features"]
        ]
        check_classes(description["classes"], path)
        if description["calibration"] is not None:
            description["calibration"] = read_calibration(description["calibration"], path)
    except InputError:
        raise
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not what an export writes ({reprlib.repr(error)})") from None
    is_known = checked["preprocess"] in ("digit", "resize") and checked["engine"] in AUTOMATIC
    if not is_known or not _fits(checked["shape"], checked["image_size"], checked["preprocess"]):
        came = ", ".join(f"{key} {reprlib.repr(value)}" for key, value in checked.items())
        raise InputError(f"{path}: {came}; export it again")
    return description


def _fits(shape: list[Any], image_size: Any, preprocess: str) -> bool:
    """Return whether pictures of a form that an export has fit the input's `shape` (C, S, S)."""
    if not all(type(number) is int for number in (*shape, image_size)) or len(shape) != 3:
        return False
    channels, height, width = shape
    is_square = height == width and channels in CHANNELS and 1 <= image_size <= height <= 512
    return is_square and (preprocess != "digit" or (channels, image_size) == (1, SIZE))
