"""What the endpoints answer: pictures in a request's body -> what a JSON answer holds."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from lenet_paddle.data.datasets import describe_data
from lenet_paddle.data.preprocess import (
    SIZE,
    TooManyPixels,
    decode_picture,
    encode_png,
    prepare_picture,
)
from lenet_paddle.errors import InputError
from lenet_paddle.export.engines import EngineChoice
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.serve import protocol
from lenet_paddle.serve.batching import Batcher
from lenet_paddle.serve.bodies import split_pictures
from lenet_paddle.serve.limits import Lane, Limits, NotQuick, Turn
from lenet_paddle.serve.metrics import Metrics

Run = Callable[[np.ndarray], np.ndarray]

# Of Pillow's, those that are read. EPS would run Ghostscript; a TIFF file of 1 MB can have tiles
# that take 2 GB for a picture of 28x28.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


class Service:
    """One exported model and its limits, in one worker process."""

    def __init__(self, model: Path, engine: EngineChoice, limits: Limits) -> None:
        self.predictor = Predictor(model, engine)
        self.limits, self.metrics = limits, Metrics()
        self.lane = Lane(limits.seconds)
        self._pictures = Batcher(self._counted(self.predictor.predict), limits.batch)
        self._tensors = Batcher(self._counted(self.predictor.compute_logits), limits.batch)
        self._warm_up()

    def _warm_up(self) -> None:
        """Let what is slow once, Pillow's plugins say, be done before the first request; raises
        `InputError` for a model of feature maps that cannot be loaded."""
        empty = encode_png(np.zeros((SIZE, SIZE), np.uint8))
        seen = self._read_picture(1, empty, Turn(True, math.inf))
        self._to_dict(self.predictor.predict(seen[None])[0], seen)
        if self.predictor.description["features"]:
            self.predictor.predict_with_maps(seen[None])

    def describe(self) -> dict[str, Any]:
        """What the page must know of the model; the answer to GET /model.json."""
        description = self.predictor.description
        return {
            "classes": list(self.predictor.classes),
            "preprocess": self.predictor.preprocess,
            "input": description["input"],
            **describe_data(self.predictor.dataset),
            "features": description["features"],
        }

    async def predict(self, content_type: str, body: bytes) -> dict[str, Any]:
        """The answer to POST /predict: for each picture its class, and what the network saw."""
        seen = await self._read_pictures(content_type, body, self.limits.batch)
        pairs = zip(await self._pictures.run(seen), seen, strict=True)
        return {"predictions": [self._to_dict(probs, picture) for probs, picture in pairs]}

    async def explain(self, content_type: str, body: bytes) -> dict[str, Any]:
        """The answer to POST /features: that for one picture, and its convolutions' maps."""
        seen = await self._read_pictures(content_type, body, 1)
        if not self.predictor.description["features"]:
            raise HTTPException(404, "this model was exported without its feature maps")
        probs, maps = self.predictor.predict_with_maps(seen)
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

    async def infer(self, body: bytes, header_length: str | None) -> tuple[bytes, int | None]:
        """The answer to POST /v2/models/lenet/infer, and where its JSON part ends, if tensors
        follow it."""
        size, max_batch = self.predictor.size, self.limits.batch
        request = await self.lane.run(
            lambda turn: protocol.read_request(body, header_length, size, max_batch), len(body)
        )
        return protocol.write_answer(request, await self._tensors.run(request.batch))

    def _counted(self, run: Run) -> Run:
        def run_counted(batch: np.ndarray) -> np.ndarray:
            self.metrics.batch_size.observe(len(batch))
            return run(batch)

        return run_counted

    def _to_dict(self, probs: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
        best = int(probs.argmax())
        return {
            "class": self.predictor.classes[best],
            "probability": float(probs[best]),
            "probabilities": dict(zip(self.predictor.classes, probs.tolist(), strict=True)),
            "seen": base64.b64encode(encode_png(seen)).decode(),
        }

    async def _read_pictures(self, content_type: str, body: bytes, most: int) -> np.ndarray:
        """The pictures in a body as the network sees them, uint8 (N, 28, 28)."""

        def read(turn: Turn) -> np.ndarray:
            files = split_pictures(content_type, body, most)
            return np.stack([self._read_picture(i, file, turn) for i, file in enumerate(files, 1)])

        return await self.lane.run(read, len(body))

    def _read_picture(self, number: int, file: bytes, turn: Turn) -> np.ndarray:
        turn.check()
        max_pixels = SIZE * SIZE if turn.is_quick else self.limits.pixels
        try:
            picture = decode_picture(
                _TimedFile(file, turn), f"picture {number}", max_pixels, FORMATS
            )
        except TooManyPixels as error:
            if turn.is_quick:
                raise NotQuick from None
            raise HTTPException(413, str(error)) from None
        except InputError as error:
            turn.check()
            raise HTTPException(400, str(error)) from None
        if turn.is_quick and picture.shape != (SIZE, SIZE):
            raise NotQuick
        return prepare_picture(picture, self.predictor.preprocess)


class _TimedFile(io.BytesIO):
    """A picture's file, of which nothing more is read when the turn is over: a file can have a
    million empty parts, or a comment that Pillow puts together in quadratic time."""

    def __init__(self, content: bytes, turn: Turn) -> None:
        super().__init__(content)
        self._turn = turn

    def read(self, size: int | None = -1) -> bytes:
        self._turn.check()
        return super().read(size)


def scale_maps(maps: np.ndarray) -> np.ndarray:
    """Activated maps, float32 (C, H, W), as pictures, uint8: each from its least value, 0, to its
    greatest, 255; a map that is the same everywhere is 0."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    scaled = (maps - low) / np.where(span > 0, span, 1)
    return np.round(scaled * 255).astype(np.uint8)
