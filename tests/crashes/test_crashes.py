"""Killed at any moment, a run loses nothing: what is there can be loaded, and --resume ends alike.

SIGKILL comes from outside at random moments, half of them aimed at a checkpoint's writing; or
from inside, before each single change of a file below `checkpoints`. Two runs at a time.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from crash_help import Tools, result_of, wait_until
from training_help import write_bars

from lenet_paddle.files import follow_link
from lenet_paddle.run_folder import Run
from lenet_paddle.training.checkpoint import list_checkpoints, newest_checkpoint

NUM_WORKERS = 2
EPOCHS = 4
RECIPES = {
    "sgd, constant, average": [
        *("--optimizer", "sgd", "--learning-rate", "0.05", "--ema", "0.9"),
    ],
    "momentum, step, no validation": [
        *("--optimizer", "momentum", "--schedule", "step", "--decay-epochs", "2"),
        *("--learning-rate", "0.02", "--val-size", "0"),
    ],
    "adam, cosine, warm-up, average": [
        *("--schedule", "cosine", "--warmup-epochs", "0.5", "--ema", "0.9"),
    ],
    "adamw, plateau, accumulated, early stop": [
        *("--optimizer", "adamw", "--schedule", "plateau", "--decay-epochs", "1"),
        *("--accumulate", "3", "--patience", "3", "--weight-decay", "0.01"),
    ],
    "muon, one cycle, augmented, batch norm, frozen": [
        *("--optimizer", "muon", "--learning-rate", "0.02", "--schedule", "one_cycle"),
        *("--model", "lenet_modern", "--augment", "light", "--freeze", "1"),
    ],
}
_PADDLE = threading.Lock()  # the test itself loads in one thread at a time


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A training of four short epochs, each a little better than the one before."""
    file = write_bars(tmp_path_factory.mktemp("data"))
    return [
        *("--dataset", "npz", "--data-dir", file, "--val-size", 64, "--batch-size", 32),
        *("--epochs", EPOCHS, "--learning-rate", 0.0003, "--monitor", "val_loss"),
        *("--log-every", 3),
    ]


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Tools]]:
    with Tools() as first, Tools() as second:
        yield [first, second]


def in_parallel(workers: list[Tools], work: Callable[[int, Tools], Counter[str]]) -> Counter[str]:
    """The sum of what `work(number, tools)` counts for each of the workers."""
    with ThreadPoolExecutor(len(workers)) as pool:
        return sum(pool.map(work, range(len(workers)), workers), Counter())


def assert_loadable(run_dir: Path) -> None:
    """Once there was a checkpoint, the newest is whole, and so is what the links name."""
    folder = run_dir / "checkpoints"
    present = [path for _, path in list_checkpoints(folder)]
    if not present:
        return
    with _PADDLE:
        found = newest_checkpoint(folder)
        assert found is not None and found[0] == present[0]
        for link in ("best", "latest"):
            if os.path.lexists(folder / link) or len(present) > 1:
                Run.open(run_dir).load_network(link)


def phase_of(run_dir: Path) -> str:
    """What a killed run was at, by what it has left."""
    folder = run_dir / "checkpoints"
    if not run_dir.exists():
        return "before the run's folder"
    if list(folder.glob(".tmp-epoch_*")):
        return "inside a checkpoint's writing"
    present = list_checkpoints(folder)
    if not present:
        return "before the first checkpoint"
    latest, best = (follow_link(folder / name) for name in ("latest", "best"))
    if latest.resolve() != present[0][1].resolve() or not best.exists() or len(present) > 3:
        return "between a checkpoint and its links"
    return "after the training" if present[0][0] == EPOCHS else "inside an epoch"


def random_moment(rng: random.Random, folder: Path, duration: float) -> None:
    """Wait until a random moment of a run, or of the writing of one of its checkpoints."""
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, duration))
        return
    pattern = f".tmp-epoch_{rng.randint(1, EPOCHS):04d}-*"
    wait_until(lambda: any(folder.glob(pattern)), 2 * duration)
    time.sleep(rng.uniform(0, 0.02))


