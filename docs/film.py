"""Film the page to draw on: digits are drawn in headless Chromium, the frames become a GIF.
A picture of the view of the whole network is taken, too.

  python tools/export.py --run output/lenet_builtin-mnist-001 --formats paddle,onnx,page
  python docs/film.py output/lenet_builtin-mnist-001/inference/page    # page.gif, page.png in docs/

Needs Chromium and playwright, and npm for the export (see docs/contributing.md).
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from page_help import DIGITS, Point, answering, chromium, draw, opened, settle

WINDOW = {"width": 1160, "height": 1240}
MARGIN = 20  # pixels around the cards
WIDTH = 640  # pixels of the GIF
STEP = 0.09  # of the pen between two frames, as a share of the sheet's side
NETWORK_WINDOW = {"width": 1360, "height": 900}  # of the picture
FRAME_MS, HOLD_MS = 90, 1100
COLOURS = 48


def main() -> None:
    """Draw each digit, then save the frames."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("page", type=Path, help="the folder that format page wrote")
    parser.add_argument("--digits", default="358", help="the digits to draw, in order")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "page.gif", help="the GIF")
    args = parser.parse_args()
    server = ("-m", "http.server", 0, "--bind", "127.0.0.1", "--directory", args.page)
    frames: list[Image.Image] = []
    times: list[int] = []
    with (
        answering(*server) as address,
        chromium() as browser,
        opened(browser, address, viewport=WINDOW, color_scheme="light") as page,
    ):
        for digit in args.digits:
            for frame in film_digit(page, DIGITS[digit]):
                frames.append(frame)
                times.append(FRAME_MS)
            times[-1] = HOLD_MS
            page.click("#clear")
            settle(page)
        take_picture(page, address, DIGITS[args.digits[0]], args.out.with_suffix(".png"))
    save_gif(frames, times, args.out)
    print(f"{args.out}: {len(frames)} frames, {args.out.stat().st_size:,} bytes")


def film_digit(page: Any, strokes: list[list[Point]]) -> Iterator[Image.Image]:
    """Draw the strokes; yield a frame for each STEP, and one of the final answer."""
    box = page.locator("#sheet").bounding_box()
    for stroke in strokes:
        for number, (x, y) in enumerate(split(stroke)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if number == 0:
                page.mouse.down()
            if number % 4 == 3:
                settle(page)
                yield take_frame(page)
        page.mouse.up()
    page.wait_for_timeout(600)  # until the bars have come to rest
    yield take_frame(page)


def take_picture(page: Any, address: str, strokes: list[list[Point]], path: Path) -> None:
    """Save a picture of the whole network at work on the strokes."""
    page.set_viewport_size(NETWORK_WINDOW)
    page.goto(f"{address}#network")
    settle(page)
    draw(page, strokes)
    page.wait_for_timeout(3000)  # until the nearest digits are found
    page.screenshot(path=path, full_page=True)


def split(stroke: list[Point]) -> Iterator[Point]:
    """Yield points along the stroke, a quarter of STEP apart."""
    lengths = [math.dist(*pair) for pair in itertools.pairwise(stroke)]
    places = np.arange(0, sum(lengths), STEP / 4)
    at = np.cumsum([0, *lengths])
    xs, ys = zip(*stroke, strict=True)
    yield from zip(np.interp(places, at, xs), np.interp(places, at, ys), strict=True)
    yield stroke[-1]


def take_frame(page: Any) -> Image.Image:
    """Return the page's cards, WIDTH pixels wide."""
    box = page.locator("main").bounding_box()
    clip = {side: box[side] - MARGIN for side in ("x", "y")}
    clip |= {side: box[side] + 2 * MARGIN for side in ("width", "height")}
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    return picture.resize((WIDTH, height), Image.Resampling.LANCZOS)


def save_gif(frames: list[Image.Image], times: list[int], path: Path) -> None:
    """Save the frames with one palette, so that a pixel that stays costs nothing."""
    palette = frames[-1].quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    flat[0].save(path, save_all=True, append_images=flat[1:], duration=times, loop=0, optimize=True)


if __name__ == "__main__":
    main()
