"""The figures of what a network learnt from and of what came of it: data, curves, evaluations.

Each function takes the settings and returns file stem -> figure; `DRAWINGS` names them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_paddle.data.corrupt import corrupt
from lenet_paddle.data.datasets import ALL_CORRUPTIONS
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_data
from lenet_paddle.data.loader import BatchLoader
from lenet_paddle.data.mnist_c import list_corruptions, load_mnist_c
from lenet_paddle.data.transforms import Augmentation, choose_augmentation
from lenet_paddle.errors import InputError
from lenet_paddle.evaluation.metrics import compute_calibration, compute_probs, count_confusion
from lenet_paddle.figures import style as figures
from lenet_paddle.figures.results import embedding
from lenet_paddle.figures.results.charts import plot_calibration, plot_rows, plot_samples
from lenet_paddle.figures.subject import (
    Subject,
    choose_pictures,
    data_settings,
    find_position,
    load_images,
    load_subject,
    need_runs,
)
from lenet_paddle.figures.visualize import VisualizeConfig
from lenet_paddle.figures.words import say
from lenet_paddle.run_folder import Run

if TYPE_CHECKING:
    from lenet_paddle.figures.visualize import Drawn

NUM_SAMPLES = 64  # images that `samples` shows
NUM_AUGMENTED, NUM_VARIANTS = 10, 4  # columns and rows of `augment`
NUM_CORRUPTED = 10  # images, each under every corruption, that `corruptions` shows
POINTS_SHOWN, SVM_IMAGES = 2000, 10_000  # t-SNE and SVM grow with the square of these


def draw_samples(config: VisualizeConfig) -> Drawn:
    """Training images, or with --images these test images, and what their set is like."""
    split = "test" if config.images else "train"
    image_set, dataset = load_images(config, split)
    chosen = np.array([find_position(text, image_set) for text in config.images], np.int64)
    if not len(chosen):
        count = min(NUM_SAMPLES, len(image_set))
        chosen = np.random.default_rng(0).choice(len(image_set), count, replace=False)
    which = say("training", "训练") if split == "train" else say("test", "测试")
    title = say(
        "{dataset}: {shown} of {n:,} {split} images, and the figures of all",
        "{dataset}：{n:,} 张{split}图片中的 {shown} 张，以及全部图片的统计",
        dataset=dataset,
        shown=len(chosen),
        n=len(image_set),
        split=which,
    )
    figure = plot_samples(image_set.images, image_set.labels, image_set.classes, chosen, title)
    return {"samples": figure}


def draw_augment(config: VisualizeConfig) -> Drawn:
    """Variants of training images (or these test images) as a run's training sees them, else of
    the presets; and a second figure with a row for each range alone."""
    image_set, _ = load_images(config, "test" if config.images else "train")
    chosen = [find_position(text, image_set) for text in config.images]
    count = min(NUM_AUGMENTED, len(image_set))
    shown = image_set.take(np.array(chosen or range(count), np.int64))
    captions = [image_set.classes[label] for label in shown.labels]
    kinds = {say(name): Augmentation(augment=name) for name in ("light", "strong")}
    if config.run:
        own = choose_augmentation(data_settings(config))
        if own is None:
            raise InputError(
                f"{config.run[0]} was trained without augmentation; leave out --run for the presets"
            )
        kinds = {say("variant", "变体"): own}
    originals = {say("original", "原图"): shown.images[:]}
    variants = {
        f"{name} {number}": augment(shown.images[:], np.random.default_rng(number))
        for name, augment in kinds.items()
        for number in range(1, NUM_VARIANTS + 1)
    }
    ranges = {
        f"{say(name.replace('_', ' '))} {value:g}": Augmentation(**{name: value})(
            shown.images[:], np.random.default_rng(0)
        )
        for name, value in SHOWN_RANGES.items()
    }
    return {
        "augment": plot_rows(
            {**originals, **variants}, captions, say("what training sees", "训练所见到的图片")
        ),
        "augment-ranges": plot_rows(
            {**originals, **ranges}, captions, say("each range alone", "每种变化单独作用")
        ),
    }


SHOWN_RANGES: dict[str, Any] = {  # far enough to be seen
    **dict(rotation=25, shift=0.15, zoom=0.3, shear=20, elastic=0.9, horizontal_flip=1.0),
    **dict(
        vertical_flip=1.0, erase=1.0, bars=0.7, brightness=0.3, contrast=0.6, noise=0.2, blur=1.5
    ),
}


def draw_corruptions(config: VisualizeConfig) -> Drawn:
    """A test image of each class, or the pictures of --images, under MNIST-C's corruptions: made
    here, or with dataset mnist_c as they are in its folder."""
    settings = data_settings(config)
    if settings.dataset == "mnist_c":
        folder = Path(str(settings.data_dir))
        captions, rows = _read_corrupted(config, folder)
        title = say(
            "MNIST-C's corruptions, from {folder}",
            "MNIST-C 的各种失真，取自 {folder}",
            folder=folder.resolve().name,
        )
    else:
        pictures = choose_pictures(config, NUM_CORRUPTED)
        captions = [picture.label for picture in pictures]
        images = np.stack([picture.image for picture in pictures])
        rows = {name: corrupt(images, name) for name in ALL_CORRUPTIONS}
        title = say(
            "MNIST-C's corruptions, made from {dataset}",
            "MNIST-C 的各种失真，由 {dataset} 生成",
            dataset=settings.dataset,
        )
    named = {name.replace("_", " "): images for name, images in rows.items()}
    return {"corruptions": plot_rows(named, captions, title)}


def _read_corrupted(
    config: VisualizeConfig, folder: Path
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Captions, and for each corruption in `folder` the same test images, uint8 (N, 28, 28)."""
    sets = {name: load_mnist_c("test", folder, name) for name in list_corruptions(folder)}
    wanted = config.images
    if not wanted:
        _, firsts = np.unique(next(iter(sets.values())).labels, return_index=True)
        wanted = [str(position) for position in firsts[:NUM_CORRUPTED]]
    rows = {
        name: image_set.images[np.array([find_position(text, image_set) for text in wanted])]
        for name, image_set in sets.items()
    }
    return [f"#{text}" for text in wanted], rows


