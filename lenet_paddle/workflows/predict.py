"""Classify picture files and folders with a run or an exported model."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lenet_paddle import runtime
from lenet_paddle.data.datasets import DATASETS
from lenet_paddle.data.load import load_dataset, load_test_set
from lenet_paddle.data.tree import is_litter, name_few
from lenet_paddle.errors import InputError, printable
from lenet_paddle.export.engines import EngineChoice
from lenet_paddle.export.pages import Page, join_row
from lenet_paddle.export.predictor import Answer, Predictor, Rotate
from lenet_paddle.figures.results.images import plot_answers, plot_pages
from lenet_paddle.figures.style import drawn_in, label_classes, save_figure
from lenet_paddle.figures.words import Lang, say
from lenet_paddle.files import format_csv, leads_out
from lenet_paddle.progress import Progress
from lenet_paddle.run_folder import Run
from lenet_paddle.tables import format_json

Result = TypeVar("Result", Answer, Page)
_log = logging.getLogger(__name__)

TEST_SAMPLES = (5, 20, 48, 210)  # classified when no pictures are given
MAX_DRAWN = 64
MAX_PAGES = 16  # drawn
NOTHING = "nothing written"  # in place of a class
UNCLEAR = "unclear"
COLUMNS = ("file", "class", "probability", "top_k", "is_digit")  # of CSV
CELLS = (
    *("file", "row", "number", "place", "class", "probability", "is_digit"),
    *("left", "top", "right", "bottom"),
)  # of CSV, with many


def predict_pictures(
    pictures: Sequence[str],
    run: str | None,
    model: str | None,
    checkpoint: str = "best",
    engine: EngineChoice = "auto",
    *,
    style: str = "table",
    top_k: int = 3,
    figure: bool = False,
    rotate: Rotate = "none",
    many: bool = False,
    lang: Lang = "en",
) -> tuple[str, int]:
    """Classify files and folders of pictures with a run or an exported model.

    With `many` each picture is a page: its digits are found and joined into numbers, each with its
    best class only.

    Without pictures, test images 5, 20, 48 and 210, or four from all of a smaller test set, are
    classified and drawn. Returns the predictions as text (`style`: table, json or csv) and the
    number of files that could not be read or drawn, each of which is logged. The figure, in the
    language `lang`, is figures/predictions.png of the run, or predictions.png in the current folder
    for an exported model. Raises `InputError` unless exactly one of `run` and `model` is given.
    """
    if (run is None) == (model is None):
        raise InputError("give either --run output/RUN or --model output/RUN/inference")
    if run is not None and engine != "auto":
        raise InputError(f"engine {engine} is for an exported model; give --model, or leave it out")
    if model is not None and checkpoint != "best":
        raise InputError(f"checkpoint {checkpoint} is a run's; give --run, or leave it out")
    if top_k < 1:
        raise InputError(f"top_k is {top_k}; expected a whole number of 1 or more")
    if many and rotate != "none":
        raise InputError("rotate turns pictures of one digit; leave it out with many")
    if run is not None:
        runtime.select_device("auto")
        predictor = Predictor.from_run(Path(run), checkpoint)
        path = Run.open(run).figures / "predictions.png"
    else:
        predictor = Predictor(str(model), engine)
        path = Path("predictions.png")
    with drawn_in(lang):
        if many:
            return _read_pages(predictor, pictures, style, path if figure else None)
        if pictures:
            files = find_pictures(pictures)
            answers, failed = _collect(predictor.answer_files(files, top_k, rotate), len(files))
        else:
            answers, failed = _answer_samples(predictor, run, top_k), 0
        if answers and (figure or not pictures):
            failed += _try_to_draw(lambda: draw_answers(answers, path, predictor.classes), path)
    return format_answers(answers, style), failed


def _try_to_draw(draw: Callable[[], None], path: Path) -> int:
    """Draw the figure, or log why it cannot be written, so that answers are still returned."""
    try:
        draw()
    except OSError as error:
        _log.warning("%s: %s; the figure was not drawn", path, error.strerror)
        return 1
    return 0


def _read_pages(
    predictor: Predictor, pictures: Sequence[str], style: str, figure: Path | None
) -> tuple[str, int]:
    """Read the numbers on each picture; draw them into `figure`."""
    if not pictures:
        raise InputError("--many reads the numbers on pages; give at least one picture")
    files = find_pictures(pictures)
    pages, failed = _collect(predictor.read_pages(files), len(files), MAX_PAGES)
    if pages and figure is not None:
        failed += _try_to_draw(lambda: draw_pages(pages, figure), figure)
    return format_pages(pages, style), failed


def find_pictures(names: Iterable[str]) -> list[Path]:
    """Return the named files, and the files of each named folder and below in sorted order.

    Skips hidden files and folders silently; what `tree.is_litter` knows not to be a picture,
    links to folders or out of the named folder, broken links and pipes with a warning. Raises
    `InputError` for a folder without pictures and for an empty name.
    """
    found: list[Path] = []
    for name in names:
        if not name:
            raise InputError("the name of a picture is empty; expected a file or a folder")
        path = Path(name)
        if not path.is_dir():
            found.append(path)
            continue
        inside = []
        litter: Counter[str] = Counter()
        for entry in sorted(path.rglob("*")):
            *folders, name = entry.relative_to(path).parts
            if any(part.startswith(".") for part in (*folders, name)):
                continue
            if any(is_litter(part, is_folder=True) for part in folders):
                continue
            if is_litter(name, entry.is_dir()):
                litter[name] += 1
            elif entry.is_symlink() and leads_out(entry, path):
                _log.warning(
                    "%s: skipping a link that leads out of its folder; name the file itself", entry
                )
            elif entry.is_file():
                inside.append(entry)
            elif entry.is_symlink() or not entry.is_dir():
                _log.warning("%s: skipping a broken link, a linked folder or a pipe", entry)
        if not inside:
            raise InputError(f"{path}: a folder without pictures; expected at least one in it")
        if litter:
            _log.warning("%s: skipped what is no picture: %s", path, name_few(litter))
        found += inside
    return found


def _collect(
    results: Iterator[Result | InputError], total: int, max_drawn: int = MAX_DRAWN
) -> tuple[list[Result], int]:
    """Collect the answers, log the errors, and count the latter."""
    answers: list[Result] = []
    failed = 0
    progress = Progress(total, "pictures")
    for number, result in enumerate(results, 1):
        progress.show(number, f"{number:,}/{total:,}")
        if isinstance(result, InputError):
            progress.clear()
            _log.warning("%s", result)
            failed += 1
        elif len(answers) < max_drawn:
            answers.append(result)
        else:  # without the picture, of which thousands would fill the memory
            answers.append(dataclasses.replace(result, picture=np.zeros((1, 1), np.uint8)))
    progress.clear()
    return answers, failed


def _answer_samples(predictor: Predictor, run: str | None, top_k: int) -> list[Answer]:
    """Classify four images of the model's own test set."""
    record = DATASETS.get(predictor.dataset)
    if run is None and (record is None or record.data_dir is not None):
        raise InputError(f"give pictures: the test images of {predictor.dataset} are not known")
    if run is None:
        form = predictor.form
        test_set = load_dataset(
            predictor.dataset, "test", channels=form.channels, image_size=form.size
        )
    else:
        test_set = load_test_set(Run.open(run).config, predictor.classes)
    total = len(test_set)
    spaced = sorted({total * i // len(TEST_SAMPLES) for i in range(len(TEST_SAMPLES))})
    return [
        predictor.answer(
            f"test image {i} ({test_set.classes[test_set.labels[i]]})", test_set.images[i], top_k
        )
        for i in (TEST_SAMPLES if total > max(TEST_SAMPLES) else spaced)
    ]


def _to_row(answer: Answer) -> dict[str, str]:
    best, probability = answer.best
    row = {
        "file": answer.name,
        "class": best or "",
        "probability": "" if probability is None else f"{probability:.6f}",
        "top_k": " ".join(f"{name}:{p:.6f}" for name, p in answer.top_k),
        "is_digit": "" if answer.is_digit is None else str(answer.is_digit).lower(),
    }
    return row if answer.rotated is None else {**row, "rotated": str(answer.rotated)}


def is_unclear(answer: Answer) -> bool:
    """Return whether something is written that shows no digit, as far as the model knows."""
    return bool(answer.top_k) and answer.is_digit is False


def format_answers(answers: Sequence[Answer], style: str) -> str:
    """Format answers as a `table` for the screen, a `json` list, or `csv` with a header."""
    if style == "json":
        return format_json([a.to_dict() for a in answers]) + "\n"
    if style == "csv":
        return format_csv(map(_to_row, answers), COLUMNS)
    names = [printable(answer.name) for answer in answers]
    width = max(map(len, names), default=0)
    lines = []
    for name, answer in zip(names, answers, strict=True):
        best, *others = [f"{label} {p:.4f}" for label, p in answer.top_k] or [NOTHING]
        then = f"  then {', '.join(others)}" if others else ""
        if is_unclear(answer):
            best, then = UNCLEAR, f"  perhaps {', '.join([best, *others])}"
        then += f"  turned by {answer.rotated}" if answer.rotated else ""
        lines.append(f"{name:<{width}}  {best}{then}\n")
    return "".join(lines)


def draw_answers(answers: Sequence[Answer], path: Path, classes: Sequence[str] = ()) -> None:
    """Draw the first 64 answers: original, network input, class and probability.

    `classes` are all that the network knows, which are numbered where no font has their names.
    """
    drawn = answers[:MAX_DRAWN]
    labels = dict(zip(classes, label_classes(classes), strict=True))
    captions = []
    for answer in drawn:
        said = "".join(f"{labels.get(name, name)}  p = {p:.2f}" for name, p in answer.top_k[:1])
        if is_unclear(answer):
            said = say(f"{UNCLEAR}, perhaps {{said}}", "看不清，可能是 {said}", said=said)
        captions.append(f"{Path(answer.name).name[-24:]}\n{said or _nothing()}")
    title = say("original, what the network saw, and its answer", "原图、网络看到的图和网络的回答")
    if len(answers) > MAX_DRAWN:
        title += f" ({_first(MAX_DRAWN, len(answers))})"
    figure = plot_answers(
        [a.picture for a in drawn],
        [a.seen for a in drawn],
        captions,
        title,
    )
    save_figure(figure, path)
    _log.info("drawn: %s", path)


def _first(some: int, total: int) -> str:
    """Return how many of all are drawn."""
    return say(
        "the first {some} of {total:,}", "{total:,} 张中的前 {some} 张", some=some, total=total
    )


def _nothing() -> str:
    return say(NOTHING, "什么也没写")


def _page_rows(page: Page) -> list[dict[str, Any]]:
    """Return a dict for each digit, or one without a class if nothing is written."""
    empty = dict.fromkeys(("row", "number", "place", "box", "class", "probability", "is_digit"))
    return [{"file": page.name, **row} for row in [d.to_dict() for d in page.digits] or [empty]]


def format_pages(pages: Sequence[Page], style: str) -> str:
    """Format pages as a `table` with a line for each row of numbers, or as `json` or `csv` with
    every digit: file, row, number, place in it, box, class, probability, is_digit."""
    if style == "json":
        return format_json([row for page in pages for row in _page_rows(page)]) + "\n"
    if style == "csv":
        return format_csv((_to_cells(row) for page in pages for row in _page_rows(page)), CELLS)
    names = [printable(page.name) for page in pages]
    width = max(map(len, names), default=0)
    lines = []
    for name, page in zip(names, pages, strict=True):
        if not page.digits:
            lines.append(f"{name:<{width}}  {NOTHING}\n")
        longest = max((len(join_row(row)) for row in page.rows), default=0)
        for row in page.rows:
            least = min(digit.probability for digit in row)
            unclear = sum(digit.is_digit is False for digit in row)
            also = f", {unclear} unclear" if unclear else ""
            said = f"row {row[0].row:<2}  {join_row(row):<{longest}}"
            lines.append(f"{name:<{width}}  {said}  (lowest probability {least:.2f}{also})\n")
    return "".join(lines)


def _to_cells(row: dict[str, Any]) -> dict[str, str]:
    left, top, right, bottom = row["box"] or [None] * 4
    cells = {**row, "left": left, "top": top, "right": right, "bottom": bottom}
    if row["probability"] is not None:
        cells["probability"] = f"{row['probability']:.6f}"
    if row["is_digit"] is not None:
        cells["is_digit"] = str(row["is_digit"]).lower()
    return {name: "" if cells[name] is None else str(cells[name]) for name in CELLS}


def draw_pages(pages: Sequence[Page], path: Path) -> None:
    """Draw the first 16 pages, with a box and the answer around each digit."""
    drawn = pages[:MAX_PAGES]
    title = "" if len(pages) <= MAX_PAGES else _first(MAX_PAGES, len(pages))
    boxes = [
        [tuple(end * page.picture.shape[1] / page.width for end in d.box) for d in page.digits]
        for page in drawn
    ]
    figure = plot_pages(
        [page.picture for page in drawn],
        boxes,
        [[digit.best for digit in page.digits] for page in drawn],
        [[digit.is_digit is False for digit in page.digits] for page in drawn],
        [
            f"{Path(page.name).name[-24:]}: {', '.join(map(join_row, page.rows)) or _nothing()}"
            for page in drawn
        ],
        title,
    )
    save_figure(figure, path)
    _log.info("drawn: %s", path)
