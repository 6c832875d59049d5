"""Make synthetic photographs of handwritten digits from MNIST digits.

Each kind of photo takes a 28x28 digit (white on black) and a random generator, and returns the
digit on paper or a board of 150 to 900 pixels, with flaws of cameras, lamps and pens.

    python tests/photos.py output/lenet_builtin-mnist-001 docs/photos.png

draws some of them with a run's predictions, and prints the accuracy for 100 photos of each kind.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lenet_paddle.data.load import load_dataset
from lenet_paddle.export.predictor import Answer, Predictor
from lenet_paddle.figures.results.images import plot_answers
from lenet_paddle.figures.style import save_figure

Rng = np.random.Generator
Colour = tuple[int, int, int]
Light = np.ndarray | float
Kind = Callable[[np.ndarray, Rng], np.ndarray]
BLACK = (45, 42, 48)
BLUE = (50, 75, 165)


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).astype(np.uint8)


def _image(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(_bytes(255 * alpha))


def _strokes(digit: np.ndarray, size: int) -> np.ndarray:
    """Return the ink coverage (0 to 1) of the digit enlarged from 28x28 to size x size."""
    large = Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)
    # Steeper edges: ink does not fade over the width of an MNIST pixel.
    return ((np.asarray(large, np.float32) / 255 - 0.42) * 3 + 0.5).clip(0, 1)


def _thinned(mask: np.ndarray) -> np.ndarray:
    """Return the centre lines of the strokes (Zhang and Suen 1984)."""
    mask = np.pad(mask, 1).astype(np.uint8)
    ring = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    changed = True
    while changed:
        changed = False
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            near = np.stack([np.roll(mask, (-y, -x), (0, 1)) for y, x in ring])
            count = near.sum(0)
            steps = ((near == 0) & (np.roll(near, -1, 0) == 1)).sum(0)
            drop = (mask == 1) & (count >= 2) & (count <= 6) & (steps == 1)
            drop &= (near[list(first)].prod(0) == 0) & (near[list(second)].prod(0) == 0)
            changed |= bool(drop.any())
            mask[drop] = 0
    return mask[1:-1, 1:-1]


def _pencil_line(digit: np.ndarray, size: int, width: float) -> np.ndarray:
    """Return the ink coverage of the digit drawn with a line of `width` pixels."""
    line = _thinned(_strokes(digit, 84) > 0.5)
    canvas = Image.new("L", (2 * size, 2 * size))
    draw = ImageDraw.Draw(canvas)
    scale, radius = 2 * size / 84, width
    for y, x in np.argwhere(line):
        for dy, dx in ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1)):
            if 0 <= x + dx < 84 and y + dy < 84 and line[y + dy, x + dx]:
                for t in np.linspace(0, 1, int(scale) + 1):  # dots close enough to make a line
                    cx, cy = (x + t * dx + 0.5) * scale, (y + t * dy + 0.5) * scale
                    draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=255)
    return np.asarray(canvas.reduce(2), np.float32) / 255


def _bounds(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of the ink."""
    ys, xs = np.nonzero(ink > 0.1)
    return ys.min(), ys.max() + 1, xs.min(), xs.max() + 1


