"""Our MNIST-C beside the authors' own: pixel for pixel where no chance is in it, else by figures.

  python tests/compare_mnist_c.py --run output/lenet_builtin-mnist-001     # writes docs/mnist-c.md
  python tests/compare_mnist_c.py --run output/RUN --data-dir mnist_c --out mine.md

The true images are those in tests/samples (made of MNIST's first 200 test and first 200 training
images), or the test images in a folder of the published layout.
"""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lenet_paddle.cli import parse_args, run_tool
from lenet_paddle.data.corrupt import corrupt, corrupt_block
from lenet_paddle.data.datasets import ALL_CORRUPTIONS
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.mnist_c import list_corruptions, load_mnist_c
from lenet_paddle.data.sources import load_mnist
from lenet_paddle.files import write_text
from lenet_paddle.progress import Progress
from lenet_paddle.tables import format_cells

SAMPLE = ROOT / "tests/samples/mnist_c_sample.npz"
WITHOUT_CHANCE = ("identity", "scale", "brightness", "stripe", "canny_edges")
BANDS = ((1, 4), (4, 7), (7, 10), (10, 14))  # waves a side
# corruption -> all that chance can draw for an image; of angles two a degree
DRAWS = {
    "shear": np.arange(2),
    "rotate": np.arange(2),
    "translate": np.argwhere(np.ones((2, 2))),
    "dotted_line": np.argwhere(np.ones((27, 27))),
    "zigzag": np.argwhere(np.ones((27, 10))) - (0, 5),
    "motion_blur": np.linspace(-45, 45, 181),
}

PACKAGES = ("paddlepaddle", "numpy", "scipy", "scikit-image")
PAGE = """# MNIST-C, theirs and ours

`tools/corrupt.py` makes MNIST-C's 15 corruptions with code of its own,
`lenet_paddle/data/corrupt.py`. Here its images are held beside {num_images} under each corruption
that the authors' code (https://github.com/google-research/mnist-c) made of the same digits at its
default severities.

```bash
{command}
```

Made on {made}; ours with {seeds} seeds.

- **pixel for pixel**: how many images are the same. Where chance chooses among few outcomes (to
  which side an image is turned, where a line runs) all of them are tried, and `one of 729` means
  that the true image is among ours. motion_blur draws any angle; half a degree apart were tried,
  and `within 1` is said of grey levels. `-`: chance decides every pixel.
- **the figures**: `true / ours (difference in standard errors)`, ours being the mean over the
  seeds. A standard error is the deviation among our seeds, of one draw less the mean. `variance`
  is that within an image, `power a-b` the logarithm (base 10) of the spectrum's power at a to b
  waves a side, averaged over directions.

{table}

Of the {num_figures} figures that chance has a part in, {num_outside} lie outside two standard
errors; by chance alone it would be about {by_chance}. Of a corruption whose true images are all
among ours only the draws can differ.

{outside}

Two things of the original are kept on purpose, since a model is measured with them elsewhere:
glass_blur smooths down the columns only (its library took the other axis for colours), and
motion_blur cuts off fractions of a grey level.
"""


class Told:
    """Stands where a generator is expected, and gives each image the draw that it was told."""

    def __init__(self, draw: Any) -> None:
        self.draw = np.asarray(draw)

    def uniform(self, low: Any, high: Any, size: Any) -> np.ndarray:
        return np.broadcast_to(self.draw, size)

    integers = uniform


def load_sample(data_dir: str | None = None) -> tuple[ImageSet, dict[str, np.ndarray]]:
    """Clean digits, and the true images made of them by corruption, uint8 (N, 28, 28) each."""
    test, train = (load_mnist(part, None).take(slice(0, 200)) for part in ("test", "train"))
    if data_dir is None:
        images = np.concatenate([test.images, train.images])
        clean = ImageSet(images, np.concatenate([test.labels, train.labels]), test.classes)
        with np.load(SAMPLE, allow_pickle=False) as arrays:
            return clean, {name: arrays[name] for name in ALL_CORRUPTIONS}
    folder = Path(data_dir)
    names = list_corruptions(folder)
    true = {name: np.asarray(load_mnist_c("test", folder, name).images) for name in names}
    return load_mnist("test", None).take(slice(0, len(true[names[0]]))), true


def largest_difference(true: np.ndarray, clean: np.ndarray, corruption: str) -> np.ndarray | None:
    """Each image's largest difference of a pixel to ours, int (N,): to the nearest of all that
    ours can become. None where that is too much to try."""
    if corruption in WITHOUT_CHANCE:
        results = [corrupt(clean, corruption)]
    elif corruption in DRAWS:
        results = (
            corrupt_block(clean, corruption, None, Told(draw))  # type: ignore[arg-type]
            for draw in DRAWS[corruption]
        )
    else:
        return None
    nearest = np.full(len(true), 255)
    for ours in results:
        difference = np.abs(ours.astype(int) - true).reshape(len(true), -1).max(1)
        nearest = np.minimum(nearest, difference)
    return nearest


def measure(images: np.ndarray) -> dict[str, float]:
    """What a set of images, uint8 (N, 28, 28), is like: `mean`, `variance` within an image, and
    log10 of the power at 1 to 3, 4 to 6 ... waves a side, averaged over directions."""
    values = images.astype(np.float64)
    figures = {"mean": values.mean(), "variance": values.var((1, 2)).mean()}
    power = (np.abs(np.fft.fft2(values, norm="forward")) ** 2).mean(0)
    waves = np.fft.fftfreq(images.shape[1], 1 / images.shape[1])
    radius = np.hypot(waves[:, None], waves)
    for low, high in BANDS:
        ring = (radius >= low - 0.5) & (radius < high - 0.5)
        figures[f"power {low}-{high - 1}"] = float(np.log10(power[ring].mean()))
    return figures


