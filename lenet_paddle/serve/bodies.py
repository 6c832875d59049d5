"""Read the pictures in a request's body: multipart files, or base64 text in JSON."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from lenet_paddle.serve.schemas import Pictures

Message = TypeVar("Message", bound=BaseModel)

# It logs a warning for every damaged body and quotes the body in it.
logging.getLogger("python_multipart").setLevel(logging.ERROR)
MAX_FIELDS = 16  # form fields without a file, which are ignored


async def read_pictures(
    request: Request, max_pictures: int
) -> tuple[Callable[[], list[bytes]], int]:
    """Receive a body; return a function that extracts its picture files, and the body's size.

    The files are the parts with a file name of `multipart/form-data`, or the base64 texts of
    `{"images": [...]}` in `application/json`, which may be `data:` URLs and have line breaks.
    Raises `HTTPException`, here or in the function: 415 for another content type, 413 for more
    than `max_pictures`, 400 for a damaged body or one without a picture.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = await request.body()
        return partial(_decode_base64, body, max_pictures), len(body)
    if kind != "multipart/form-data":
        await request.body()
        raise HTTPException(
            415, "expected multipart/form-data with files, or application/json with base64"
        )
    files = await _read_files(request, max_pictures)
    return lambda: files, sum(map(len, files))


def parse_message(kind: type[Message], body: bytes) -> Message:
    """Parse JSON as the pydantic model `kind`. Raises `HTTPException`, 400, with one line."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg']}" if place else first["msg"]
        raise HTTPException(400, message) from None


async def _read_files(request: Request, max_pictures: int) -> list[bytes]:
    """Return the files of a multipart body; those above 1 MB pass through a temporary file."""
    try:
        async with request.form(max_files=max_pictures, max_fields=MAX_FIELDS) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            files = [await part.read() for part in parts]
    except HTTPException as error:
        if error.detail.startswith("Too many files"):
            raise _too_many(max_pictures) from None
        raise
    if not files:
        raise _NO_PICTURE
    return files


def _decode_base64(body: bytes, max_pictures: int) -> list[bytes]:
    texts = parse_message(Pictures, body).images
    if not texts:
        raise _NO_PICTURE
    if len(texts) > max_pictures:
        raise _too_many(max_pictures)
    try:
        return [_decode_text(text) for text in texts]
    except (binascii.Error, ValueError):
        raise HTTPException(400, "images: a text is neither base64 nor a data: URL of it") from None


def _decode_text(text: str) -> bytes:
    start = text.find(",") + 1 if text[:5].lower() == "data:" else 0  # data:image/png;base64,
    packed = text[start:].encode("ascii").translate(None, b" \t\r\n")
    return base64.b64decode(packed, validate=True)


_NO_PICTURE = HTTPException(400, "no picture came; send a file, or base64 text in `images`")


def _too_many(max_pictures: int) -> HTTPException:
    most = "one picture" if max_pictures == 1 else f"{max_pictures} pictures"
    return HTTPException(413, f"more than {most}; send them in several requests")
