"""What VisualDL is given: `rich` logs all kinds, once each, and does not touch the training."""

import json
import random

import numpy as np
import paddle
import pytest
from tools_help import SMALL
from training_help import bars, train, weights_of

from lenet_paddle import (
    MODELS,
    TrainConfig,
    build_model,
    normalise,
    runtime,
    train_and_evaluate,
)
from lenet_paddle.analysis.graph import describe_graph
from lenet_paddle.analysis.hooks import copy_network
from lenet_paddle.errors import RunStopped
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.figures import visualdl
from lenet_paddle.training.checkpoint import read_state
from lenet_paddle.training.fit import fit
from lenet_paddle.training.recorder import Recorder
from lenet_paddle.training.visualdl import add_histogram


def reader_of(run_dir):
    from visualdl import LogReader

    return LogReader(file_path=str(run_dir / "vdl" / "vdlrecords.log"))


def read(run_dir, kind, tag):
    return reader_of(run_dir).get_data(kind, tag)


def points(run_dir):
    """All that the log holds but times: {(kind, tag): [content]}."""
    reader = reader_of(run_dir)
    found = {}
    for kind, tags in reader.get_tags().items():
        for tag in tags if kind != "meta_data" else ():
            records = reader.get_data(kind, tag)
            for record in records:
                record.timestamp = 0
                record.hparam.name = "" if kind == "hyper_parameters" else record.hparam.name
            found[kind, tag.replace("%2F", "/")] = [r.SerializeToString() for r in records]
    return found


