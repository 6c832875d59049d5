"""Pictures for VisualDL: the worst mistakes (`--vdl plain`), or all that its tabs show (`rich`).

Logging does not change the training: `RichLogger` reads a copy of the network and leaves all
random generators as they were.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from matplotlib.figure import Figure
from paddle import nn

from lenet_paddle.analysis.features import last_features
from lenet_paddle.analysis.graph import describe_graph
from lenet_paddle.analysis.hooks import (
    caption,
    compute_gradients,
    copy_network,
    fitting,
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
from lenet_paddle.figures.grid import as_pictures
from lenet_paddle.figures.network.features import plot_features
from lenet_paddle.figures.network.filters import plot_filters
from lenet_paddle.figures.results.images import plot_images
from lenet_paddle.figures.results.mistakes import plot_mistakes
from lenet_paddle.figures.results.thresholds import plot_precision_recall, plot_roc
from lenet_paddle.figures.style import label_classes, render
from lenet_paddle.files import make_folder, write_text
from lenet_paddle.training.callbacks import Callback, is_finished
from lenet_paddle.training.visualdl import add_histogram

GRAPH_NAME = "vdlgraph.log"  # VisualDL looks for "vdlgraph" in the name
NUM_SAMPLES = 24
NUM_PROBED = 256  # training images for the histograms of gradients and activations
NUM_EMBEDDED = 500
HYPERPARAMETERS = ("model", "epochs", "batch_size", "optimizer", "learning_rate", "schedule")

# VisualDL shows the text as one paragraph, and line by line in its tooltip.
ABOUT = f"""What is logged:
• scalars: train/* every few steps, the mean since the point before; val/* after each epoch, exact
means; test/* once, at the end, of the best epoch's weights.
• images: samples of the training data, the worst mistakes, the filters of the first layer, the
feature maps of one fixed image, ROC and precision against recall (each class against the rest).
• histograms: weights/* after each epoch; gradients/* and activations/* for the first {NUM_PROBED}
training images (fewer of more than 32x32), in evaluation mode, with those weights: the gradient of
the mean cross-entropy, not that of an update.
• embeddings: the last hidden layer's output for up to {NUM_EMBEDDED} held-out images, after the
first and the last epoch.
• hyperparameters: the settings by which runs are compared, with the last accuracies."""


def build_loggers(
    config: TrainConfig,
    network: nn.Layer,
    train_set: ImageSet,
    eval_set: ImageSet,
    input_size: int,
) -> list[MistakesLogger]:
    """Return the callbacks for `fit` that log what `config.vdl` names; call before `fit`."""
    if config.vdl == "rich":
        return [RichLogger(network, train_set, eval_set, input_size)]
    return [MistakesLogger(eval_set)]


class MistakesLogger(Callback):
    """Log a sheet of the worst mistakes after each epoch."""

    def __init__(self, eval_set: ImageSet) -> None:
        super().__init__()
        self.eval_set = eval_set

    def on_eval_end(self, logs: Any = None) -> None:
        """Log the epoch."""
        probs, labels = compute_probs(self.recorder.eval_logits), self.recorder.eval_labels
        figure = plot_mistakes(self.eval_set.images, labels, probs, self.eval_set.classes)
        self.add_figure(f"{self.recorder.split}/worst_mistakes", figure)

    def add_figure(self, tag: str, figure: Figure) -> None:
        """Log a figure as an image of the current step."""
        self.log.add_image(tag, render(figure), self.recorder.state.step)


class RichLogger(MistakesLogger):
    """Log images, histograms, graph, hyperparameters, text and embeddings too.

    `network` is copied here, before `fit` puts its fast layers in; each epoch's weights go into
    the copy. The gradients are those of a fixed batch of training images, comparable from epoch to
    epoch, computed by `paddle.grad`, which stores and updates nothing.
    """

    def __init__(
        self, network: nn.Layer, train_set: ImageSet, eval_set: ImageSet, input_size: int
    ) -> None:
        super().__init__(eval_set)
        self.train_set, self.input_size = train_set, input_size
        self.twin = copy_network(network)

    def on_train_begin(self, logs: Any = None) -> None:
        """Log samples, settings and graph once; a resumed run has them already."""
        if self.recorder.state.epoch == 0:
            with undisturbed():
                self._log_start()

    def _log_start(self) -> None:
        samples = self.train_set.take(slice(0, NUM_SAMPLES))
        names = label_classes(samples.classes)
        captions = [names[label] for label in samples.labels]
        self.add_figure("train/samples", plot_images(samples.images, captions))
        batch = normalise(samples.images[:1], self.input_size)
        config = self.recorder.config
        settings = [f"{name}: {value}" for name, value in config.to_dict().items()]
        self.log.add_text("about", ABOUT, 0)
        self.log.add_text("settings", ";\n".join(settings), 0)
        self.log.add_text("network", ";\n".join(_describe(self.twin, batch.shape[1:])), 0)
        metrics = [f"{split}/accuracy" for split in dict.fromkeys(("test", self.recorder.split))]
        self.log.add_hparams(hyperparameters(config), metrics)
        spec = image_spec(self.input_size, self.train_set.form.channels)
        graph = describe_graph(copy_network(self.twin), spec)
        if graph is not None:
            # VisualDL names a graph by its folder: the run's name.
            vdl = Path(self.log.logdir)
            folder = vdl / vdl.resolve().parent.name
            make_folder(folder)
            write_text(folder / GRAPH_NAME, graph)

    def on_eval_end(self, logs: Any = None) -> None:
        """Log the epoch."""
        super().on_eval_end(logs)
        with undisturbed():
            weights = {name: t.numpy() for name, t in self.model.network.state_dict().items()}
            self.twin.set_state_dict({k: w.astype(np.float32) for k, w in weights.items()})
            self._log_images()
            self._log_histograms()
            state = self.recorder.state
            if state.epoch == 1 or is_finished(self.recorder.config, state):
                self._log_embeddings()

    def _log_images(self) -> None:
        split, title = self.recorder.split, f"epoch {self.recorder.state.epoch}"
        probs, labels = compute_probs(self.recorder.eval_logits), self.recorder.eval_labels
        for tag, plot in (("roc", plot_roc), ("precision_recall", plot_precision_recall)):
            self.add_figure(f"{split}/{tag}", plot(probs, labels, self.eval_set.classes, title))
        filters, in_colour = self._first_filters(), self.train_set.form.channels == 3
        if filters:
            self.add_figure("network/filters", plot_filters(filters, title, in_colour))
        batch = normalise(self.eval_set.images[:1], self.input_size)
        own = {name: values[0] for name, values in self._outputs(batch).items()}
        self.add_figure("network/feature_maps", plot_features(as_pictures(batch)[0], own, title))

    def _first_filters(self) -> dict[str, np.ndarray]:
        """Return the first layer's filters (C_out, C_in, H, W) by its caption.

        For a linear layer on all pixels, each unit's weights are laid out as a picture.
        """
        shape = (self.train_set.form.channels, self.input_size, self.input_size)
        for name, layer in leaf_layers(self.twin).items():
            if isinstance(layer, nn.Conv2D):
                return {caption(name, layer): layer.weight.numpy()}
            if isinstance(layer, nn.Linear) and layer.weight.shape[0] == math.prod(shape):
                return {caption(name, layer): layer.weight.numpy().T.reshape(-1, *shape)}
        return {}

    def _outputs(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Return each layer's output by its caption, without flatten layers."""
        layers = leaf_layers(self.twin)
        return {
            caption(name, layers[name]): values
            for name, values in layer_outputs(self.twin, batch).items()
            if not isinstance(layers[name], nn.Flatten)
        }

    def _log_histograms(self) -> None:
        probed = self.train_set.take(slice(0, fitting(NUM_PROBED, self.input_size)))
        batch, step = normalise(probed.images, self.input_size), self.recorder.state.step
        for name, gradient in compute_gradients(self.twin, batch, probed.labels).items():
            add_histogram(self.log, f"gradients/{name}", gradient, step)
        for name, activation in self._outputs(batch).items():
            add_histogram(self.log, f"activations/{name}", activation, step)

    def _log_embeddings(self) -> None:
        spread = np.arange(0, len(self.eval_set), -(-len(self.eval_set) // NUM_EMBEDDED))
        chosen = self.eval_set.take(spread)  # spread evenly: the images may be sorted by class
        try:
            features = last_features(self.twin, [normalise(chosen.images, self.input_size)])
        except InputError:  # a network without a dense layer
            return
        features = features.reshape(len(features), -1)
        tag = f"{self.recorder.split}/features_epoch_{self.recorder.state.epoch:04d}"
        preds = self.recorder.eval_logits[spread].argmax(axis=1)
        names = _category_names(chosen.classes)
        columns = [[names[i] for i in indices] for indices in (chosen.labels, preds)]
        self.log.add_embeddings(tag, features, columns, ["class", "predicted"])


def _describe(network: nn.Layer, shape: tuple[int, ...]) -> list[str]:
    """Return a line per layer (name, kind, output shape, parameters) and the total."""
    rows = analyse(network, shape)
    lines = [
        f"{row.name} {row.kind}: {' x '.join(map(str, row.output_shape))}"
        + (f", {row.parameters:,} parameters" if row.parameters else "")
        + (" (frozen)" if row.frozen else "")
        for row in rows
    ]
    return [*lines, f"in all {sum(row.parameters for row in rows):,} parameters"]


def _category_names(classes: tuple[str, ...]) -> list[str]:
    """Return class names that VisualDL colours as categories; it takes numbers for a scale."""
    numeric = all(name.lstrip("-")[:1].isdigit() for name in classes)
    return [f"class {name}" if numeric else name for name in classes]


def hyperparameters(config: TrainConfig) -> dict[str, Any]:
    """Return the settings by which VisualDL compares runs; all are in its text tab.

    Few, because its parallel coordinates (2.5.3) hang the browser when a column is narrower than
    its name: these and two metrics fit into 1200 pixels. VisualDL fails on a bool, and on runs
    with different names.
    """
    settings = {name: config.to_dict()[name] for name in HYPERPARAMETERS}
    return {**settings, "learning_rate": float(config.learning_rate)}  # a YAML file may say 1


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the global generators of Paddle, NumPy and Python after the block."""
    states = paddle.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        paddle.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
