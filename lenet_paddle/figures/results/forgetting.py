"""The matrix of forgetting as a heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet_paddle.evaluation.forgetting import BEFORE, Matrix, find_own, mean_accuracy
from lenet_paddle.figures.style import ORANGE, new_figure, short, styled
from lenet_paddle.figures.words import say


@styled
def plot_forgetting(matrix: Matrix, title: str = "") -> Figure:
    """Plot the matrix, accuracies in percent; a frame marks what each stage was trained on."""
    stages, names = list(matrix), list(next(iter(matrix.values())))
    values = np.array([[matrix[stage][name] for name in names] for stage in stages])
    means = [mean_accuracy(matrix[stage]) for stage in stages]
    labels = [short(name) for name in names]
    if None not in means:
        values = np.column_stack([values, np.array(means, np.float64)])
        labels.append(say("mean", "平均"))
    figure = new_figure(2.6 + 0.45 * len(labels), 2.2 + 0.32 * len(stages))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="cividis", vmin=min(0.5, values.min()), vmax=1, aspect="auto")
    low, high = image.get_clim()
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if value > (low + high) / 2 else "white"
        text = f"{100 * value:.1f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    for name, stage in find_own(matrix).items():
        corner = (names.index(name) - 0.5, stages.index(stage) - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=2.5))
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(len(stages)), [say("before", "微调前") if s == BEFORE else s for s in stages]
    )
    axes.set(
        xlabel=say("test images", "测试图片"),
        ylabel=say("after the stage", "该阶段之后"),
        title=title,
    )
    figure.colorbar(image, ax=axes, label=say("accuracy", "准确率"))
    return figure