def tags(run_dir, kind):
    return [tag for found, tag in points(run_dir) if found == kind]


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A rich run on bars: its folder, network and state."""
    folder = tmp_path_factory.mktemp("rich") / "run"
    return folder, *train(folder, model="lenet_builtin", vdl="rich")


def test_rich_changes_nothing_of_the_training(tmp_path, rich):
    folder, network, state = rich
    plain, expected = train(tmp_path, model="lenet_builtin")
    for name, weight in weights_of(plain).items():
        np.testing.assert_array_equal(weights_of(network)[name], weight)
    assert state.history == expected.history
    for file in ("model.pdparams", "model.pdopt"):
        saved = [path / "checkpoints/latest" / file for path in (tmp_path, folder)]
        assert saved[0].read_bytes() == saved[1].read_bytes()


def test_rich_changes_nothing_of_a_network_with_dropout_and_batch_norm(tmp_path):
    def trained(folder, vdl):
        with paddle.utils.unique_name.guard():
            paddle.seed(0)
            network = paddle.nn.Sequential(
                paddle.nn.Conv2D(1, 4, 3),
                paddle.nn.BatchNorm2D(4),
                paddle.nn.Flatten(),
                paddle.nn.Dropout(0.5),
                paddle.nn.Linear(4 * 26 * 26, 3),
            )
            config = TrainConfig(epochs=2, batch_size=32, vdl=vdl)
            sets = bars(100), bars(50, seed=1)
            loggers = visualdl.build_loggers(config, network, *sets, 28)
            fit(config, network, *sets, tmp_path / folder, callbacks=loggers)
        return weights_of(network)

    plain, rich = trained("plain", "plain"), trained("rich", "rich")
    for name, weight in plain.items():
        np.testing.assert_array_equal(rich[name], weight)


def test_the_generators_go_on_as_if_nothing_had_been_drawn():
    def draw():
        return paddle.rand([3]).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002

    runtime.seed_everything(5)
    expected = draw()
    runtime.seed_everything(5)
    with visualdl.undisturbed():
        assert draw() == expected
    assert draw() == expected


def test_rich_logs_every_kind(rich):
    folder, network, _ = rich
    assert set(tags(folder, "image")) == {
        *("train/samples", "val/worst_mistakes", "val/roc", "val/precision_recall"),
        *("network/filters", "network/feature_maps"),
    }
    names = [f"{kind}/{name}" for kind in ("weights", "gradients") for name in weights_of(network)]
    histograms = tags(folder, "histogram")
    assert set(names) < set(histograms)
    assert "activations/features.0 Conv2D" in histograms and "activations/fc.2 Linear" in histograms
    assert tags(folder, "text") == ["about", "settings", "network"]
    assert tags(folder, "embeddings") == ["val/features_epoch_0001", "val/features_epoch_0002"]
    assert tags(folder, "hyper_parameters") == ["hparam"]
    log = points(folder)
    once = [tag for (kind, tag), found in log.items() if len(found) == 1]
    assert set(once) == {*tags(folder, "text"), *tags(folder, "embeddings"), "hparam"} | {
        "train/samples"
    }


def test_a_logged_gradient_histogram_counts_the_gradient_of_the_first_training_images(rich):
    folder, network, _ = rich
    images = bars(100)
    logits = network(paddle.to_tensor(normalise(images.images)))
    loss = paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(images.labels))
    [gradient] = paddle.grad(loss, [dict(network.named_parameters())["fc.2.weight"]])
    gradient = gradient.numpy()
    logged = read(folder, "histogram", "gradients/fc.2.weight")[-1].histogram
    assert sum(logged.hist) == gradient.size
    assert logged.bin_edges[0] == pytest.approx(gradient.min(), rel=1e-3)
    assert logged.bin_edges[-1] == pytest.approx(gradient.max(), rel=1e-3)


def test_embeddings_name_the_class_and_what_was_predicted(rich):
    folder, _, state = rich
    [record] = read(folder, "embeddings", "val/features_epoch_0002")
    held_out = bars(50, seed=1)
    assert list(record.embeddings.label_meta) == ["class", "predicted"]
    rows = record.embeddings.embeddings
    assert [row.label[0] for row in rows] == [held_out.classes[i] for i in held_out.labels]
    assert {len(row.vectors) for row in rows} == {84}
    right = sum(row.label[0] == row.label[1] for row in rows)
    assert right / len(rows) == state.history[-1]["val_accuracy"]


def test_classes_that_are_numbers_are_no_scale():
    assert visualdl._category_names(("0", "1")) == ["class 0", "class 1"]
    assert visualdl._category_names(("shirt", "2 shoes")) == ["shirt", "2 shoes"]


def run_settings(tmp_path, name):
    return TrainConfig(
        **{"data_dir": SMALL[1], "val_size": 300, "limit": 320, "epochs": 2, "log_every": 2},
        **{"model": "lenet_builtin", "vdl": "rich", "output_dir": str(tmp_path), "name": name},
    )


@pytest.mark.slow
@pytest.mark.parametrize("broken_off", [2, 8], ids=["in epoch 1", "in epoch 2"])
def test_a_resumed_rich_run_has_the_log_of_an_uninterrupted_one(tmp_path, monkeypatch, broken_off):
    train_and_evaluate(run_settings(tmp_path, "whole"))
    real = Recorder.on_train_batch_end

    def breaking_off(self, step, logs=None):
        real(self, step, logs)
        if self.state.step == broken_off:
            raise RunStopped("broken off", status=1)

    monkeypatch.setattr(Recorder, "on_train_batch_end", breaking_off)
    with pytest.raises(RunStopped):
        train_and_evaluate(run_settings(tmp_path, "broken"))
    monkeypatch.undo()
    train_and_evaluate(TrainConfig(resume=str(tmp_path / "broken")))
    whole, resumed = points(tmp_path / "whole"), points(tmp_path / "broken")
    assert list(resumed) == list(whole)
    for key, content in whole.items():
        assert resumed[key] == content, key
    names = {p.name for p in (tmp_path / "broken/vdl").rglob("*.log")}
    assert names == {"vdlrecords.log", "vdlgraph.log"}

    result = train_and_evaluate(TrainConfig(resume=str(tmp_path / "broken")))  # it is whole
    state = read_state(tmp_path / "broken/checkpoints/latest")
    [point] = read(tmp_path / "broken", "scalar", "test/accuracy")
    assert point.value == pytest.approx(result["accuracy"])
    assert point.id == state.history[state.best_epoch - 1]["step"]


def test_hyperparameters_have_one_type_in_all_runs_and_no_bool():
    few = visualdl.hyperparameters(TrainConfig(learning_rate=1))
    other = visualdl.hyperparameters(TrainConfig(learning_rate=0.1, schedule="step", epochs=9))
    assert {k: type(v) for k, v in few.items()} == {k: type(v) for k, v in other.items()}
    assert {type(value) for value in few.values()} == {int, float, str}
    assert other["schedule"] == "step" and other["learning_rate"] == 0.1


def test_the_hyperparameters_name_scalars_that_the_run_logs(rich):
    folder, *_ = rich
    [record] = read(folder, "hyper_parameters", "hparam")
    assert [info.name for info in record.hparam.metricInfos] == ["test/accuracy", "val/accuracy"]
    assert "val/accuracy" in tags(folder, "scalar")  # test/accuracy comes at the end of a run


@pytest.mark.parametrize("value", [-0.001, 0.0, 1e-45, 3e38])
def test_a_histogram_of_neighbouring_floats_is_made(tmp_path, value):
    """A bias after one step of Adam: all its values are about the learning rate."""
    from visualdl import LogReader, LogWriter

    values = np.array([value, value, np.nextafter(np.float32(value), np.float32(1))], np.float32)
    with LogWriter(str(tmp_path)) as log:
        add_histogram(log, "weights/bias", values, step=1)
    [path] = tmp_path.iterdir()
    [record] = LogReader(file_path=str(path)).get_data("histogram", "weights/bias")
    assert sum(record.histogram.hist) == 3


def test_a_histogram_of_values_that_are_not_finite_is_left_out():
    log = None  # which would fail
    add_histogram(log, "gradients/x", np.array([np.nan, np.inf]), step=1)


@pytest.mark.parametrize("name", MODELS)
def test_each_models_graph_is_its_layers_and_tells_no_paths(name):
    network, size = build_model(name), MODELS[name][1]
    kinds = [type(layer).__name__ for layer in network.sublayers() if not layer.sublayers()]
    text = describe_graph(copy_network(network), image_spec(size))
    names = [variable["name"] for variable in json.loads(text)["vars"]]
    assert {parameter.name for parameter in network.parameters()} < set(names)
    nodes = json.loads(text)["nodes"]
    assert sum(node["type"] == "conv2d" for node in nodes) == kinds.count("Conv2D")
    assert sum(node["type"] == "matmul_v2" for node in nodes) == kinds.count("Linear")
    assert {node["type"] for node in nodes} >= {"feed", "fetch"}
    assert str(paddle.__file__).rsplit("/", 1)[0] not in text


def test_a_rich_run_has_the_graph_of_the_plain_network(rich):
    folder, network, _ = rich
    [path] = (folder / "vdl").rglob("vdlgraph.log")
    assert path.parent.name == folder.name  # by which VisualDL calls it
    graph = json.loads(path.read_text())
    kinds = [node["type"] for node in graph["nodes"]]
    assert kinds.count("conv2d") == 2 and kinds.count("flatten_contiguous_range") == 1
    names = {variable["name"] for variable in graph["vars"]}
    assert {parameter.name for parameter in network.parameters()} < names


def test_a_network_that_cannot_be_traced_is_named_and_the_next_one_is_whole(caplog, capfd):
    class Squared(paddle.nn.Layer):
        def forward(self, images):
            return paddle.exp(images)

    assert describe_graph(Squared(), image_spec(28)) is None
    assert "graph is left out" in caplog.text and "exp()" in caplog.text
    names = [
        node["name"]
        for node in json.loads(describe_graph(build_model("mlp"), image_spec(28)))["nodes"]
    ]
    assert not any("Squared" in name for name in names)
    assert capfd.readouterr().err.count("\n") <= 1  # Paddle's own chatter is kept off the screen


def test_a_run_without_validation_images_and_without_convolutions_is_logged_too(tmp_path):
    train(tmp_path, vdl="rich", val_size=0, epochs=1)
    assert set(tags(tmp_path, "image")) == {
        *("train/samples", "test/worst_mistakes", "test/roc", "test/precision_recall"),
        *("network/filters", "network/feature_maps"),
    }
    [record] = read(tmp_path, "hyper_parameters", "hparam")
    assert [info.name for info in record.hparam.metricInfos] == ["test/accuracy"]


@pytest.mark.parametrize("name", MODELS)
def test_a_networks_description_counts_all_parameters(name):
    network, size = build_model(name), MODELS[name][1]
    *layers, total = visualdl._describe(network, (1, size, size))
    counts = [line.split(", ")[1].split()[0].replace(",", "") for line in layers if ", " in line]
    trained = (p.size for p in network.parameters() if not p.stop_gradient)
    expected = sum(trained)  # a batch norm's running statistics are no parameters
    assert sum(map(int, counts)) == expected and f"{expected:,}" in total
