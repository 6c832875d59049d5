"""The benchmark's arithmetic, and one real measurement; no test depends on a machine's speed."""

import importlib
import os
import shutil

import numpy as np
import pytest
from tools_help import assert_refused, tool

from lenet_paddle.benchmark import compare, limit, measurements, own, reading, torch_peers
from lenet_paddle.data.idx import read_images, read_labels
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import compute_logits
from lenet_paddle.models import build_model, input_size


def test_medians_and_ratios_are_of_all_rounds_in_turn(monkeypatch):
    calls = []

    def run_worker(worker, size):
        calls.append((worker, size))
        base = {"ours": 4.0, "limit": 1.0, "jax": 2.0, "tutorial": 8.0}[worker]
        return {"ms_per_step": base * (1, 100, 2)[sum(c == (worker, size) for c in calls) - 1]}

    monkeypatch.setattr(compare, "run_worker", run_worker)
    monkeypatch.setattr(compare, "choose_peers", lambda what, names: names)
    rows = compare.compare("train", ["jax", "tutorial"], 3)
    assert calls[:4] == [("ours", 64), ("limit", 64), ("jax", 64), ("tutorial", 64)]
    assert calls[:8] == calls[8:16] == calls[16:]
    assert [
        (row["worker"], row["ms_per_step"], row["ratio"], row["images_per_s"]) for row in rows[:4]
    ] == [
        ("ours", 8.0, 1.0, 8000.0),
        ("limit", 2.0, 0.25, 32000.0),
        ("jax", 4.0, 0.5, 16000.0),
        ("tutorial", 16.0, 2.0, 4000.0),
    ]


def test_each_network_is_compared_with_itself_in_turn(monkeypatch):
    calls = []

    def run_worker(worker, size):
        calls.append(worker)
        return {"ms_per_step": size / 64 * (2.0 if worker.startswith("ours") else 5.0)}

    monkeypatch.setattr(compare, "run_worker", run_worker)
    monkeypatch.setattr(compare, "choose_peers", lambda what, names: ["pytorch lenet5"])
    rows = compare.compare("networks", ["pytorch"], 1)
    assert calls.index("pytorch lenet5") == calls.index("ours lenet5") + 1
    assert [row["network"] for row in rows if row["worker"] == "ours"] == sorted(
        [*measurements.NETWORKS, measurements.VISION]
    )
    assert next(row for row in rows if row["worker"] == "pytorch") == {
        **{"network": "lenet5", "worker": "pytorch", "rounds": 1},
        **{"ms_at_64": 5.0, "ms_at_512": 40.0, "ratio_at_64": 2.5, "ratio_at_512": 2.5},
    }


def test_an_epoch_is_the_difference_of_whole_trainings(monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 21.0])
    epochs = []
    monkeypatch.setattr(own.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(own, "train_and_evaluate", lambda config: epochs.append(config.epochs))
    assert own.epoch(64) == {"seconds": 3.0} and epochs == [1, 3]
    seconds = {"epoch": 3.0, "pytorch_epoch": 6.0}
    monkeypatch.setattr(compare, "run_worker", lambda worker, size: {"seconds": seconds[worker]})
    monkeypatch.setattr(compare, "choose_peers", lambda what, names: ["pytorch_epoch"])
    rows = compare.compare("epoch", ["pytorch"], 1)
    assert [(row["seconds"], row["ratio"]) for row in rows] == [(3.0, 1.0), (6.0, 2.0)]


def test_the_limit_counts_the_multiply_adds_of_a_training_step(monkeypatch):
    conv1, conv2, linear = 28 * 28 * 6 * 9, 10 * 10 * 16 * 150, 400 * 120 + 120 * 84 + 84 * 10
    flops = 2 * (2 * conv1 + 3 * (conv2 + linear))  # no gradient of the images
    assert limit.count_training_flops("lenet_builtin") == flops
    monkeypatch.setattr(own, "measure_rates", lambda: {"fma_gflop_per_s": 100.0})
    found = own.limit(64)
    assert found["gflop"] == pytest.approx(64 * flops / 1e9)
    assert found["ms_per_step"] == pytest.approx(found["gflop"] * 10)


def test_the_rates_are_of_a_compiled_loop_where_there_is_a_compiler(monkeypatch):
    found = limit.measure_rates()
    assert ("fma_gflop_per_s" in found) == bool(shutil.which("cc")) and min(found.values()) > 0
    monkeypatch.setattr(limit.shutil, "which", lambda name: None)
    assert set(limit.measure_rates()) == {"sgemm_gflop_per_s"}


@pytest.mark.parametrize("late_relu", [False, True])
@pytest.mark.parametrize("name", ["lenet_builtin", *measurements.NETWORKS])
def test_a_network_in_pytorch_computes_what_ours_does(name, late_relu):
    torch = pytest.importorskip("torch")
    ours, its = build_model(name), torch_peers.build_network(name, late_relu).eval()
    weights = [weight.numpy() for weight in ours.parameters() if not weight.stop_gradient]
    for weight, copied in zip(weights, its.parameters(), strict=True):
        copied.data = torch.from_numpy(weight.T.copy() if weight.ndim == 2 else weight)
    side = input_size(name)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 1, side, side)).astype(np.float32)
    logits = its(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(compute_logits(ours, images), logits, rtol=1e-4, atol=1e-5)


def test_the_cores_of_all_workers_can_be_bounded(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 1, 2})
    kept = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: kept.append(cores))
    compare.use_cores(2)
    assert kept == [[1, 2]]
    with pytest.raises(InputError, match="cores is 4; expected 1 to 3"):
        compare.use_cores(4)


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
            assert not measurements.is_peer(worker)
            assert callable(getattr(module, worker.split()[0]))
        for worker in [w for peer in measurement.peers.values() for w in peer.workers]:
            assert measurements.is_peer(worker)
            module = importlib.import_module(measurements.find_module(worker))
            assert callable(getattr(module, worker.split()[0]))


def test_an_unknown_measurement_lists_those_there_are():
    assert_refused(tool("benchmark", "speed"), "'speed' is unknown; expected one of train, net")


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
    reading.synthesise(tmp_path, 60_100)
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
        ("networks", "a.png", "only a table"),
        ("train", "a.jpg", "expected a .png"),
        ("train", "no/a.png", "in an existing folder"),
    ],
)
def test_a_chart_that_cannot_be_drawn_is_refused_before_measuring(tmp_path, what, name, said):
    with pytest.raises(InputError, match=said):
        compare.check_chart(what, tmp_path / name)


@pytest.mark.slow
def test_the_fast_recipe_reaches_a_mean_of_99_percent():
    found = [compare.run_worker("fast", seed) for seed in range(5)]
    assert np.mean([run["accuracy"] for run in found]) >= 0.99
    assert min(run["seconds"] for run in found) > 0


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
