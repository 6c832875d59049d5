"""Compare our MNIST-C with the authors': pixel by pixel where possible, else by statistics.

  python tests/compare_mnist_c.py --run output/lenet_builtin-mnist-001     # writes docs/mnist-c.md
  python tests/compare_mnist_c.py --run output/RUN --data-dir mnist_c --out mine.md

The true images are those in tests/samples (from MNIST's first 200 test and first 200 training
images), or the test images of a folder in the published layout.
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
BANDS = ((1, 4), (4, 7), (7, 10), (10, 14))  # cycles per image side
# Corruption -> all random draws for an image; angles in steps of half a degree.
DRAWS = {
    "shear": np.arange(2),
    "rotate": np.arange(2),
    "translate": np.argwhere(np.ones((2, 2))),
    "dotted_line": np.argwhere(np.ones((27, 27))),
    "zigzag": np.argwhere(np.ones((27, 10))) - (0, 5),
    "motion_blur": np.linspace(-45, 45, 181),
}

PACKAGES = ("paddlepaddle", "numpy", "scipy", "scikit-image")
PAGE = """# Our MNIST-C compared with the authors'

`tools/corrupt.py` makes MNIST-C's 15 corruptions with an implementation of its own,
`lenet_paddle/data/corrupt.py`. This page compares its images with {num_images} per corruption that
the authors' code (https://github.com/google-research/mnist-c) made from the same digits at its
default severities.

```bash
{command}
```

Made on {made}; ours with {seeds} seeds.

- **identical**: how many images are equal in every pixel. If a corruption has few random outcomes
  (the direction of a rotation, the position of a line), all of them are tried, and `one of 729`
  means that the true image is among ours. motion_blur draws any angle; steps of half a degree were
  tried, and `within 1` is a difference of grey levels. `-`: every pixel is random.
- **other columns**: `true / ours (difference in standard errors)`, where ours is the mean over the
  seeds. The standard error is that of one draw minus the mean, from the deviation between our
  seeds. `variance` is within an image, `power a-b` the logarithm (base 10) of the spectrum's power
  at a to b cycles per side, averaged over directions.

{table}

Of the {num_figures} random values, {num_outside} differ by more than two standard errors; about
{by_chance} are expected by chance. If all true images of a corruption are among ours, only the
random draws can differ.

{outside}

Two peculiarities of the original are kept, so that results can be compared: glass_blur smooths
along the columns only (its library took the other axis for colour channels), and motion_blur
truncates grey levels to integers.
"""


class FixedDraw:
    """A random generator that returns the same given draw for each image."""

    def __init__(self, draw: Any) -> None:
        self.draw = np.asarray(draw)

    def uniform(self, low: Any, high: Any, size: Any) -> np.ndarray:
        return np.broadcast_to(self.draw, size)

    integers = uniform


def load_sample(data_dir: str | None = None) -> tuple[ImageSet, dict[str, np.ndarray]]:
    """Return clean digits, and for each corruption the true images, uint8 (N, 28, 28)."""
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
    """Return each image's largest pixel difference to the nearest of our outcomes, int (N,).

    None if there are too many outcomes to try.
    """
    if corruption in WITHOUT_CHANCE:
        results = [corrupt(clean, corruption)]
    elif corruption in DRAWS:
        results = (
            corrupt_block(clean, corruption, None, FixedDraw(draw))  # type: ignore[arg-type]
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
    """Return statistics of images, uint8 (N, 28, 28).

    `mean`, `variance` within an image, and log10 of the power at 1 to 3, 4 to 6 ... cycles per
    side, averaged over directions.
    """
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
    """A run's network."""

    def __init__(self, run: str) -> None:
        from lenet_paddle.run_folder import Run

        self.name = Path(run).resolve().name
        self.config = Run.open(run).config
        self.network, _ = Run.open(run).load_network()

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        from lenet_paddle.evaluation.evaluate import predict_logits
        from lenet_paddle.models import input_size

        image_set = ImageSet(images, labels, tuple("0123456789"))
        logits = predict_logits(self.network, image_set, input_size(self.config.model))
        return float((logits.argmax(1) == labels).mean())


@dataclass(frozen=True)
class Compared:
    """A statistic of the true images, and of ours with each seed."""

    true: float
    ours: list[float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.ours))

    @property
    def errors(self) -> float:
        """The difference in standard errors of one draw minus the mean of several."""
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
    """Compare the statistics of `measure` and each model's accuracy on true images and ours."""

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
    """Runs to compare the accuracy of."""
    data_dir: str | None = None
    """A copy of MNIST-C (default: the sample in tests/samples)."""
    seeds: int = 30
    """Number of seeds for our images."""
    out: str = str(ROOT / "docs/mnist-c.md")
    """The page to write."""


def main() -> None:
    """Compare all corruptions and write the page."""
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
    """Format the page."""
    keys = list(next(iter(rows.values()))[1])
    cells = [
        [name, format_nearest(name, nearest), *(format_compared(figures[key]) for key in keys)]
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
            ["corruption", "identical", *keys], cells, "markdown", left=("corruption",)
        ),
        num_figures=len(errors),
        num_outside=len(outside),
        by_chance=round(0.05 * len(errors)),
        outside="\n".join(outside),
    )


def format_nearest(name: str, nearest: np.ndarray | None) -> str:
    """Format how many images equal ours, exactly or within 1."""
    if nearest is None:
        return "-"
    words = "" if nearest.max() == 0 else "within 1: "
    draws = f", one of {len(DRAWS[name])}" if name in DRAWS else ""
    return f"{words}{(nearest <= 1 if words else nearest == 0).sum()} of {len(nearest)}{draws}"


def format_compared(figure: Compared) -> str:
    """Format `true / ours (standard errors)`."""
    digits = 3 if abs(figure.true) < 10 else 2 if abs(figure.true) < 1000 else 0
    errors = f" ({figure.errors:+.1f})" if len(figure.ours) > 1 else ""
    return f"{figure.true:.{digits}f} / {figure.mean:.{digits}f}{errors}"


if __name__ == "__main__":
    run_tool(main)