class Model:
    """A run's network, asked for its accuracy."""

    def __init__(self, run: str) -> None:
        from lenet_paddle.run_folder import Run

        self.name = Path(run).resolve().name
        self.config = Run.open(run).config
        self.network, _ = Run.open(run).load_network()

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The share of right answers."""
        from lenet_paddle.evaluation.evaluate import predict_logits
        from lenet_paddle.models import input_size

        image_set = ImageSet(images, labels, tuple("0123456789"))
        logits = predict_logits(self.network, image_set, input_size(self.config.model))
        return float((logits.argmax(1) == labels).mean())


@dataclass(frozen=True)
class Compared:
    """One figure: that of the true images, and ours, one a seed."""

    true: float
    ours: list[float]

    @property
    def mean(self) -> float:
        """Ours over the seeds."""
        return float(np.mean(self.ours))

    @property
    def errors(self) -> float:
        """The difference in standard errors: `true` is one draw, ours the mean of several."""
        difference = self.true - self.mean
        if abs(difference) < 1e-9:
            return 0.0
        deviation = np.std(self.ours, ddof=1) if len(self.ours) > 1 else 0.0
        return float(difference / max(deviation * np.sqrt(1 + 1 / len(self.ours)), 1e-9))


def compare(
    true: np.ndarray,
    clean: ImageSet,
    corruption: str,
    num_seeds: int,
    models: Sequence[Model] = (),
) -> dict[str, Compared]:
    """The figures of `measure` and each model's accuracy, on the true images and on ours."""

    def figures(images: np.ndarray) -> dict[str, float]:
        accuracy = {f"accuracy {m.name}": m.accuracy(images, clean.labels) for m in models}
        return {**measure(images), **accuracy}

    seeds = range(1 if corruption in WITHOUT_CHANCE else num_seeds)
    ours = [figures(corrupt(clean.images, corruption, seed=seed)) for seed in seeds]
    return {key: Compared(value, [o[key] for o in ours]) for key, value in figures(true).items()}


Row = tuple[np.ndarray | None, dict[str, Compared]]


@dataclass(frozen=True)
class Args:
    run: list[str] = field(default_factory=list)
    """Runs whose models' accuracy is compared."""
    data_dir: str | None = None
    """A copy of MNIST-C (default: the sample in tests/samples)."""
    seeds: int = 30
    """Seeds that ours are made with."""
    out: str = str(ROOT / "docs/mnist-c.md")
    """The file written."""


def main() -> None:
    """Compare all corruptions, and write the page."""
    args = parse_args(Args, __doc__)
    clean, sample = load_sample(args.data_dir)
    models = [Model(run) for run in args.run]
    progress, done = Progress(sum(map(len, sample.values())), "images"), 0
    rows: dict[str, Row] = {}
    for name, true in sample.items():
        nearest = largest_difference(true, clean.images, name)
        rows[name] = (nearest, compare(true, clean, name, args.seeds, models))
        done += len(true)
        progress.show(done, f"{name}: {done:,}/{progress.total:,}")
    progress.clear()
    write_text(Path(args.out), make_page(args, len(clean), rows))
    print(args.out)


def make_page(args: Args, num_images: int, rows: Mapping[str, Row]) -> str:
    """The page: what was compared and how, the table, what lies outside two standard errors."""
    keys = list(next(iter(rows.values()))[1])
    cells = [
        [name, say_nearest(name, nearest), *(say_figure(figures[key]) for key in keys)]
        for name, (nearest, figures) in rows.items()
    ]
    errors = {
        f"{name}, {key}": figure.errors
        for name, (_, figures) in rows.items()
        if name not in WITHOUT_CHANCE
        for key, figure in figures.items()
    }
    outside = [f"- {what}: {error:+.2f}" for what, error in errors.items() if abs(error) > 2]
    runs = " ".join(f"output/{Path(run).resolve().name}" for run in args.run)
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    return PAGE.format(
        command=f"python tests/compare_mnist_c.py{' --run ' if runs else ''}{runs}",
        made=f"{datetime.date.today()}, Python {platform.python_version()}, {', '.join(versions)}",
        num_images=num_images,
        seeds=args.seeds,
        table=format_cells(
            ["corruption", "pixel for pixel", *keys], cells, "markdown", left=("corruption",)
        ),
        num_figures=len(errors),
        num_outside=len(outside),
        by_chance=round(0.05 * len(errors)),
        outside="\n".join(outside),
    )


def say_nearest(name: str, nearest: np.ndarray | None) -> str:
    """How many images are ours pixel for pixel, or within 1, and among how many."""
    if nearest is None:
        return "-"
    words = "" if nearest.max() == 0 else "within 1: "
    draws = f", one of {len(DRAWS[name])}" if name in DRAWS else ""
    return f"{words}{(nearest <= 1 if words else nearest == 0).sum()} of {len(nearest)}{draws}"


def say_figure(figure: Compared) -> str:
    """`true / ours (standard errors)`."""
    digits = 3 if abs(figure.true) < 10 else 2 if abs(figure.true) < 1000 else 0
    errors = f" ({figure.errors:+.1f})" if len(figure.ours) > 1 else ""
    return f"{figure.true:.{digits}f} / {figure.mean:.{digits}f}{errors}"


if __name__ == "__main__":
    run_tool(main)
