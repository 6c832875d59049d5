"""The pictures within the body of a request: multipart files, or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

# It warns of every damaged body, in its sender's words.
logging.getLogger("python_multipart").setLevel(logging.ERROR)
MAX_PARTS_BEYOND = 16  # form fields that are no files are passed over, up to so many


def split_pictures(content_type: str, body: bytes, max_pictures: int) -> list[bytes]:
    """The files in a body, as bytes: of `multipart/form-data` every part with a file name, of
    `application/json` the base64 texts in `{"images": [...]}`.

    Raises `HTTPException`: 415 for another content type, 413 for more than `max_pictures`, 400
    for a body that is not what its type says, or holds no picture.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        pictures = _split_multipart(body, options.get(b"boundary", b""), max_pictures)
    elif kind == b"application/json":
        pictures = _decode_base64(parse_json(body), max_pictures)
    else:
        raise HTTPException(
            415, "expected multipart/form-data with files, or application/json with base64"
        )
    if not pictures:
        raise HTTPException(400, "no picture came; send a file, or base64 text in `images`")
    return pictures


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `HTTPException`, 400, for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the body is no JSON object")
    return value


def _too_many(max_pictures: int) -> HTTPException:
    most = "one picture" if max_pictures == 1 else f"{max_pictures} pictures"
    return HTTPException(413, f"more than {most}; send them in several requests")


def _split_multipart(body: bytes, boundary: bytes, max_pictures: int) -> list[bytes]:
    """The content of the parts with a file name."""
    files: list[bytes] = []
    content, header = bytearray(), bytearray()
    is_file, num_parts = False, 0

    def begin_part() -> None:
        nonlocal is_file, num_parts
        content.clear()
        header.clear()
        is_file, num_parts = False, num_parts + 1
        if num_parts > max_pictures + MAX_PARTS_BEYOND:
            raise _too_many(max_pictures)

    def end_header() -> None:
        nonlocal is_file
        if header.startswith(b"form-data"):  # the value of Content-Disposition
            is_file = b"filename" in parse_options_header(bytes(header))[1]
        header.clear()

    def end_part() -> None:
        if is_file:
            files.append(bytes(content))
        if len(files) > max_pictures:
            raise _too_many(max_pictures)

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin_part,
                "on_header_value": lambda data, start, end: header.extend(data[start:end]),
                "on_header_end": end_header,
                "on_part_data": lambda data, start, end: content.extend(data[start:end]),
                "on_part_end": end_part,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"the body is no multipart/form-data ({error})") from None
    return files


def _decode_base64(value: dict[str, Any], max_pictures: int) -> list[bytes]:
    """The pictures of `{"images": ["<base64>", ...]}`."""
    texts = value.get("images")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise HTTPException(400, 'expected {"images": ["<base64 of a picture file>", ...]}')
    if len(texts) > max_pictures:
        raise _too_many(max_pictures)
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError):
        raise HTTPException(400, "a text in `images` is not base64") from None
