"""The form of pictures, channels and side, in which a network gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np

from lenet_paddle.errors import InputError, Say
from lenet_paddle.settings import Bound

SIZE = 28  # side in pixels of MNIST's images
SMALLEST, LARGEST = 28, 224
CHANNELS = {1: "grey", 3: "RGB"}  # what a picture's values are, in this order
_SAMPLE = 512  # images that are looked at for colour

Channels = Literal["auto", 1, 3]
Side = int | Literal["auto"]
ImageSize = Annotated[
    Side,
    Bound(
        lambda v: v == "auto" or SMALLEST <= v <= LARGEST,
        f"auto, or a side of {SMALLEST} to {LARGEST} pixels",
    ),
]


class Form(NamedTuple):
    """Channels (1 grey, 3 RGB) and side in pixels of square pictures."""

    channels: Literal[1, 3] = 1
    size: int = SIZE

    def __str__(self) -> str:
        return f"{self.size}x{self.size} {'colour' if self.channels == 3 else 'grey'}"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a picture of this form, (S, S) or (S, S, 3)."""
        return (self.size, self.size, 3)[: 3 if self.channels == 3 else 2]


def form_of(images: np.ndarray) -> Form | None:
    """Return the form of images, (N, S, S) or (N, S, S, 3); None for others, and a side outside of
    28 to 224."""
    height, width = images.shape[1:3]
    is_square = height == width and SMALLEST <= height <= LARGEST
    return Form(3 if images.ndim == 4 else 1, height) if is_square else None


def choose_form(images: np.ndarray, channels: Channels, size: Side) -> Form:
    """Return the form for `images`, uint8 (N, H, W) or (N, H, W, 3), with `auto` filled in.

    Channels: 3 if any of a sample of the images has colour. Side: the longer of the images, but
    28 to 224.
    """
    if channels == "auto":
        sample = images[np.arange(0, len(images), max(1, len(images) // _SAMPLE))]
        channels = 3 if images.ndim == 4 and has_colour(sample) else 1
    if size == "auto":
        size = min(max(SMALLEST, *images.shape[1:3]), LARGEST)
    return Form(channels, int(size))


def has_colour(images: np.ndarray) -> bool:
    """Return whether pictures, uint8 (..., H, W, 3), have colour: in one of them over 1 % of the
    pixels differ by more than 24 between two channels, which noise and a white balance do not
    reach."""
    spread = images.max(axis=-1) - images.min(axis=-1)
    return bool(((spread > 24).mean(axis=(-2, -1)) > 0.01).any())


def bring_to_form(images: np.ndarray, form: Form, source: Path | str, say: Say) -> np.ndarray:
    """Return images, uint8 (N, H, W) or (N, H, W, 3), in `form`; the same array if they have it.

    Colour becomes grey as in Pillow, other sizes are scaled as `preprocess.prepare_picture` does,
    and `say` gets a line for that. Raises `InputError` for grey images where colour is wanted, and
    for a memory-mapped file in another form.
    """
    from lenet_paddle.data.preprocess import prepare_picture

    own = form_of(images)
    if own == form:
        return images
    if not len(images):  # those for validation with val_size 0
        return np.empty((0, *form.shape), np.uint8)
    height, width = images.shape[1:3]
    if form.channels == 3 and images.ndim == 3:
        raise InputError(
            f"{source}: the images are grey, {height}x{width}; expected colour, for channels 3: "
            "give pictures in colour, or train with --channels 1"
        )
    if not isinstance(images, np.ndarray) or isinstance(images, np.memmap):
        mend = own and f", or train with --channels {own.channels} --image-size {own.size}"
        raise InputError(
            f"{source}: the images are {'x'.join(map(str, images.shape[1:]))} and read in place; "
            f"expected {form}: bring them to it{mend or ''}"
        )
    if images.ndim == 4 and form.channels == 1:
        images = to_grey(images)
    if (height, width) != (form.size, form.size):
        say(f"{source}: images of {height}x{width} are scaled to {form.size}x{form.size}")
        scaled = [prepare_picture(image, "resize", form.size) for image in images]
        images = np.array(scaled, np.uint8).reshape(-1, *form.shape)
    return images


def to_grey(images: np.ndarray) -> np.ndarray:
    """Return RGB pictures, uint8 (..., 3), in grey, uint8 (...), as Pillow's mode L weighs them."""
    from PIL import Image

    flat = np.ascontiguousarray(images).reshape(len(images), -1, 3)
    return np.asarray(Image.fromarray(flat).convert("L")).reshape(images.shape[:-1])
