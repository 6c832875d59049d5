"""A run of colour pictures, from a folder to its exports' answers, with the tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tools_help import tool

from lenet_paddle.data.form import Form
from lenet_paddle.export.predictor import Predictor

pytest.importorskip("paddle2onnx")
pytest.importorskip("onnxruntime")
COLOURS = {"blue": (0, 0, 220), "green": (0, 180, 0), "red": (230, 0, 0)}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained on squares of three colours on grounds of any grey, and its export."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("squares")
    for name, colour in COLOURS.items():
        for part, count in (("train", 40), ("test", 6)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                picture = np.full((50, 70, 3), rng.integers(0, 256), np.uint8)
                top, left = rng.integers(0, 20, 2)
                picture[top : top + 30, left : left + 40] = colour
                Image.fromarray(picture).save(folder / part / name / f"{number}.png")
    settings = ["--channels", 3, "--image-size", 32, "--model", "lenet_relu", "--epochs", 6]
    settings += ["--batch-size", 16, "--name", "squares", "--output-dir", folder / "output"]
    done = tool("train", "--dataset", "folder", "--data-dir", folder, *settings)
    assert done.returncode == 0, done.stderr
    run_dir = folder / "output" / "squares"
    done = tool("export", "--run", run_dir, "--formats", "paddle,onnx")
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Colour of several sizes and kinds, and grey."""
    for name, colour in COLOURS.items():
        picture = Image.new("RGB", (200, 120), (90, 90, 90))
        picture.paste(colour, (30, 20, 150, 100))
        picture.save(tmp_path / f"{name}.jpg", quality=95)
        picture.resize((20, 20)).convert("RGBA").save(tmp_path / f"{name}.png")
        picture.quantize(8).save(tmp_path / f"{name}.gif")
    Image.new("L", (60, 60), 100).save(tmp_path / "grey.png")
    return tmp_path


def ask(*arguments: Any) -> dict[str, Any]:
    """Return the answers of tools/predict.py by the files' names."""
    done = tool("predict", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {Path(row["file"]).name: row for row in json.loads(done.stdout)}


def test_pictures_of_any_size_are_read_by_colour(run_dir: Path, pictures: Path) -> None:
    answers = ask("--run", run_dir, pictures)
    assert len(answers) == 10 and answers["grey.png"]["class"] in COLOURS
    for name, row in answers.items():
        if name != "grey.png":
            assert row["class"] == name.partition(".")[0], row


def test_run_and_export_answer_alike_with_every_engine(run_dir: Path, pictures: Path) -> None:
    expected = ask("--run", run_dir, pictures)
    for engine in ("paddle", "onnx"):
        answers = ask("--model", run_dir / "inference", "--engine", engine, pictures)
        for name, row in expected.items():
            assert answers[name]["class"] == row["class"]
            assert answers[name]["probability"] == pytest.approx(row["probability"], abs=1e-4)


def test_a_grey_file_is_seen_as_three_equal_channels(run_dir: Path, pictures: Path) -> None:
    predictor = Predictor(run_dir / "inference")
    assert predictor.form == Form(3, 32)
    [answer] = predictor.answer_files([pictures / "grey.png"])
    assert not isinstance(answer, Exception)
    assert answer.seen.shape == (32, 32, 3) and (answer.seen == 100).all()


def test_without_pictures_the_runs_test_pictures_are_answered_and_drawn(run_dir: Path) -> None:
    done = tool("predict", "--run", run_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test image") == 4  # evenly among 18
    assert (run_dir / "figures" / "predictions.png").is_file()


def test_inference_yml_and_card_name_the_form(run_dir: Path) -> None:
    description = yaml.safe_load((run_dir / "inference" / "inference.yml").read_text())
    assert description["image_size"] == 32 and description["input"]["shape"] == [-1, 3, 32, 32]
    card = (run_dir / "inference" / "model_card.md").read_text()
    assert "a small colour picture" in card and "32x32 的彩色图" in card