def _place(ink: np.ndarray, height: int, width: int, rng: Rng) -> np.ndarray:
    """Put the ink at a random position inside an empty page."""
    top, bottom, left, right = _bounds(ink)
    ink = ink[top:bottom, left:right]
    margin = min(height, width) // 30
    height, width = (
        max(n, m + 2 * margin) for n, m in zip((height, width), ink.shape, strict=True)
    )
    page = np.zeros((height, width), np.float32)
    y = int(rng.integers(margin, height - ink.shape[0] - margin + 1))
    x = int(rng.integers(margin, width - ink.shape[1] - margin + 1))
    page[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return page


def _write(
    digit: np.ndarray, rng: Rng, pen: Callable[[np.ndarray, int], np.ndarray] = _strokes
) -> np.ndarray:
    """Return the ink coverage of a page with the digit on it."""
    height, width = (int(n) for n in rng.integers(150, 901, 2))
    height, width = max(height, width // 2), max(width, height // 2)
    return _place(pen(digit, int(min(height, width) * rng.uniform(0.55, 1.1))), height, width, rng)


def _smooth_noise(shape: tuple[int, ...], cells: int, rng: Rng) -> np.ndarray:
    """Return noise of standard deviation about 1 that varies over 1/cells of the page."""
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _ramp(shape: tuple[int, ...], rng: Rng) -> np.ndarray:
    """Return a plane from 0 to 1 over the page in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    plane = x * np.cos(angle) + y * np.sin(angle)
    return (plane - plane.min()) / np.ptp(plane)


def _photo(
    ink: np.ndarray, rng: Rng, colour: Colour = BLACK, light: Light = 1.0, sigma: float = 0
) -> np.ndarray:
    """Photograph the page: paper with a faint texture, blur, sensor noise."""
    paper = rng.uniform(205, 245) + np.array([rng.uniform(0, 8), 0, -rng.uniform(0, 25)])
    paper = paper + 2 * _smooth_noise(ink.shape, 12, rng)[..., None]
    page = paper + (np.array(colour) - paper) * (ink * rng.uniform(0.85, 1))[..., None]
    page = page * (light if isinstance(light, float) else light[..., None])
    blur = ImageFilter.GaussianBlur(rng.uniform(0, 0.003) * max(ink.shape))
    page = np.asarray(Image.fromarray(_bytes(page)).filter(blur), np.float32)
    page = page + rng.normal(0, sigma or rng.uniform(1, 4), page.shape)
    return _bytes(page)


def paper_gradient(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """Light from one side: the far side gets a third to two thirds of it."""
    ink = _write(digit, rng)
    bent = _ramp(ink.shape, rng) ** rng.uniform(0.7, 2)
    return _photo(ink, rng, light=1 - rng.uniform(0.35, 0.65) * bent)


def shadow(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """The edge of a shadow across the paper."""
    ink = _write(digit, rng)
    edge = (_ramp(ink.shape, rng) - rng.uniform(0.25, 0.75)) / rng.uniform(0.01, 0.06)
    return _photo(ink, rng, light=1 - rng.uniform(0.3, 0.6) * (edge + 0.5).clip(0, 1))


def noise(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """The sensor noise of a dark room."""
    return _photo(_write(digit, rng), rng, light=0.6, sigma=rng.uniform(12, 30))


def blue_ink(digit: np.ndarray, rng: Rng) -> np.ndarray:
    return _photo(_write(digit, rng), rng, colour=BLUE)


def pencil(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A thin grey line, broken by the grain of the paper."""
    width = rng.uniform(0.01, 0.025)
    ink = _write(digit, rng, lambda digit, size: _pencil_line(digit, size, max(1.2, width * size)))
    grain = (0.8 + 0.2 * rng.normal(size=ink.shape)).clip(0, 1)
    return _photo(ink * grain, rng, colour=(int(rng.integers(105, 150)),) * 3)


def perspective(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """The sheet from an angle: the corners of the digit move by up to an eighth of its size."""
    to = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    at = to + rng.uniform(-1 / 8, 1 / 8, (4, 2))

    def seen(digit: np.ndarray, size: int) -> np.ndarray:
        (x, y), (u, v), one, no = size * at.T, size * to.T, np.ones(4), np.zeros((4, 3))
        plane = np.stack([x, y, one], 1)
        left = np.block([[plane, no], [no, plane]])
        right = -np.concatenate([u, v])[:, None] * np.tile(plane[:, :2], (2, 1))
        warp = tuple(np.linalg.solve(np.hstack([left, right]), np.concatenate([u, v])))
        flat, how = _image(_strokes(digit, size)), Image.Transform.PERSPECTIVE
        return np.asarray(flat.transform(flat.size, how, warp, Image.Resampling.BICUBIC)) / 255

    return _photo(_write(digit, rng, seen), rng)


def rotated(digit: np.ndarray, rng: Rng) -> np.ndarray:
    angle = rng.uniform(-15, 15)

    def turned(digit: np.ndarray, size: int) -> np.ndarray:
        ink = _image(_strokes(digit, size))
        return np.asarray(ink.rotate(angle, Image.Resampling.BICUBIC)) / 255

    return _photo(_write(digit, rng, turned), rng)


def inverted(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """Chalk on a badly wiped board."""
    ink = _write(digit, rng)
    chalk = (0.85 + 0.15 * rng.normal(size=ink.shape)).clip(0, 1) * ink
    board = rng.uniform(35, 75) + np.array([0, rng.uniform(0, 25), 8])
    board = board + 6 * _smooth_noise(ink.shape, 6, rng)[..., None]
    page = board + (rng.uniform(190, 240) - board) * chalk[..., None]
    return _bytes(page + rng.normal(0, 4, page.shape))


def jpeg(digit: np.ndarray, rng: Rng) -> np.ndarray:
    file = io.BytesIO()
    photo = Image.fromarray(_photo(_write(digit, rng), rng))
    photo.save(file, "JPEG", quality=int(rng.integers(4, 13)))
    return np.asarray(Image.open(file))


def small_off_centre(digit: np.ndarray, rng: Rng) -> np.ndarray:
    """A digit of an eighth to a third of the sheet's size, anywhere on it, with specks around."""
    height, width = (int(n) for n in rng.integers(300, 901, 2))
    size = int(min(height, width) * rng.uniform(0.17, 0.45))
    ink = _place(_strokes(digit, size), height, width, rng)
    top, bottom, left, right = _bounds(ink)
    canvas, gap = _image(ink), 0.12 * size
    for _ in range(rng.integers(3, 13)):
        y, x, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.005, 0.035) * size
        if not (top - gap < y < bottom + gap and left - gap < x < right + gap):
            ImageDraw.Draw(canvas).ellipse((x - r, y - r, x + r, y + r), fill=255)
    return _photo(np.asarray(canvas) / 255, rng)


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        paper_gradient, shadow, noise, blue_ink, pencil,
        perspective, rotated, inverted, jpeg, small_off_centre,
    )
}  # fmt: skip


def read_photos(
    predictor: Predictor, per_kind: int, seed: int, kinds: Mapping[str, Kind] = KINDS
) -> dict[str, list[tuple[str, Answer]]]:
    """Return for each of `kinds` so many pairs (true digit, answer) for MNIST test digits."""
    rng = np.random.default_rng(seed)
    test_set = load_dataset("mnist", "test")
    result: dict[str, list[tuple[str, Answer]]] = {}
    for kind, spoil in kinds.items():
        chosen = rng.choice(len(test_set), per_kind, replace=False)
        photos = [np.ascontiguousarray(spoil(test_set.images[i], rng)) for i in chosen]
        result[kind] = [
            (str(test_set.labels[i]), predictor.answer(f"{kind} {i}", photo))
            for i, photo in zip(chosen, photos, strict=True)
        ]
    return result


def main() -> None:
    """Draw four photos of each kind, and print the accuracy of each kind, and the mean probability
    of its wrong answers."""
    from hard_photos import HARD

    kinds = {**KINDS, **HARD}
    run, path = Path(sys.argv[1]), Path(sys.argv[2])
    predictor = Predictor.from_run(run)
    answers = read_photos(predictor, 4, seed=0, kinds=kinds)
    drawn = [pair for pairs in answers.values() for pair in pairs]
    captions = [
        f"{a.name.split()[0]}\n{label} read as {a.best[0]}"
        + ("" if label == a.best[0] else "  WRONG")
        for label, a in drawn
    ]
    pictures, seen = [a.picture for _, a in drawn], [a.seen for _, a in drawn]
    save_figure(plot_answers(pictures, seen, captions, num_cols=8), path)
    for kind, spoil in kinds.items():
        [pairs] = read_photos(predictor, 100, seed=1, kinds={kind: spoil}).values()
        wrong = [a.best[1] or 0 for label, a in pairs if label != a.best[0]]
        print(f"{kind:<24}{1 - len(wrong) / len(pairs):.2f}  {np.mean(wrong or [0]):.2f}")


if __name__ == "__main__":
    main()
