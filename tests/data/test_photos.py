"""Handwriting on photos is recognised about as well as MNIST's digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from hard_photos import HARD
from photos import KINDS, read_photos
from tools_help import tool

from lenet_paddle.export.predictor import Predictor

PER_KIND = 10


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("output")
    done = tool("train", "--output-dir", output, "--name", "default")
    assert done.returncode == 0, done.stderr
    return output / "default"


@pytest.mark.slow
def test_the_default_model_reads_photos_of_handwriting(default_run: Path) -> None:
    answers = read_photos(Predictor.from_run(default_run), PER_KIND, seed=0)
    right = {kind: [a.best[0] == label for label, a in answers[kind]] for kind in KINDS}
    shares = {kind: sum(hits) / len(hits) for kind, hits in right.items()}
    assert sum(shares.values()) / len(shares) >= 0.92, shares
    assert min(shares.values()) >= 0.8, shares


@pytest.mark.slow
def test_the_default_model_reads_digits_among_other_things(default_run: Path) -> None:
    answers = read_photos(Predictor.from_run(default_run), PER_KIND, seed=0, kinds=HARD)
    right = {kind: [a.best[0] == label for label, a in answers[kind]] for kind in HARD}
    shares = {kind: sum(hits) / len(hits) for kind, hits in right.items()}
    assert sum(shares.values()) / len(shares) >= 0.9, shares
    assert min(shares.values()) >= 0.7, shares


@pytest.mark.slow
def test_the_default_model_reaches_its_accuracy_on_the_test_set(default_run: Path) -> None:
    import json

    metrics = json.loads((default_run / "metrics.json").read_text())
    assert metrics["num_images"] == 10_000 and metrics["accuracy"] >= 0.98