def kill_and_resume(
    tools: Tools, start: list[Any], run_dir: Path, rng: random.Random, duration: float
) -> list[str]:
    """Kill a run at a random moment, its continuation too in a third of the cases, and let it
    end. What it was at when it was killed; nothing when it was over before."""
    phases: list[str] = []
    said = run_dir.with_suffix(".txt")
    while not phases or rng.random() < 1 / 3:
        tools.start("train", *(["--resume", run_dir] if run_dir.exists() else start), output=said)
        random_moment(rng, run_dir / "checkpoints", duration)
        tools.kill()
        status = tools.wait()
        assert status in (0, -signal.SIGKILL), said.read_text()
        if status == 0:
            break
        phases.append(phase_of(run_dir))
        assert_loadable(run_dir)
    arguments = ["--resume", run_dir] if run_dir.exists() else start
    assert tools.run("train", *arguments, output=said) == 0, said.read_text()
    assert not list(run_dir.rglob(".tmp-*"))
    return phases


def kill_many(
    workers: list[Tools], settings: list[Any], folder: Path, count: int, seed: int
) -> Counter[str]:
    """Kill `count` runs; every one must end as one that nothing has happened to."""
    whole = [*settings, "--output-dir", folder, "--name", "whole"]
    started = time.monotonic()
    assert workers[0].run("train", *whole, output=folder / "whole.txt") == 0
    duration = time.monotonic() - started
    expected = result_of(folder / "whole")

    def work(number: int, tools: Tools) -> Counter[str]:
        rng = random.Random(f"{seed} {number}")
        phases: Counter[str] = Counter()
        killed = 0
        while killed < count // len(workers):
            run_dir = folder / f"killed-{number}-{killed}"
            start = [*settings, "--output-dir", folder, "--name", run_dir.name]
            found = kill_and_resume(tools, start, run_dir, rng, duration)
            assert result_of(run_dir) == expected, found
            shutil.rmtree(run_dir)
            phases.update(found)
            phases["runs"] += bool(found)
            killed += bool(found)
        return phases

    return in_parallel(workers, work)


@pytest.mark.slow
def test_a_hundred_runs_killed_at_random_moments_lose_nothing(
    workers: list[Tools], settings: list[Any], tmp_path: Path
) -> None:
    phases = kill_many(workers, settings, tmp_path, count=100, seed=0)
    runs = phases.pop("runs")
    print(f"\n{runs} runs killed, {phases.total()} kills: {dict(phases.most_common())}")
    assert runs == 100 and phases["inside a checkpoint's writing"] >= 10


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_with_every_optimizer_and_schedule_nothing_is_lost(
    workers: list[Tools], settings: list[Any], tmp_path: Path, recipe: str
) -> None:
    phases = kill_many(workers, [*settings, *RECIPES[recipe]], tmp_path, count=6, seed=1)
    assert phases["runs"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_killed_before_each_change_of_a_file_of_its_checkpoints_a_run_ends_alike(
    workers: list[Tools], settings: list[Any], tmp_path: Path, links: bool
) -> None:
    """All of them: those of making, moving the links to, and removing a checkpoint."""
    settings = [*settings, "--epochs", 2, "--keep-last", 1, "--output-dir", tmp_path, "--name"]
    assert workers[0].run("train", *settings, "whole", output=tmp_path / "whole.txt") == 0
    expected = result_of(tmp_path / "whole")

    def work(number: int, tools: Tools) -> Counter[str]:
        phases: Counter[str] = Counter()
        for at in range(1 + number, 1000, NUM_WORKERS):
            run_dir, said = tmp_path / f"killed-{at}", tmp_path / f"killed-{at}.txt"
            where = {"kill_at": at, "below": run_dir / "checkpoints", "links": links}
            status = tools.run("train", *settings, run_dir.name, output=said, **where)
            if status == 0:
                return phases
            assert status == -signal.SIGKILL, said.read_text()
            phases[phase_of(run_dir)] += 1
            assert_loadable(run_dir)
            resume = ["--resume", run_dir]
            assert tools.run("train", *resume, output=said, links=links) == 0, said.read_text()
            assert result_of(run_dir) == expected, at
            assert not list(run_dir.rglob(".tmp-*"))
        raise AssertionError("no end of changes")

    phases = in_parallel(workers, work)
    print(f"\n{phases.total()} changes: {dict(phases.most_common())}")
    assert phases["inside a checkpoint's writing"] >= 10
