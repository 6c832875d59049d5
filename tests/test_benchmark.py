"""The benchmark's arithmetic, and one real measurement; no test depends on a machine's speed."""

import importlib
import shutil

import numpy as np
import pytest
from tools_help import assert_refused, tool

from lenet_paddle.benchmark import compare, measurements, own, peers
from lenet_paddle.data.idx import read_images, read_labels
from lenet_paddle.errors import InputError


def test_medians_and_ratios_are_of_all_rounds_in_turn(monkeypatch):
    calls = []

    def run_worker(worker, size):
        calls.append((worker, size))
        base = {"ours": 4.0, "jax": 2.0, "tutorial": 8.0}[worker]
        return {"ms_per_step": base * (1, 100, 2)[sum(c == (worker, size) for c in calls) - 1]}

    monkeypatch.setattr(compare, "run_worker", run_worker)
    monkeypatch.setattr(compare, "choose_peers", lambda what, names: names)
    rows = compare.compare("train", ["jax", "tutorial"], 3)
    assert calls[:3] == [("ours", 64), ("jax", 64), ("tutorial", 64)]
    assert calls[:6] == calls[6:12] == calls[12:]
    assert [
        (row["worker"], row["ms_per_step"], row["ratio"], row["images_per_s"]) for row in rows[:3]
    ] == [("ours", 8.0, 1.0, 8000.0), ("jax", 4.0, 0.5, 16000.0), ("tutorial", 16.0, 2.0, 4000.0)]


def test_a_profile_has_a_row_per_operator_the_slowest_first(monkeypatch):
    found = {64: {"conv2d": 2.0, "relu": 0.5}, 512: {"conv2d": 9.0, "pool2d": 8.0}}
    monkeypatch.setattr(compare, "run_worker", lambda worker, size: found[size])
    assert compare.compare("profile", [], 1) == [
        {"operator": "conv2d", "ms_at_64": 2.0, "ms_at_512": 9.0},
        {"operator": "relu", "ms_at_64": 0.5, "ms_at_512": 0.0},
        {"operator": "pool2d", "ms_at_64": 0.0, "ms_at_512": 8.0},
    ]


def test_the_seeds_of_a_recipe_are_one_row(monkeypatch):
    monkeypatch.setattr(
        compare, "run_worker", lambda worker, seed: {"seconds": 2.0 + seed, "accuracy": 0.1 * seed}
    )
    [row] = compare.compare("fast", [], 1)
    assert row["worker"] == "fast" and row["seeds"] == 5 and row["seconds"] == 4.0
    assert row["accuracy"] == pytest.approx(0.2)
    assert row["spread"] == pytest.approx(0.1 * 2.5**0.5)


def test_an_unknown_peer_lists_those_there_are():
    with pytest.raises(InputError, match=r"tensorflow.*tutorial, pytorch, jax, keras"):
        compare.choose_peers("train", ["tensorflow"])


def test_a_peer_that_is_not_installed_is_left_out_with_a_warning(monkeypatch, caplog):
    missing = measurements.Peer("no_such_package", ("pytorch",))
    monkeypatch.setitem(measurements.MEASUREMENTS["train"].peers, "pytorch", missing)
    assert compare.choose_peers("train", ["pytorch", "tutorial"]) == ["tutorial"]
    assert "pytorch is left out" in caplog.text


def test_every_worker_that_is_named_exists():
    for measurement in measurements.MEASUREMENTS.values():
        for worker in measurement.workers:
            module = importlib.import_module(measurements.find_module(worker))
            assert module.__name__ == measurement.module and callable(getattr(module, worker))
        for worker in [w for peer in measurement.peers.values() for w in peer.workers]:
            assert measurements.find_module(worker) == measurements.PEERS
            assert callable(getattr(peers, worker))


def test_an_unknown_measurement_lists_those_there_are():
    assert_refused(tool("benchmark", "speed"), "'speed' is unknown; expected one of train, ranks")