def draw_curves(config: VisualizeConfig) -> Drawn:
    """Loss and accuracy per epoch of one or several runs."""
    runs = need_runs(config)
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    histories = {name: Run(run).read_history() for name, run in zip(names, runs, strict=True)}
    return {"curves": figures.plot_curves(histories)}


def draw_confusion(config: VisualizeConfig) -> Drawn:
    """The confusion matrix on the test set."""
    subject = load_subject(config)
    test_set, logits, title = subject.predict_test_set()
    counts = count_confusion(logits.argmax(axis=1), test_set.labels, test_set.num_classes)
    return {"confusion": figures.plot_confusion(counts, test_set.classes, title)}


def draw_mistakes(config: VisualizeConfig) -> Drawn:
    """The worst mistakes on the test set."""
    subject = load_subject(config)
    test_set, logits, title = subject.predict_test_set()
    figure = figures.plot_mistakes(
        test_set.images, test_set.labels, compute_probs(logits), test_set.classes, title=title
    )
    return {"mistakes": figure}


def draw_calibration(config: VisualizeConfig) -> Drawn:
    """Whether a probability of 0.9 is right nine times of ten."""
    subject = load_subject(config)
    test_set, logits, title = subject.predict_test_set()
    error, bins = compute_calibration(compute_probs(logits), test_set.labels)
    return {"calibration": plot_calibration(error, bins, title)}


def draw_embedding(config: VisualizeConfig) -> Drawn:
    """The last hidden layer's features by PCA and t-SNE, and an SVM on them."""
    subject = load_subject(config)
    test_set, logits, _ = subject.predict_test_set()
    [train_set] = load_data(subject.config, "train")
    trained_on, train_set = len(train_set), train_set.take(slice(0, SVM_IMAGES))
    train, test = _last_features(subject, train_set), _last_features(subject, test_set)
    shown = np.arange(0, len(test_set), -(-len(test_set) // POINTS_SHOWN))  # of every class
    plane, shares = embedding.project_pca(test[shown])
    places = {
        say(
            "PCA: {share:.0%} of the variance", "PCA：占方差的 {share:.0%}", share=shares.sum()
        ): plane,
        say("t-SNE", "t-SNE"): embedding.project_tsne(test[shown]),
    }
    by_svm = embedding.svm_accuracy((train, train_set.labels), (test, test_set.labels))
    accuracies = {
        say(
            "own last layer, {n:,} training images",
            "网络自己的最后一层，{n:,} 张训练图片",
            n=trained_on,
        ): float(np.mean(logits.argmax(axis=1) == test_set.labels)),
        say("SVM, {n:,} training images", "SVM，{n:,} 张训练图片", n=len(train_set)): by_svm,
    }
    title = say(
        "{run}: the {n} features before the last layer, {count:,} test images",
        "{run}：最后一层之前的 {n} 个特征，{count:,} 张测试图片",
        run=subject.name,
        n=test.shape[1],
        count=len(plane),
    )
    labels = test_set.labels[shown]
    figure = embedding.plot_embedding(places, labels, subject.classes, accuracies, title)
    return {"embedding": figure}


def _last_features(subject: Subject, image_set: ImageSet) -> np.ndarray:
    loader = BatchLoader(image_set, 256, input_size=subject.side)
    return embedding.last_features(subject.network, [images for images, _ in loader])


DRAWINGS = {
    "samples": draw_samples,
    "augment": draw_augment,
    "corruptions": draw_corruptions,
    "curves": draw_curves,
    "confusion": draw_confusion,
    "mistakes": draw_mistakes,
    "calibration": draw_calibration,
    "embedding": draw_embedding,
}
