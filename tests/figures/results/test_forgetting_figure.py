"""The matrix of forgetting as a heat map."""

from lenet_paddle.figures.results.forgetting import plot_forgetting

MATRIX = {
    "before": {"clean": 0.98, "fog": 0.5, "shear": 0.9, "stripe": 0.3},
    "01-fog": {"clean": 0.9, "fog": 0.95, "shear": 0.8, "stripe": 0.2},
    "02-shear": {"clean": 0.95, "fog": 0.7, "shear": 0.85, "stripe": 0.25},
    "03-stripe": {"clean": 0.8, "fog": 0.75, "shear": 0.6, "stripe": 0.9},
}


def test_the_figure_frames_what_each_stage_trained_itself():
    figure = plot_forgetting(MATRIX, "a")
    axes = figure.axes[0]
    assert sorted(patch.get_xy() for patch in axes.patches) == [(0.5, 0.5), (1.5, 1.5), (2.5, 2.5)]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:5] == ["98.0", "50.0", "90.0", "30.0", "56.7"]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["clean", "fog", "shear", "stripe", "mean"]