def test_a_worker_runs_in_its_own_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = compare.run_worker("load", 64)
    assert set(result) == {"images", "read_s", "prepare_s", "peak_mb"}
    assert result["images"] == 55_000 and min(result.values()) > 0


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk here")
def test_the_server_is_measured_under_load():
    pytest.importorskip("paddle2onnx")
    pytest.importorskip("fastapi_offline")
    from lenet_paddle.benchmark.load import serve

    result = serve(4, seconds=1)
    assert result["errors"] == 0 and result["requests"] > 50
    assert result["p99_ms"] >= result["p50_ms"] > 0 and result["memory_mb"] > 20


def test_a_worker_that_fails_is_one_line():
    with pytest.raises(InputError, match="load at many failed: ValueError"):
        compare.run_worker("load", "many")


def test_the_table_has_a_row_per_worker():
    rows = [{"worker": "ours", "ms_per_step": 1.5}, {"worker": "x", "images_per_s": 12345.6}]
    assert compare.format_rows(rows).splitlines() == [
        "worker  ms_per_step  images_per_s",
        "ours          1.500              ",
        "x                          12,346",
    ]


def test_a_clock_measures_the_steps_after_the_warm_up_and_ends_the_training(numbered_set):
    full = numbered_set(10).take(np.arange(64) % 10)
    clock = own.fit_for(5, 2, full, full)
    assert clock.ms_per_step > 0 and clock.anonymous_mb > 10


def test_the_synthesised_file_holds_digits_shifted_from_block_to_block(tmp_path):
    own.synthesise(tmp_path, 60_100)
    images = read_images(tmp_path / "train-images-idx3-ubyte")
    labels = read_labels(tmp_path / "train-labels-idx1-ubyte")
    assert images.shape == (60_100, 28, 28) and labels.shape == (60_100,)
    np.testing.assert_array_equal(np.roll(images[:100], 1, axis=1), images[60_000:])
    np.testing.assert_array_equal(labels[:100], labels[60_000:])


def test_the_chart_has_a_panel_per_size_and_a_bar_per_worker():
    rows = [
        {"worker": worker, "batch_size": size, "ratio": ratio, "ms_per_step": ratio * size}
        for size in (64, 512)
        for worker, ratio in (("ours", 1.0), ("jax", 1.5))
    ]
    panels = compare.plot_rows(rows, "title").axes
    assert [[bar.get_width() for bar in panel.patches] for panel in panels] == [
        [64, 96],
        [512, 768],
    ]
    labels = [text.get_text() for text in panels[1].texts]
    assert labels == ["512.000", "768.000 (1.50x)"]


@pytest.mark.parametrize(
    ("what", "name", "said"),
    [
        ("profile", "a.png", "only a table"),
        ("train", "a.jpg", "expected a .png"),
        ("train", "no/a.png", "in an existing folder"),
    ],
)
def test_a_chart_that_cannot_be_drawn_is_refused_before_measuring(tmp_path, what, name, said):
    with pytest.raises(InputError, match=said):
        compare.check_chart(what, tmp_path / name)


@pytest.mark.slow
def test_the_fast_recipe_reaches_99_percent():
    found = compare.run_worker("fast", 0)
    assert found["accuracy"] >= 0.99 and found["seconds"] > 0


@pytest.mark.slow
def test_training_from_a_mapped_file_holds_only_labels_and_order_in_memory():
    found = compare.run_worker("grow", 240_000)  # a file of 188 MB
    assert found["order_and_labels_mb"] == pytest.approx(16 * 240_000 / 2**20)
    assert found["added_mb"] < found["order_and_labels_mb"] + 60  # Paddle's own buffers


@pytest.mark.parametrize(
    ("what", "peers", "rounds", "said"),
    [("train", [], 0, "rounds is 0"), ("infer", ["jax"], 1, "peers are measured by train")],
)
def test_measurements_that_cannot_be_made_are_refused(what, peers, rounds, said):
    with pytest.raises(InputError, match=said):
        compare.compare(what, peers, rounds)
