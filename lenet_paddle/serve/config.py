"""The settings of the server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from lenet_paddle.errors import InputError
from lenet_paddle.export.engines import EngineChoice
from lenet_paddle.settings import PATH

ORIGIN = r"\*|https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?"


@dataclass(frozen=True)
class ServeConfig:
    """Settings of `tools/serve.py`. Raises `InputError` for a value out of its range."""

    model: Annotated[str, PATH]
    """An exported folder, output/<run>/inference."""
    host: str = "127.0.0.1"
    """The address to listen on; the default is reached from this machine only."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    workers: int = 1
    """Processes that answer; more than there are cores gain nothing."""
    engine: EngineChoice = "auto"
    """What runs the model; auto is the one that was the faster at export."""
    max_body_mb: float = 10.0
    """Largest body of a request, in million bytes."""
    max_megapixels: float = 25.0
    """Largest picture, in million pixels."""
    max_batch: int = 64
    """Most pictures, or tensors, in a request."""
    max_seconds: float = 10.0
    """Time for a request's body to arrive, and again for its answer."""
    max_queue: int = 64
    """Requests in progress in a worker; further ones get 503 and Retry-After."""
    strict_range: bool = False
    """Refuse tensors that do not seem to be normalised, instead of a warning in the answer."""
    cors: str | None = None
    """An origin whose pages may ask, such as https://example.org; * for every one."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(f"port is {self.port}; expected 0 to 65535")
        for name in ("workers", "max_batch", "max_queue"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("max_body_mb", "max_megapixels", "max_seconds"):
            if not 0 < getattr(self, name) < 1e6:
                raise InputError(f"{name} is {getattr(self, name)}; expected above 0, below 1e6")
        if self.cors is not None and not re.fullmatch(ORIGIN, self.cors):
            raise InputError(
                f"cors is {self.cors!r}; expected an origin as browsers send it, without a path, "
                "such as https://example.org or http://127.0.0.1:3000, or *"
            )
