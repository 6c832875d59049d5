"""Run every command and every Python block of the README and the pages, on few images."""

import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from PIL import Image
from test_pages import PAGES, blocks, commands, read
from tools_help import ROOT, SMALL

from lenet_paddle import load_dataset

# Pages whose commands run, in an order in which each finds the runs that it names.
SKIPPED = ("docs/own-data.md", "docs/serving.md")  # test_own_data.py runs those of own-data
RUN = [page for page in PAGES if commands(page) and page not in SKIPPED]
# Left out: what sets up, installs or serves, and benchmarks of whole trainings (test_benchmark.py
# runs one for one seed).
LEFT_OUT = (
    *("make ", ". .venv", "pip install", "curl ", "python docs/results.py"),
    *("python tools/benchmark.py fast", "python tools/monitor.py", "python tools/serve.py"),
    *("python -m http.server", "python docs/", ".venv/bin/", "ruff ", "mypy"),
)
FEW = {  # added to the commands of a tool: the last of a repeated flag counts
    "train.py": ["--limit", "320", "--epochs", "4"],  # the recipes warm up for up to 3
    "finetune.py": ["--epochs", "1"],
    "corrupt.py": ["--limit", "100"],
    "benchmark.py": ["--rounds", "1"],
}


def few(words):
    """Return flags that make a command one of few images; data that it names itself stays."""
    script = next(word for word in words if word.endswith(".py")).rpartition("/")[2]
    if "--resume" in words:
        return []
    own_data = script != "train.py" or {"--dataset", "--data-dir"} & set(words)
    return [*FEW.get(script, []), *([] if own_data else SMALL)]


def expand(word, place):
    """Expand `output/*` as a shell does."""
    if "*" not in word:
        return [word]
    return sorted(str(path.relative_to(place)) for path in place.glob(word))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with all that the pages name: pictures, and the run of `make train`."""
    place = tmp_path_factory.mktemp("place")
    for folder in ("tools", "tests", "configs"):
        (place / folder).symlink_to(ROOT / folder)
    (place / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "photo.jpg", place / "docs")
    digits = load_dataset("mnist", "test").take(slice(0, 60))
    for i, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        folder = place / "my_pictures" / ("even", "odd")[label % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.kron(image, np.ones((4, 4), np.uint8))).save(folder / f"{i}.png")
    (place / "scans").mkdir()
    for name in ("my_digit.jpg", "page.jpg", "scans/1.png"):
        Image.fromarray(255 - np.pad(digits.images[0], 40)).save(place / name)
    run("python tools/train.py --name lenet_builtin-mnist-001", place)  # make train
    return place


def run(command, place):
    words = [part for word in shlex.split(command) for part in expand(word, place)]
    assert words[0] == "python", command
    done = subprocess.run(
        [sys.executable, *words[1:], *few(words)],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_every_command_of_a_page_runs_in_order(place, page):
    pytest.importorskip("paddle2onnx")
    for command in commands(page):
        if not command.startswith(LEFT_OUT) and (",page" not in command or shutil.which("npm")):
            run(command, place)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if blocks(page, "python")])
def test_the_python_of_a_page_runs(place, page):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for code in blocks(page, "python"):
        if "paddle.inference" in code:
            continue  # test_predict.py runs it, without our package
        code = code.replace('"train")', '"train").take(slice(0, 320))')
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_the_readmes_plain_paddle_trains_evaluates_predicts_and_saves(tmp_path, monkeypatch):
    [code] = [code for code in blocks("README.md", "python") if "model.fit(" in code]
    code = code.replace('"train")', '"train").take(slice(0, 1280))')
    code = code.replace('"test")', '"test").take(slice(0, 128))')
    monkeypatch.chdir(tmp_path)
    paddle.seed(0)
    np.random.seed(0)  # noqa: NPY002  # with which hapi shuffles
    names = {}
    exec(code, names)
    assert names["model"].evaluate(names["eval_set"], batch_size=64, verbose=0)["acc"] > 0.3
    assert names["logits"].shape == (128, 10)
    saved = tmp_path / "output" / "tutorial" / "lenet"
    assert saved.with_suffix(".pdparams").is_file() and saved.with_suffix(".pdopt").is_file()
    assert "model.fit(" in read("README.zh-CN.md")
