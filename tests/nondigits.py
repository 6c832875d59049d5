"""Make pictures that show no digit, and measure how many of them a run refuses.

Each kind takes a random generator and returns a picture, uint8 (H, W), which is prepared as
`tools/predict.py` prepares it. Fashion-MNIST and noise are also given to the network as they are.

    python tests/nondigits.py output/lenet_builtin-mnist-001 nondigits.png

draws some of each kind with a run's answers, and prints for 400 of each the share that is refused,
its 95 % interval, and the area under the ROC curve of the score against MNIST's test digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import prepare_picture

Rng = np.random.Generator
Point = tuple[float, float]
SIDE = 160  # of a drawn sheet
ALIKE = "OoDQIlJZzSsBbGgq"  # letters that may be taken for 0, 1, 2, 5, 6, 8 and 9
OTHER = "".join(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in ALIKE)
# Of the words in the names of fonts without Latin letters of an own.
WITHOUT = ("cmex", "cmsy", "cmmi", "STIXNon", "STIXSiz", "LastResort", "Display", "Symbol", "D05")


def _fonts() -> list[str]:
    from matplotlib import font_manager, get_data_path

    own = sorted(map(str, Path(get_data_path(), "fonts/ttf").glob("*.ttf")))
    system = sorted(font_manager.findSystemFonts())
    return [f for f in own + system if not any(word in Path(f).name for word in WITHOUT)]


FONTS = _fonts()


def _letter(letters: str, rng: Rng) -> np.ndarray:
    sheet = Image.new("L", (SIDE, SIDE), 255)
    font = ImageFont.truetype(FONTS[rng.integers(len(FONTS))], int(rng.integers(60, 110)))
    centre = (SIDE / 2, SIDE / 2)
    text = letters[rng.integers(len(letters))]
    ImageDraw.Draw(sheet).text(centre, text, fill=int(rng.integers(0, 80)), font=font, anchor="mm")
    return np.asarray(sheet.rotate(rng.uniform(-8, 8), fillcolor=255, resample=2))


def letters(rng: Rng) -> np.ndarray:
    return _letter(OTHER, rng)


def letters_alike(rng: Rng) -> np.ndarray:
    return _letter(ALIKE, rng)


def noise(rng: Rng) -> np.ndarray:
    """White or smooth noise, specks or static, of 28 to 200 pixels."""
    side, kind = int(rng.choice([28, 28, 64, 200])), rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (side, side)).astype(np.uint8)
    if kind == 1:
        coarse = rng.integers(0, 256, (rng.integers(5, 15),) * 2).astype(np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    if kind == 2:
        return rng.normal(rng.uniform(80, 200), 30, (side, side)).clip(0, 255).astype(np.uint8)
    return np.where(rng.random((side, side)) < rng.uniform(0.02, 0.5), 0, 255).astype(np.uint8)


def blank(rng: Rng) -> np.ndarray:
    """A sheet lit unevenly, with grain."""
    height, width = rng.integers(100, 400, 2)
    rows, cols = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    slope, other = rng.uniform(-40, 40, 2)
    sheet = rng.uniform(120, 230) + slope * rows + other * cols
    sheet = sheet + rng.normal(0, rng.uniform(0, 5), (height, width))
    return sheet.clip(0, 255).astype(np.uint8)


def _draw(lines: list[list[Point]], rng: Rng) -> np.ndarray:
    """Draw lines of points in [-1, 1] with a pen, turned and shaken a little."""
    size = 4 * SIDE
    sheet = Image.new("L", (size, size), 255)
    pen, width, angle = ImageDraw.Draw(sheet), int(rng.uniform(16, 40)), rng.uniform(-0.15, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = rng.uniform(0.8, 1.1, 2) * rng.uniform(0.45, 0.75)
    ink = int(rng.integers(0, 90))
    for line in lines:
        points = (np.array(line) + rng.normal(0, 0.02, (len(line), 2))) * stretch @ turn
        places = [tuple(p) for p in (points + 1) * size / 2]
        pen.line(places, fill=ink, width=width, joint="curve")
        for x, y in (places[0], places[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
    return np.asarray(sheet.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _arc(start: float, end: float, radius: float = 1, x: float = 0, y: float = 0) -> list[Point]:
    return [
        (x + radius * float(np.cos(a)), y + radius * float(np.sin(a)))
        for a in np.linspace(start, end, 40)
    ]


def scribble(rng: Rng) -> np.ndarray:
    """Loops, hatching, or a line that wanders."""
    kind, steps = rng.integers(3), int(rng.integers(4, 9))
    if kind == 0:
        times = np.linspace(0, 2 * np.pi * steps, 40 * steps)
        x = np.linspace(-1, 1, len(times)) * rng.uniform(0.2, 1) + 0.5 * np.cos(times)
        y = rng.uniform(0.5, 1) * np.sin(times * rng.uniform(0.9, 1.1))
    elif kind == 1:
        x = np.linspace(-1, 1, 2 * steps) + rng.normal(0, 0.06, 2 * steps)
        y = np.tile([-1.0, 1.0], steps) * rng.uniform(0.6, 1, 2 * steps)
    else:
        turns = np.cumsum(rng.normal(0, 0.5, 30 * steps))
        x, y = (np.cumsum(f(turns)) for f in (np.cos, np.sin))
        half = max(np.ptp(x), np.ptp(y)) / 2
        x, y = ((v - (v.max() + v.min()) / 2) / half for v in (x, y))
    return _draw([list(zip(x.tolist(), y.tolist(), strict=True))], rng)


def _doodles() -> dict[str, list[list[Point]]]:
    star = [(float(np.sin(4 * np.pi * k / 5)), -float(np.cos(4 * np.pi * k / 5))) for k in range(6)]
    times = np.linspace(0, 2 * np.pi, 60)
    heart = [
        (float(np.sin(t) ** 3), -float(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t)) / 16)
        for t in times
    ]
    eye = [_arc(0, 6.3, 0.06, x, -0.3) for x in (-0.35, 0.35)]
    spiral = [
        (float(t / 19 * np.cos(t)), float(t / 19 * np.sin(t))) for t in np.linspace(0, 19, 150)
    ]
    flower = [_arc(0, 6.3, 0.3, float(np.cos(a)) * 0.6, float(np.sin(a)) * 0.6 - 0.2)
              for a in np.linspace(0, 2 * np.pi, 6)[:-1]]  # fmt: skip
    return {
        "house": [[(-0.8, 1), (-0.8, -0.2), (0.8, -0.2), (0.8, 1), (-0.8, 1)],
                  [(-1, -0.1), (0, -1), (1, -0.1)], [(-0.2, 1), (-0.2, 0.4), (0.2, 0.4), (0.2, 1)]],
        "star": [star],
        "heart": [heart],
        "smiley": [_arc(0, 6.3), *eye, _arc(0.5, 2.6, 0.55)],
        "arrow": [[(-1, 0), (1, 0)], [(0.4, -0.5), (1, 0), (0.4, 0.5)]],
        "tree": [[(0, 1), (0, 0.4)], [(-0.8, 0.4), (0, -1), (0.8, 0.4), (-0.8, 0.4)]],
        "spiral": [spiral],
        "flower": [*flower, _arc(0, 6.3, 0.3, 0, -0.2), [(0, 0.6), (0, 1.3)]],
        "cross": [[(-0.8, -0.8), (0.8, 0.8)], [(-0.8, 0.8), (0.8, -0.8)]],
        "hash": [[(-0.4, -1), (-0.4, 1)], [(0.4, -1), (0.4, 1)], [(-1, -0.4), (1, -0.4)],
                 [(-1, 0.4), (1, 0.4)]],
        "man": [_arc(0, 6.3, 0.25, 0, -0.75), [(0, -0.5), (0, 0.3)], [(-0.5, -0.1), (0.5, -0.1)],
                [(-0.4, 1), (0, 0.3), (0.4, 1)]],
        "square": [[(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8), (-0.8, -0.8)]],
        "wave": [[(float(x), 0.5 * float(np.sin(7 * x))) for x in np.linspace(-1, 1, 60)]],
    }  # fmt: skip


DOODLES = _doodles()


def doodle(rng: Rng) -> np.ndarray:
    return _draw(DOODLES[list(DOODLES)[rng.integers(len(DOODLES))]], rng)


def _photos() -> list[Path]:
    """Return the sample photos of matplotlib, scikit-image and scikit-learn that are installed."""
    import importlib.util

    from matplotlib import get_data_path

    found = [Path(get_data_path(), "sample_data", "grace_hopper.jpg")]
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += sorted(Path(spec.origin).parent.joinpath(folder).glob("*.[pj][np]g"))
    drawn = ("page", "text", "chessboard_GRAY", "chessboard_RGB", "logo", "phantom", "horse")
    return [path for path in found if path.is_file() and path.stem not in drawn]


PHOTOS = _photos()


def photo(rng: Rng) -> np.ndarray:
    """A part of a photo."""
    whole = Image.open(PHOTOS[rng.integers(len(PHOTOS))]).convert("L")
    side = int(rng.uniform(0.2, 1) * min(whole.size))
    left, top = (int(rng.integers(0, n - side + 1)) for n in whole.size)
    part = whole.crop((left, top, left + side, top + side))
    part.thumbnail((400, 400))
    return np.asarray(part)


KINDS: dict[str, Callable[[Rng], np.ndarray]] = {
    kind.__name__: kind for kind in (letters, letters_alike, noise, blank, scribble, doodle, photo)
}


def make_sets(per_kind: int, seed: int) -> dict[str, np.ndarray]:
    """Return for each kind what the network sees, uint8 (per_kind, 28, 28)."""
    rng = np.random.default_rng(seed)
    sets = {
        name: np.stack([prepare_picture(kind(rng), "digit") for _ in range(per_kind)])
        for name, kind in KINDS.items()
    }
    fashion = load_dataset("fashion_mnist", "test").images
    chosen = fashion[rng.choice(len(fashion), per_kind, replace=False)]
    sets["fashion"] = np.stack([prepare_picture(image, "digit") for image in chosen])
    sets["fashion as it is"] = chosen
    sets["noise as it is"] = rng.integers(0, 256, (per_kind, 28, 28)).astype(np.uint8)
    return sets
