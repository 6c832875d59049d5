"""The benchmark's arithmetic, and one real measurement; its figures are nobody's assertion."""

import pytest

from lenet_paddle.benchmark import compare, workers
from lenet_paddle.config import InputError


def test_medians_and_ratios_are_of_all_rounds_in_turn(monkeypatch):
    calls = []

    def run_worker(worker, size):
        calls.append((worker, size))
        base = {"ours": 4.0, "bare": 2.0, "tutorial": 8.0}[worker]
        return {"ms_per_step": base * (1, 100, 2)[sum(c == (worker, size) for c in calls) - 1]}

    monkeypatch.setattr(compare, "run_worker", run_worker)
    rows = compare.compare("train", ["tutorial"], 3)
    assert calls[:3] == [("ours", 64), ("bare", 64), ("tutorial", 64)]
    assert calls[:6] == calls[6:12] == calls[12:]
    assert [(row["worker"], row["ms_per_step"], row["ratio"]) for row in rows[:3]] == [
        ("ours", 8.0, 1.0),
        ("bare", 4.0, 0.5),
        ("tutorial", 16.0, 2.0),
    ]


def test_an_unknown_peer_lists_those_there_are():
    with pytest.raises(InputError, match=r"tensorflow.*tutorial, pytorch, jax, keras"):
        compare.choose_peers(["tensorflow"])


def test_a_peer_that_is_not_installed_is_said_and_left_out(monkeypatch, caplog):
    monkeypatch.setitem(compare.PEERS, "pytorch", (("pytorch",), "no_such_package"))
    assert compare.choose_peers(["pytorch", "tutorial"]) == ["tutorial"]
    assert "pytorch is left out" in caplog.text


def test_every_worker_that_is_named_exists():
    named = [w for own, _ in compare.WHAT.values() for w in own]
    named += [w for of_peer, _ in compare.PEERS.values() for w in of_peer]
    assert set(named) == set(workers.WORKERS)


def test_a_worker_measures_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = compare.run_worker("load", 64)
    assert set(result) == {"read_s", "prepare_s", "peak_mb"} and min(result.values()) > 0


def test_a_worker_that_fails_is_one_line():
    with pytest.raises(InputError, match="nobody at batch 64 failed: KeyError"):
        compare.run_worker("nobody", 64)


def test_the_table_has_a_row_a_worker():
    rows = [{"worker": "ours", "ms_per_step": 1.5}, {"worker": "x", "images_per_s": 12345.6}]
    assert compare.format_rows(rows).splitlines() == [
        "worker  ms_per_step  images_per_s",
        "ours          1.500              ",
        "x                          12,346",
    ]
