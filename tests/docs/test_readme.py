"""Every command in the READMEs runs, on few images."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tools_help import ROOT, SMALL

from lenet_paddle import load_dataset

# What sets up, serves or installs is left out by name, and what another test runs for one seed
# (test_benchmark.py) in the place of five.
LEFT_OUT = (
    *("make ", "pip install", "curl ", "python docs/results.py", "python tools/benchmark.py fast"),
    *("python tools/monitor.py", "python tools/serve.py", "python -m http.server"),
)
FEW = {  # added to the commands of a tool: the last of a repeated flag counts
    "train.py": ["--limit", "320", "--epochs", "4"],  # the recipes warm up for up to 3
    "finetune.py": ["--epochs", "1"],
    "corrupt.py": ["--limit", "100"],
    "benchmark.py": ["--rounds", "1"],
}


def few(words):
    """What makes a command one of few images; the data of a command that names its own stays."""
    script = next(word for word in words if word.endswith(".py")).rpartition("/")[2]
    if "--resume" in words:
        return []
    own_data = script != "train.py" or {"--dataset", "--data-dir"} & set(words)
    return [*FEW.get(script, []), *([] if own_data else SMALL)]


def blocks(readme, language):
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(readme):
    lines = "".join(blocks(readme, "bash")).replace("\\\n", " ").splitlines()
    lines = [line.split("#")[0].strip() for line in lines]
    return [line for line in lines if line and not line.startswith(LEFT_OUT)]


def test_both_readmes_show_the_same_commands_and_code():
    assert commands("README.md") == commands("README.zh-CN.md")
    assert blocks("README.md", "python") == blocks("README.zh-CN.md", "python")


def expand(word, place):
    """What a shell makes of `output/*`."""
    if "*" not in word:
        return [word]
    return sorted(str(path.relative_to(place)) for path in place.glob(word))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the README's names mean something."""
    place = tmp_path_factory.mktemp("place")
    for folder in ("tools", "tests", "configs"):
        (place / folder).symlink_to(ROOT / folder)
    (place / "docs").mkdir()
    digits = load_dataset("mnist", "test").take(slice(0, 60))
    for i, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
        folder = place / "my_pictures" / ("even", "odd")[label % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.kron(image, np.ones((4, 4), np.uint8))).save(folder / f"{i}.png")
    (place / "scans").mkdir()
    for name in ("my_digit.jpg", "scans/1.png"):
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
def test_every_command_of_the_readme_runs_in_order(place):
    pytest.importorskip("paddle2onnx")
    for command in commands("README.md"):
        if ",page" not in command or shutil.which("npm"):
            run(command, place)


@pytest.mark.slow
def test_the_readmes_python_runs(place):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for code in blocks("README.md", "python"):
        if "paddle.inference" in code:
            continue  # test_answers.py runs it, without our package
        code = code.replace('"train")', '"train").take(slice(0, 320))')
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
