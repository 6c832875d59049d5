"""Make pictures that show no digit, and measure how many of them a run refuses.

Each kind takes a random generator and returns a picture, uint8 (H, W), which is prepared as
`tools/predict.py` prepares it. Fashion-MNIST and noise are also given to the network as they are.

    python tests/nondigits.py output/lenet_builtin-mnist-001 nondigits.png

draws some of each kind with the run's answers, and prints for 400 of each how many were refused as
empty or as unclear, with 95 % intervals (Wilson 1927), and the area under the ROC curve of the
score, the largest logit, against MNIST's test digits, whose own refused share comes first.
"""

from __future__ import annotations

import importlib.util
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import font_manager, get_data_path
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import is_empty, prepare_picture
from lenet_paddle.evaluation.metrics import compute_roc, compute_roc_area
from lenet_paddle.export.predictor import Predictor
from lenet_paddle.figures.results.images import plot_answers
from lenet_paddle.figures.style import save_figure
from lenet_paddle.tables import format_cells

Rng = np.random.Generator
Point = tuple[float, float]
SIDE = 160  # of a drawn sheet
LETTERS = string.ascii_letters
ALIKE = "OoDQIlJZzSsBbGgq"  # letters that may be taken for 0, 1, 2, 5, 6, 8 and 9
AS_IT_IS = " as it is"  # of a kind that is not prepared


def find_fonts() -> list[str]:
    """Return the files of matplotlib's and the system's fonts that have Latin letters."""
    own = sorted(map(str, Path(get_data_path(), "fonts/ttf").glob("*.ttf")))
    return [file for file in own + sorted(font_manager.findSystemFonts()) if _has_letters(file)]


def _has_letters(file: str) -> bool:
    try:
        font = ImageFont.truetype(file, 30)
        shapes = {bytes(font.getmask(letter)) for letter in LETTERS}
    except (OSError, ValueError):
        return False
    return len(shapes) > 40 and not re.search("cmmi|cmsy|cmex|Symbol|LastResort|D05", file)


def letter(text: str, fonts: list[str], rng: Rng) -> np.ndarray:
    """A printed letter, turned a little."""
    sheet = Image.new("L", (SIDE, SIDE), 255)
    font = ImageFont.truetype(fonts[rng.integers(len(fonts))], int(rng.integers(60, 110)))
    centre, ink = (SIDE / 2, SIDE / 2), int(rng.integers(0, 80))
    ImageDraw.Draw(sheet).text(centre, text, fill=ink, font=font, anchor="mm")
    return np.asarray(sheet.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, fillcolor=255))


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
    kind.__name__: kind for kind in (noise, blank, scribble, doodle, photo)
}


def make_pictures(per_kind: int, seed: int) -> dict[str, list[np.ndarray]]:
    """Return `per_kind` pictures of each kind; the letters follow the alphabet."""
    rng, fonts = np.random.default_rng(seed), find_fonts()
    texts = [LETTERS[k % len(LETTERS)] for k in range(per_kind)]
    letters = [letter(text, fonts, rng) for text in texts]
    fashion = load_dataset("fashion_mnist", "test").images
    clothes = list(fashion[rng.choice(len(fashion), per_kind, replace=False)])
    pairs = list(zip(texts, letters, strict=True))
    return {
        "letters": letters,
        "- like digits": [picture for text, picture in pairs if text in ALIKE],
        "- others": [picture for text, picture in pairs if text not in ALIKE],
        **{name: [kind(rng) for _ in range(per_kind)] for name, kind in KINDS.items()},
        "fashion": clothes,
        f"fashion{AS_IT_IS}": clothes,
        f"noise{AS_IT_IS}": list(rng.integers(0, 256, (per_kind, 28, 28)).astype(np.uint8)),
    }


def prepare(name: str, pictures: list[np.ndarray]) -> np.ndarray:
    """Return what the network sees, uint8 (N, 28, 28)."""
    if name.endswith(AS_IT_IS):
        return np.stack(pictures)
    return np.stack([prepare_picture(picture, "digit") for picture in pictures])


def interval(count: int, total: int) -> str:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2) / (1 + z * z / total)
    return f"{max(0, middle - half):.3f} to {min(1, middle + half):.3f}"


def measure(predictor: Predictor, seen: np.ndarray, digits: np.ndarray) -> list[str]:
    """Return the cells of a row: pictures, empty, unclear, refused, its interval, ROC area.

    digits: scores of MNIST's test digits, float (M,). The area is of those that are not empty.
    """
    written = seen[[not is_empty(picture) for picture in seen]]
    empty, area = len(seen) - len(written), "-"
    unclear = 0
    if len(written):
        logits = predictor.predict_logits(written)
        unclear = sum(predictor.judge(row) is False for row in logits)
        scores = np.concatenate([digits, logits.max(axis=1)])
        rates = compute_roc(scores, np.arange(len(scores)) < len(digits))
        area = f"{compute_roc_area(*rates[:2]):.4f}"
    refused = empty + unclear
    share = f"{refused / len(seen):.4f}"
    counts = [f"{number:,}" for number in (len(seen), empty, unclear)]
    return [*counts, share, interval(refused, len(seen)), area]


def main() -> None:
    """Draw four pictures of each kind, and print the table."""
    predictor, path = Predictor.from_run(Path(sys.argv[1])), Path(sys.argv[2])
    drawn = [
        predictor.answer(name, picture)
        for name, pictures in make_pictures(100, seed=0).items()
        for picture in pictures[::25][:4]
        if not name.endswith(AS_IT_IS)
    ]
    captions = [
        f"{a.name}\n" + (f"{a.best[0]}, {a.best[1]:.2f}" if a.top_k else "empty")
        + (" UNCLEAR" if a.top_k and a.is_digit is False else "")
        for a in drawn
    ]  # fmt: skip
    figure = plot_answers([a.picture for a in drawn], [a.seen for a in drawn], captions, num_cols=8)
    save_figure(figure, path)
    test_digits = load_dataset("mnist", "test").images
    digits = predictor.predict_logits(test_digits).max(axis=1)
    rows = [["test digits", *measure(predictor, test_digits, digits)]]
    for name, pictures in make_pictures(400, seed=1).items():
        rows.append([name, *measure(predictor, prepare(name, pictures), digits)])
    titles = ["kind", "pictures", "empty", "unclear", "refused", "95 % interval", "ROC area"]
    print(format_cells(titles, rows, left=("kind",)))


if __name__ == "__main__":
    main()
