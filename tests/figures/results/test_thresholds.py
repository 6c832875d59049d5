"""ROC and precision-recall figures: the curves drawn are those of the numbers."""

import numpy as np
import pytest
from sklearn import metrics as reference

from lenet_paddle.evaluation.metrics import compute_probs
from lenet_paddle.figures.results.thresholds import plot_precision_recall, plot_roc
from lenet_paddle.figures.style import render
from lenet_paddle.figures.words import language


@pytest.fixture
def answers(rng):
    """Probabilities (300, 4) and labels of a middling classifier; class 3 has no samples."""
    labels = rng.integers(0, 3, 300)
    logits = rng.normal(size=(300, 4))
    logits[np.arange(300), labels] += 1.5
    return compute_probs(logits), labels


CLASSES = ("top", "middle", "bottom", "never")


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_roc_figure_names_the_areas_of_average_and_classes(answers):
    probs, labels = answers
    is_class = labels[:, None] == np.arange(4)
    expected = {"micro average": reference.roc_auc_score(is_class.ravel(), probs.ravel())}
    for i, name in enumerate(CLASSES[:3]):
        expected[name] = reference.roc_auc_score(is_class[:, i], probs[:, i])
    assert legend_of(plot_roc(probs, labels, CLASSES)) == [
        f"{name}  {area:.4f}" for name, area in expected.items()
    ]


def test_the_precision_recall_figure_names_the_average_precisions(answers):
    probs, labels = answers
    is_class = labels[:, None] == np.arange(4)
    areas = [reference.average_precision_score(is_class.ravel(), probs.ravel())]
    areas += [reference.average_precision_score(is_class[:, i], probs[:, i]) for i in range(3)]
    names = ("micro average", *CLASSES[:3])
    assert legend_of(plot_precision_recall(probs, labels, CLASSES)) == [
        f"{name}  {area:.4f}" for name, area in zip(names, areas, strict=True)
    ]


def test_the_close_look_holds_where_precision_equals_recall(answers):
    figure = plot_precision_recall(*answers, CLASSES)
    _, detail = figure.axes
    low, high = detail.get_xlim()
    for line in detail.get_lines():
        equal = np.minimum(*line.get_data()).max()
        assert low < equal < high


def test_of_many_classes_the_worst_are_named(rng):
    labels = np.arange(600) % 20
    logits = rng.normal(size=(600, 20))
    logits[np.arange(600), labels] += np.where(labels < 6, 0.5, 4.0)
    names = legend_of(plot_roc(compute_probs(logits), labels, [f"c{i}" for i in range(20)]))
    assert {name.split()[0] for name in names[1:]} == {f"c{i}" for i in range(6)}


def test_both_can_be_drawn_in_chinese_and_for_a_perfect_or_a_single_class(answers):
    perfect = np.eye(3)[[0, 1, 2, 0]]
    with language("zh"):
        assert "微平均" in legend_of(plot_roc(*answers, CLASSES))[0]
        for plot in (plot_roc, plot_precision_recall):
            assert render(plot(perfect, np.array([0, 1, 2, 0]), CLASSES[:3], "名")).std() > 0
            assert render(plot(np.ones((5, 1)), np.zeros(5, int), ("one",))).std() > 0
