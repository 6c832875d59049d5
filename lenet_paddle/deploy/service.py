"""What the endpoints answer: pictures in a request's body -> what a JSON answer holds."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from lenet_paddle.config import EngineChoice, InputError
from lenet_paddle.data.preprocess import (
    SIZE,
    TooManyPixels,
    decode_picture,
    encode_png,
    prepare_picture,
)
from lenet_paddle.deploy import protocol
from lenet_paddle.deploy.bodies import split_pictures
from lenet_paddle.deploy.limits import Lane, Limits, NotQuick, Turn
from lenet_paddle.deploy.metrics import Metrics
from lenet_paddle.deploy.predictor import Predictor

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # of Pillow's; one runs Ghostscript


class Service:
    """One exported model and its limits, in one worker process."""

    def __init__(self, model: Path, engine: EngineChoice, limits: Limits) -> None:
        self.predictor = Predictor(model, engine)
        self.limits, self.metrics = limits, Metrics()
        self.lane = Lane(limits.seconds)

    def describe(self) -> dict[str, Any]:
        """What the page must know of the model; the answer to GET /model.json."""
        description = self.predictor.description
        return {
            "classes": list(self.predictor.classes),
            "preprocess": self.predictor.preprocess,
            "input": description["input"],
            "dataset": self.predictor.dataset,
            "features": description["features"],
        }

    def predict(self, content_type: str, body: bytes, turn: Turn) -> dict[str, Any]:
        """The answer to POST /predict: for each picture its class, and what the network saw."""
        seen = self._read_pictures(content_type, body, self.limits.batch, turn)
        with self.lane.lock:
            probs = self.predictor.predict(seen)
        self.metrics.batch_size.observe(len(seen))
        pairs = zip(probs, seen, strict=True)
        return {"predictions": [self._to_dict(row, picture) for row, picture in pairs]}

    def explain(self, content_type: str, body: bytes, turn: Turn) -> dict[str, Any]:
        """The answer to POST /features: that for one picture, and its convolutions' maps."""
        seen = self._read_pictures(content_type, body, 1, turn)
        try:
            with self.lane.lock:
                probs, maps = self.predictor.predict_with_maps(seen)
        except InputError:
            raise HTTPException(404, "this model was exported without feature maps") from None
        self.metrics.batch_size.observe(1)
        features = [
            {
                "name": name,
                "shape": list(of_one[0].shape),
                "data": base64.b64encode(scale_maps(of_one[0]).tobytes()).decode(),
            }
            for name, of_one in maps.items()
        ]
        return {**self._to_dict(probs[0], seen[0]), "features": features}

    def infer(self, body: bytes, header_length: str | None, turn: Turn) -> tuple[bytes, int | None]:
        """The answer to POST /v2/models/lenet/infer; see `protocol.infer`."""

        def compute_logits(batch: np.ndarray) -> np.ndarray:
            turn.check()
            with self.lane.lock:
                logits = self.predictor.compute_logits(batch)
            self.metrics.batch_size.observe(len(batch))
            return logits

        size, max_batch = self.predictor.size, self.limits.batch
        return protocol.infer(body, header_length, size, max_batch, compute_logits)

    def _to_dict(self, probs: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
        best = int(probs.argmax())
        return {
            "class": self.predictor.classes[best],
            "probability": float(probs[best]),
            "probabilities": dict(zip(self.predictor.classes, probs.tolist(), strict=True)),
            "seen": base64.b64encode(encode_png(seen)).decode(),
        }

    def _read_pictures(
        self, content_type: str, body: bytes, max_pictures: int, turn: Turn
    ) -> np.ndarray:
        """The pictures as the network sees them, uint8 (N, 28, 28)."""
        files = split_pictures(content_type, body, max_pictures)
        return np.stack([self._read_picture(i, file, turn) for i, file in enumerate(files, 1)])

    def _read_picture(self, number: int, file: bytes, turn: Turn) -> np.ndarray:
        turn.check()
        max_pixels = SIZE * SIZE if turn.is_quick else self.limits.pixels
        try:
            picture = decode_picture(io.BytesIO(file), f"picture {number}", max_pixels, FORMATS)
        except TooManyPixels as error:
            if turn.is_quick:
                raise NotQuick from None
            raise HTTPException(413, str(error)) from None
        except InputError as error:
            raise HTTPException(400, str(error)) from None
        if turn.is_quick and picture.shape != (SIZE, SIZE):
            raise NotQuick
        return prepare_picture(picture, self.predictor.preprocess)


def scale_maps(maps: np.ndarray) -> np.ndarray:
    """Activated maps, float32 (C, H, W), as pictures, uint8: each from its least value, 0, to its
    greatest, 255; a map that is the same everywhere is 0."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    scaled = (maps - low) / np.where(span > 0, span, 1)
    return np.round(scaled * 255).astype(np.uint8)
