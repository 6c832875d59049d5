"""What VisualDL is given: the curves (`--vdl plain`), or all that its tabs can show (`rich`).

One log file, appended to. When a run is resumed it is cut back to its length at the checkpoint,
so that no point stands twice. What is logged changes nothing of the training: `RichLogger` looks
at a copy of the network and leaves all generators of random numbers as they were.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from matplotlib.figure import Figure
from paddle import nn
from paddle.callbacks import Callback

from lenet_paddle.analysis.graph import describe_graph
from lenet_paddle.analysis.hooks import (
    caption,
    compute_gradients,
    copy_network,
    layer_outputs,
    leaf_layers,
)
from lenet_paddle.analysis.layers import analyse
from lenet_paddle.config import TrainConfig
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.evaluate import image_spec
from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.figures.network.views import plot_features, plot_filters
from lenet_paddle.figures.results.embedding import last_features
from lenet_paddle.figures.results.thresholds import plot_precision_recall, plot_roc
from lenet_paddle.figures.style import plot_images, plot_mistakes, render
from lenet_paddle.files import make_folder, write_text
from lenet_paddle.training.callbacks import Recorder, is_finished
from lenet_paddle.training.checkpoint import TrainState

LOG_NAME = "vdlrecords.log"  # VisualDL wants "vdlrecords" in it
GRAPH_NAME = "vdlgraph.log"  # and "vdlgraph" in this one
NUM_SAMPLES = 24
NUM_PROBED = 256  # training images for the histograms of gradients and activations
NUM_EMBEDDED = 500
NUM_BINS = 32
HYPERPARAMETERS = ("model", "epochs", "batch_size", "optimizer", "learning_rate", "schedule")

# VisualDL shows all in one paragraph; where the mouse rests, line by line.
ABOUT = f"""What is logged:
• scalars: train/* every few steps, the mean since the point before; val/* after each epoch, exact
means; test/* once, at the end, of the best epoch's weights.
• images: samples of the training data, the worst mistakes, the filters of the first layer, the
feature maps of one fixed image, ROC and precision against recall (each class against the rest).
• histograms: weights/* after each epoch; gradients/* and activations/* for the first {NUM_PROBED}
training images, in evaluation mode, with those weights: the gradient of the mean cross-entropy,
not that of an update.
• embeddings: the last hidden layer's output for up to {NUM_EMBEDDED} held-out images, after the
first and the last epoch.
• hyperparameters: the settings by which runs are compared, with the last accuracies."""


class VisualDLLogger(Callback):
    """Curves with a global step: of training every N steps, the rest every epoch."""

    def __init__(
        self, folder: Path, recorder: Recorder, eval_set: ImageSet, log_every: int
    ) -> None:
        super().__init__()
        self.recorder, self.state, self.eval_set = recorder, recorder.state, eval_set
        self.log_every = log_every
        self.path = folder / LOG_NAME
        self.writer: Any = None
        self.last = (0.0, 0.0, 0.0)

    def on_train_begin(self, logs: Any = None) -> None:
        """Cut the log back to the state, and open it."""
        self.writer = _open_log(self.path, self.state.vdl_bytes)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """The recorder's sums start at 0 again."""
        self.last = (0.0, 0.0, 0.0)

    def on_train_batch_end(self, step: int, logs: Any = None) -> None:
        """Every N steps, the mean of loss and accuracy since the point before."""
        if self.state.step % self.log_every:
            return
        now = self.recorder.sums
        loss, right, seen = (b - a for a, b in zip(self.last, now, strict=True))
        self.last = now
        for tag, value in (
            ("train/loss", loss / seen),
            ("train/accuracy", right / seen),
            ("train/learning_rate", self.model._optimizer.get_lr()),
        ):
            self.writer.add_scalar(tag, float(value), self.state.step)

    def on_eval_end(self, logs: Any = None) -> None:
        """The epoch is whole: log it, and note how long the log is now."""
        self.log_epoch()
        self.state.vdl_bytes = self.writer._get_file_writer().flush()

    def log_epoch(self) -> None:
        """The epoch's held-out figures, its worst mistakes, and the weights' histograms."""
        split, row = self.recorder.split, self.state.history[-1]
        for quantity in ("loss", "accuracy"):
            value = row[f"{split}_{quantity}"]
            self.writer.add_scalar(f"{split}/{quantity}", value, self.state.step)
        probs = compute_probs(self.recorder.eval_logits)
        self.add_figure(
            f"{split}/worst_mistakes",
            plot_mistakes(
                self.eval_set.images, self.recorder.eval_labels, probs, self.eval_set.classes
            ),
        )
        for name, weight in self.model.network.state_dict().items():
            self.add_histogram(f"weights/{name}", weight.numpy())

    def add_figure(self, tag: str, figure: Figure) -> None:
        """A figure as an image of this step."""
        self.writer.add_image(tag, render(figure), self.state.step)

    def add_histogram(self, tag: str, values: np.ndarray) -> None:
        """A histogram of this step; of values that are not finite none can be made.

        In float64, since NumPy refuses to divide a range of float32 that holds fewer numbers than
        bins: a bias after one step of Adam.
        """
        finite = values[np.isfinite(values)].astype(np.float64)
        if finite.size:
            self.writer.add_histogram(tag, finite, self.state.step, NUM_BINS)

    def close(self) -> None:
        """Close the log; also after an error, where hapi calls no `on_train_end`."""
        if self.writer is not None:
            self.writer.close()


class RichLogger(VisualDLLogger):
    """Beside the curves: images, histograms, graph, hyperparameters, text and embeddings.

    `network` is copied here, with its plain layers; each epoch's weights are put into the copy,
    and only the copy is looked into. hapi has cleared the last update's gradients when callbacks
    run, so those of a fixed batch of training images are computed, by `paddle.grad`, which
    stores and updates nothing.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        eval_set: ImageSet,
        train_set: ImageSet,
        network: nn.Layer,
        input_size: int,
    ) -> None:
        super().__init__(folder, recorder, eval_set, recorder.config.log_every)
        self.config, self.train_set, self.input_size = recorder.config, train_set, input_size
        self.network = network
        self.twin = copy_network(network)

    def on_train_begin(self, logs: Any = None) -> None:
        """What does not change is logged when the run begins, not when it is resumed."""
        super().on_train_begin(logs)
        if self.state.epoch == 0:
            with undisturbed():
                self._log_start()

    def _log_start(self) -> None:
        samples = self.train_set.take(slice(0, NUM_SAMPLES))
        captions = [samples.classes[label] for label in samples.labels]
        self.add_figure("train/samples", plot_images(samples.images, captions))
        batch = normalise(samples.images[:1], self.input_size)
        settings = [f"{name}: {value}" for name, value in self.config.to_dict().items()]
        self.writer.add_text("about", ABOUT, 0)
        self.writer.add_text("settings", ";\n".join(settings), 0)
        self.writer.add_text("network", ";\n".join(_describe(self.twin, batch.shape[1:])), 0)
        metrics = [f"{split}/accuracy" for split in dict.fromkeys(("test", self.recorder.split))]
        self.writer.add_hparams(hyperparameters(self.config), metrics)
        graph = describe_graph(copy_network(self.twin), image_spec(self.input_size))
        if graph is not None:
            # VisualDL calls a graph by its folder: the run's name.
            folder = self.path.parent / self.path.resolve().parent.parent.name
            make_folder(folder)
            write_text(folder / GRAPH_NAME, graph)

    def log_epoch(self) -> None:
        """All that changes from epoch to epoch."""
        super().log_epoch()
        with undisturbed():
            weights = {name: t.numpy() for name, t in self.network.state_dict().items()}
            self.twin.set_state_dict({k: w.astype(np.float32) for k, w in weights.items()})
            self._log_images()
            self._log_histograms()
            if self.state.epoch == 1 or is_finished(self.config, self.state):
                self._log_embeddings()

    def _log_images(self) -> None:
        split, title = self.recorder.split, f"epoch {self.state.epoch}"
        probs, labels = compute_probs(self.recorder.eval_logits), self.recorder.eval_labels
        for tag, plot in (("roc", plot_roc), ("precision_recall", plot_precision_recall)):
            self.add_figure(f"{split}/{tag}", plot(probs, labels, self.eval_set.classes, title))
        filters = self._first_filters()
        if filters:
            self.add_figure("network/filters", plot_filters(filters, title))
        batch = normalise(self.eval_set.images[:1], self.input_size)
        own = {name: values[0] for name, values in self._outputs(batch).items()}
        self.add_figure("network/feature_maps", plot_features(batch[0, 0], own, title))

    def _first_filters(self) -> dict[str, np.ndarray]:
        """What the first layer with weights looks for, by its caption: (C_out, C_in, H, W); of a
        linear layer that sees all pixels each unit's weights, laid out as a picture."""
        for name, layer in leaf_layers(self.twin).items():
            if isinstance(layer, nn.Conv2D):
                return {caption(name, layer): layer.weight.numpy()}
            if isinstance(layer, nn.Linear) and layer.weight.shape[0] == self.input_size**2:
                weight = layer.weight.numpy().T
                pictures = weight.reshape(-1, 1, self.input_size, self.input_size)
                return {caption(name, layer): pictures}
        return {}

    def _outputs(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Each layer's output by its caption; what only flattens is left out."""
        layers = leaf_layers(self.twin)
        return {
            caption(name, layers[name]): values
            for name, values in layer_outputs(self.twin, batch).items()
            if not isinstance(layers[name], nn.Flatten)
        }

    def _log_histograms(self) -> None:
        probed = self.train_set.take(slice(0, NUM_PROBED))
        batch = normalise(probed.images, self.input_size)
        for name, gradient in compute_gradients(self.twin, batch, probed.labels).items():
            self.add_histogram(f"gradients/{name}", gradient)
        for name, activation in self._outputs(batch).items():
            self.add_histogram(f"activations/{name}", activation)

    def _log_embeddings(self) -> None:
        spread = np.arange(0, len(self.eval_set), -(-len(self.eval_set) // NUM_EMBEDDED))
        chosen = self.eval_set.take(spread)  # of every class, also where they come class by class
        try:
            features = last_features(self.twin, [normalise(chosen.images, self.input_size)])
        except InputError:  # a network without a dense layer
            return
        features = features.reshape(len(features), -1)
        tag = f"{self.recorder.split}/features_epoch_{self.state.epoch:04d}"
        preds = self.recorder.eval_logits[spread].argmax(axis=1)
        names = _category_names(chosen.classes)
        columns = [[names[i] for i in indices] for indices in (chosen.labels, preds)]
        self.writer.add_embeddings(tag, features, columns, ["class", "predicted"])


def _describe(network: nn.Layer, shape: tuple[int, ...]) -> list[str]:
    """A line for each layer: name, kind, output shape, parameters; and their total."""
    rows = analyse(network, shape)
    lines = [
        f"{row.name} {row.kind}: {' x '.join(map(str, row.output_shape))}"
        + (f", {row.parameters:,} parameters" if row.parameters else "")
        + (" (frozen)" if row.frozen else "")
        for row in rows
    ]
    return [*lines, f"in all {sum(row.parameters for row in rows):,} parameters"]


def _category_names(classes: tuple[str, ...]) -> list[str]:
    """The class names so that VisualDL gives each a colour: numbers it would take for a scale."""
    numeric = all(name.lstrip("-")[:1].isdigit() for name in classes)
    return [f"class {name}" if numeric else name for name in classes]


def log_result(folder: Path, state: TrainState, result: dict[str, Any]) -> None:
    """Append the test set's figures at the best epoch's step; those of an earlier call go."""
    writer = _open_log(folder / LOG_NAME, state.vdl_bytes)
    step = state.history[state.best_epoch - 1]["step"]
    for quantity in ("loss", "accuracy"):
        writer.add_scalar(f"test/{quantity}", result[quantity], step)
    writer.close()


def hyperparameters(config: TrainConfig) -> dict[str, Any]:
    """The settings by which VisualDL compares runs, the same ones in each; all are in its text.

    Few, because its parallel coordinates (2.5.3) hang the browser when a column is narrower than
    its name: these and two metrics have room in a window of 1200 pixels. None is a bool or left
    out in some run, on which VisualDL fails.
    """
    settings = {name: getattr(config, name) for name in HYPERPARAMETERS}
    return {**settings, "learning_rate": float(config.learning_rate)}  # a YAML file may say 1


class _Records:
    """The file that a LogWriter writes to. VisualDL's own one is written by a thread, which drops
    what the disk does not take, and goes on."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, path.open("ab")

    def get_filename(self) -> str:
        """What LogWriter calls `file_name`."""
        return str(self.path)

    def add_record(self, record: Any) -> None:
        """Append a protocol buffer behind its length, 8 bytes; raises `OSError`."""
        data = record.SerializeToString()
        self.file.write(struct.pack("<Q", len(data)) + data)
        self.file.flush()  # for who watches

    def flush(self) -> int:
        """Have all on the disk; the file's length."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _open_log(path: Path, length: int) -> Any:
    """A LogWriter that appends to `path`, cut back to `length` bytes."""
    from visualdl import LogWriter

    make_folder(path.parent)
    if path.exists():
        os.truncate(path, min(length, path.stat().st_size))
    records = _Records(path)

    class Log(LogWriter):
        def _get_file_writer(self) -> _Records:
            self._file_writer = records
            return records

        def close(self) -> None:
            records.close()

    return Log(str(path.parent))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave Paddle's, NumPy's and Python's global generators as they are before the block."""
    states = paddle.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        paddle.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
