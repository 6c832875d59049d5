"""Compute the answers of the endpoints: picture files or tensors -> JSON."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from lenet_paddle.data.datasets import describe_data
from lenet_paddle.data.preprocess import (
    TooManyPixels,
    channels_read,
    decode_picture,
    encode_png,
    is_empty,
    is_prepared,
    prepare_picture,
)
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.export.engines import EngineChoice
from lenet_paddle.export.explainer import list_files
from lenet_paddle.export.pages import join_row
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.serve import protocol
from lenet_paddle.serve.batching import Batcher
from lenet_paddle.serve.limits import Limits
from lenet_paddle.serve.metrics import Metrics
from lenet_paddle.serve.work_queue import Deadline, NeedsThread, WorkQueue, took_too_long

Run = Callable[[np.ndarray], np.ndarray]
LoadFiles = Callable[[], list[bytes]]

# The formats of Pillow that are accepted. EPS would run Ghostscript; a TIFF file of 1 MB can have
# tiles that take 2 GB for a picture of 28x28.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
LOOP_SIDE = 64  # of a picture that is decoded on the event loop, in a tenth of a millisecond
# Values in the tensors of one run of the model: 64 pictures of 64x64 in colour, 5 of 224x224. They
# bound the run's memory, and its time, during which the event loop looks at no other request.
RUN_VALUES = 64 * 3 * 64 * 64


class Service:
    """An exported model and its limits, in one worker process."""

    def __init__(self, model: Path, engine: EngineChoice, limits: Limits) -> None:
        self.predictor = Predictor(model, engine)
        self.limits, self.metrics = limits, Metrics()
        self._queue = WorkQueue(limits.seconds)
        self.shape = (self.predictor.form.channels, self.predictor.size, self.predictor.size)
        rows = max(1, min(limits.batch, RUN_VALUES // math.prod(self.shape)))
        self._pictures = Batcher(self._count(self.predictor.predict_logits), rows)
        self._tensors = Batcher(self._count(self.predictor.compute_logits), rows)
        self.explainer = list_files(model)
        self._warm_up()

    @property
    def max_tensors(self) -> int:
        """How many tensors a request may have: as many as `limits.batch`, and as fit its body."""
        return max(1, min(self.limits.batch, self.limits.body // (4 * math.prod(self.shape))))

    def _warm_up(self) -> None:
        """Do what is slow only once, such as loading Pillow's plugins, before the first request.

        Raises `InputError` if the model of feature maps cannot be loaded.
        """
        line = encode_png(np.eye(self.predictor.form.size, dtype=np.uint8))
        seen = self._read_picture(1, line, Deadline(False, math.inf))
        self._to_dict(self.predictor.predict_logits(seen[None])[0], seen, _to_text(seen))
        if self.predictor.description["features"]:
            self.predictor.run_with_maps(seen[None])

    def describe(self) -> dict[str, Any]:
        """Return the answer to GET /model.json: what the page needs to know about the model."""
        description = self.predictor.description
        return {
            "classes": list(self.predictor.classes),
            "preprocess": self.predictor.preprocess,
            "image_size": self.predictor.form.size,
            "input": description["input"],
            **describe_data(self.predictor.dataset),
            "features": description["features"],
            "explainer": [file.name for file in self.explainer],
        }

    async def predict(self, load: LoadFiles, num_bytes: int) -> dict[str, Any]:
        """Return the answer to POST /predict: each picture's class, and what the network saw.

        `load` returns the picture files, which take `num_bytes` in the request. Raises
        `HTTPException`, as the other endpoints do.
        """
        seen, texts = await self._read_pictures(load, num_bytes)
        rows = zip(await self._run(self._pictures, seen), seen, texts, strict=True)
        return {"predictions": [self._to_dict(*row) for row in rows]}

    async def read_pages(self, load: LoadFiles, num_bytes: int) -> dict[str, Any]:
        """Return the answer to POST /predict?many=1: the numbers on each picture, and their
        digits."""
        if self.predictor.preprocess != "digit":
            raise HTTPException(400, "this model does not read handwritten digits; leave out many")
        loop = asyncio.get_running_loop()

        def score(deadline: Deadline, seen: np.ndarray) -> np.ndarray:
            """Run the model on the event loop, from the thread."""
            deadline.check()
            running = asyncio.run_coroutine_threadsafe(self._run(self._pictures, seen), loop)
            return running.result(self.limits.seconds + 1)  # a loop that has ended never answers

        def read(deadline: Deadline) -> list[dict[str, Any]]:
            if deadline.on_loop:
                raise NeedsThread
            pages = []
            for number, file in enumerate(load(), 1):
                picture = self._decode(number, file, deadline)
                page = self.predictor.read_page("", picture, partial(score, deadline))
                rows = [join_row(row) for row in page.rows]
                pages.append({"rows": rows, "digits": [d.to_dict() for d in page.digits]})
            return pages

        return {"pages": await self._queue.run(read, num_bytes)}

    async def explain(self, load: LoadFiles, num_bytes: int) -> dict[str, Any]:
        """Return the answer to POST /features: that of one picture, and its feature maps."""
        seen, [text] = await self._read_pictures(load, num_bytes)
        if not self.predictor.description["features"]:
            raise HTTPException(404, "this model was exported without its feature maps")
        started = time.perf_counter()
        logits, maps = self.predictor.run_with_maps(seen)
        self.metrics.count_batch(1, time.perf_counter() - started)
        features = [
            {
                "name": name,
                "shape": list(of_one[0].shape),
                "data": base64.b64encode(scale_maps(of_one[0]).tobytes()).decode(),
            }
            for name, of_one in maps.items()
        ]
        return {**self._to_dict(logits[0], seen[0], text), "features": features}

    async def infer(self, body: bytes, header_length: str | None) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of the answer to POST /v2/models/lenet/infer."""
        request = await self._queue.run(
            lambda _: protocol.read_request(body, header_length, self.shape, self.max_tensors),
            len(body),
        )
        if request.warning is not None:
            self.metrics.range_warnings.inc()
            if self.limits.strict_range:
                raise HTTPException(400, request.warning)
        return protocol.write_answer(request, await self._run(self._tensors, request.batch))

    async def _run(self, batcher: Batcher, batch: np.ndarray) -> np.ndarray:
        """Run the model. Raises `HTTPException`, 503, if its turn does not come in time."""
        try:
            return await batcher.run(batch, time.monotonic() + self.limits.seconds)
        except TimeoutError:
            raise took_too_long() from None

    def _count(self, run: Run) -> Run:
        """Wrap `run` so that the metrics record the size and the time of each batch."""

        def run_and_count(batch: np.ndarray) -> np.ndarray:
            started = time.perf_counter()
            result = run(batch)
            self.metrics.count_batch(len(batch), time.perf_counter() - started)
            return result

        return run_and_count

    def _to_dict(self, logits: np.ndarray, seen: np.ndarray, text: str) -> dict[str, Any]:
        found = None if is_empty(seen) else logits
        shown = {"is_digit": self.predictor.judge(found), "seen": text}
        if found is None:
            return {"class": None, "probability": None, "probabilities": {}, **shown}
        [probs] = compute_probs(found[None])
        best = int(probs.argmax())
        return {
            "class": self.predictor.classes[best],
            "probability": float(probs[best]),
            "probabilities": dict(zip(self.predictor.classes, probs.tolist(), strict=True)),
            **shown,
        }

    async def _read_pictures(self, load: LoadFiles, num_bytes: int) -> tuple[np.ndarray, list[str]]:
        """Return the pictures as the network sees them, uint8 (N, S, S) or (N, S, S, 3), and each
        as the base64 text of a PNG."""

        def read(deadline: Deadline) -> tuple[np.ndarray, list[str]]:
            seen, texts = [], []
            for number, file in enumerate(load(), 1):
                seen.append(self._read_picture(number, file, deadline))
                texts.append(_to_text(seen[-1]))
            return np.stack(seen), texts

        return await self._queue.run(read, num_bytes)

    def _read_picture(self, number: int, file: bytes, deadline: Deadline) -> np.ndarray:
        form, mode = self.predictor.form, self.predictor.preprocess
        picture = self._decode(number, file, deadline)
        if is_prepared(picture, mode, form.size):
            return picture
        if deadline.on_loop:  # preparing takes up to a hundred times as long
            raise NeedsThread
        return prepare_picture(picture, mode, form.size)

    def _decode(self, number: int, file: bytes, deadline: Deadline) -> np.ndarray:
        deadline.check()
        form, mode = self.predictor.form, self.predictor.preprocess
        max_pixels = min(form.size, LOOP_SIDE) ** 2 if deadline.on_loop else self.limits.pixels
        try:
            return decode_picture(
                *(_TimedFile(file, deadline), f"picture {number}", max_pixels, FORMATS),
                channels=channels_read(mode, form.channels),
                target=form.size if mode == "resize" else None,  # as in training
            )
        except TooManyPixels as error:
            if deadline.on_loop:
                raise NeedsThread from None
            raise HTTPException(413, str(error)) from None
        except InputError as error:
            deadline.check()
            raise HTTPException(400, str(error)) from None


class _TimedFile(io.BytesIO):
    """A picture file that cannot be read after the deadline.

    A file can have a million empty parts, or a comment that Pillow joins in quadratic time.
    """

    def __init__(self, content: bytes, deadline: Deadline) -> None:
        super().__init__(content)
        self._deadline = deadline

    def read(self, size: int | None = -1) -> bytes:
        self._deadline.check()
        return super().read(size)


def _to_text(picture: np.ndarray) -> str:
    """Return a picture as the base64 text of a PNG."""
    return base64.b64encode(encode_png(picture)).decode()


def scale_maps(maps: np.ndarray) -> np.ndarray:
    """Scale each activation map, float32 (C, H, W), from its minimum, 0, to its maximum, 255.

    Returns uint8 (C, H, W); a constant map becomes 0.
    """
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    scaled = (maps - low) / np.where(span > 0, span, 1)
    return np.round(scaled * 255).astype(np.uint8)
