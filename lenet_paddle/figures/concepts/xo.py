"""X or O: a network that tells two letters apart, computed by hand.

After Brandon Rohrer, "How do convolutional neural networks work?" (2016). Pictures and features
consist of -1 and 1, and a match is the mean of the products, so that 1 is a perfect match.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lenet_paddle.figures.grid import Cells, box, sign, split
from lenet_paddle.figures.options import Drawn, VisualizeConfig
from lenet_paddle.figures.style import BLUE, ORANGE, new_figure, styled
from lenet_paddle.figures.words import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def _grid(text: str) -> np.ndarray:
    return np.array([[1.0 if sign == "#" else -1.0 for sign in row] for row in text.split()])


X = _grid(
    """
    .........
    .#.....#.
    ..#...#..
    ...#.#...
    ....#....
    ...#.#...
    ..#...#..
    .#.....#.
    ........."""
)
O = _grid(  # noqa: E741  it is the letter
    """
    .........
    ...###...
    ..#...#..
    .#.....#.
    .#.....#.
    .#.....#.
    ..#...#..
    ...###...
    ........."""
)
FEATURES = np.stack([_grid("#.. .#. ..#"), _grid("#.# .#. #.#"), _grid("..# .#. #..")])
"""Three parts of an X, float64 (3, 3, 3): a stroke down, the crossing, a stroke up."""
_LETTER: dict[str, Any] = {"cmap": "gray", "limits": (-1.3, 1.1)}  # 1 is light, -1 dark
COURSE_VALUES = (0.9, 0.65, 0.45, 0.87, 0.96, 0.73, 0.23, 0.63, 0.44, 0.89, 0.94, 0.53)
"""The course's twelve pooled values of a new picture, the inputs of its dense layer."""


def draw_xo(config: VisualizeConfig) -> Drawn:
    """Draw how matching, pooling and voting tell an X from an O, number by number."""
    return {"xo": plot_xo(), "xo-votes": plot_votes()}


def cut(value: float) -> str:
    """Format a number with two decimals, cut off as in the course: 7/9 becomes 0.77."""
    return f"{np.trunc(value * 100 + np.copysign(1e-9, value)) / 100 + 0.0:.2f}"


def match(picture: np.ndarray, feature: np.ndarray) -> np.ndarray:
    """Match a feature at every place: (H, W), (3, 3) -> float64 (H - 2, W - 2) in [-1, 1]."""
    return (sliding_window_view(picture, feature.shape) * feature).mean(axis=(2, 3))


def pool(maps: np.ndarray) -> np.ndarray:
    """Max-pool 2x2, stride 2: (H, W) -> (ceil(H / 2), ceil(W / 2)); edge windows are smaller."""
    height, width = -(-maps.shape[0] // 2) * 2, -(-maps.shape[1] // 2) * 2
    filled = np.full((height, width), -np.inf)
    filled[: maps.shape[0], : maps.shape[1]] = maps
    return filled.reshape(height // 2, 2, width // 2, 2).max(axis=(1, 3))


def rectify(maps: np.ndarray) -> np.ndarray:
    """Apply ReLU: values below 0 become 0."""
    return np.maximum(maps, 0)


def look(picture: np.ndarray) -> np.ndarray:
    """Run the network up to its dense layer: (9, 9) -> float64 (12,).

    For each feature: match (7, 7), ReLU, pool (4, 4), pool (2, 2), flatten.
    """
    return np.concatenate([pool(pool(rectify(match(picture, f)))).ravel() for f in FEATURES])


def weigh() -> np.ndarray:
    """Compute the dense layer's weights, float64 (2, 12), rows X and O, each summing to 1.

    A value's weight for X is how much higher it is for the plain X than for the plain O, and the
    other way round for O.
    """
    difference = look(X) - look(O)
    votes = np.maximum(np.stack([difference, -difference]), 0)
    return votes / votes.sum(axis=1, keepdims=True)


def vote(values: np.ndarray) -> np.ndarray:
    """Run the dense layer: twelve values -> float64 (2,), the votes for X and for O."""
    return weigh() @ values


def shift(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    """Shift a picture by whole pixels; background moves in."""
    from scipy import ndimage

    return ndimage.shift(picture, (down, right), order=0, cval=-1.0)


def rotate(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate a picture to the left about its centre; the result consists of -1 and 1 too."""
    from scipy import ndimage

    turned = ndimage.rotate(picture, degrees, reshape=False, order=1, cval=-1.0)
    return np.where(turned > -0.2, 1.0, -1.0)


def thicken(picture: np.ndarray) -> np.ndarray:
    """Widen every stroke by one pixel on each side."""
    from scipy import ndimage

    return np.where(ndimage.binary_dilation(picture > 0), 1.0, -1.0)


@styled
def plot_xo() -> Figure:
    """Plot the way from an X to its pooled maps: two matches in full, then all three features."""
    figure = new_figure(10, 12.5)
    above, below = split(figure, 2, 1, height_ratios=(1, 3.4))
    _draw_match(above)
    columns = below.subplots(3, 5, width_ratios=(1, 3.2, 3.2, 1.9, 1))
    for row, (axes, feature) in enumerate(zip(columns, FEATURES, strict=True)):
        found = match(X, feature)
        _draw_stages(axes, feature, found)
        if row == 0:
            _name_stages(axes)
            for panel in axes[1:3]:
                box(panel, 0, 0, 2, 2, ORANGE)
            box(axes[3], 0, 0, 1, 1, ORANGE)
            first, second = (", ".join(map(cut, row)) for row in found[:2, :2])
            kept = cut(pool(found)[0, 0])
            axes[3].set_xlabel(
                say(
                    "max of {above},\n{below}\nis {kept}",
                    "{above}, {below}\n中最大的是 {kept}",
                    above=first,
                    below=second,
                    kept=kept,
                ),
                fontsize=9,
            )
    figure.suptitle(
        say(
            "X or O: match, ReLU, pool (numbers cut after two places)",
            "X 还是 O：匹配、ReLU、池化（数字截到两位小数）",
        )
    )
    return figure


def _draw_match(part: SubFigure) -> None:
    """Draw two windows of the X, their products with the first feature, and the means."""
    grid = part.add_gridspec(2, 7, width_ratios=(4, 2, 0.4, 2, 0.4, 2, 2.6))
    whole = part.add_subplot(grid[:, 0])
    Cells(whole, X, say("an X of 1 and -1", "由 1 和 -1 组成的 X"), number=None, **_LETTER)
    for row, ((top, left), colour) in enumerate((((1, 1), ORANGE), ((3, 3), BLUE))):
        window = X[top : top + 3, left : left + 3]
        box(whole, top, left, 3, 3, colour)
        seen = part.add_subplot(grid[row, 1])
        Cells(seen, window, say("window", "窗口") if row == 0 else "", **_LETTER)
        box(seen, 0, 0, 3, 3, colour)
        sign(part.add_subplot(grid[row, 2]), "×")
        sought = part.add_subplot(grid[row, 3])
        Cells(sought, FEATURES[0], say("feature", "特征") if row == 0 else "", **_LETTER)
        sign(part.add_subplot(grid[row, 4]), "=")
        products = window * FEATURES[0]
        Cells(part.add_subplot(grid[row, 5]), products, say("products", "乘积") if row == 0 else "")
        mean = cut(products.mean())
        total = say(
            "mean {total:g}/9\n= {mean}",
            "均值 {total:g}/9\n= {mean}",
            total=products.sum(),
            mean=mean,
        )
        sign(part.add_subplot(grid[row, 6]), total, 13)


def _name_stages(axes: np.ndarray) -> None:
    titles = (
        say("feature", "特征"),
        say("match at every place", "每个位置的匹配程度"),
        say("ReLU", "ReLU"),
    )
    for panel, title in zip(
        axes,
        (*titles, say("pooled 2 × 2", "2 × 2 池化"), say("pooled again", "再池化")),
        strict=True,
    ):
        panel.set_title(title, fontsize=10)


def _draw_stages(axes: np.ndarray, feature: np.ndarray, found: np.ndarray) -> None:
    Cells(axes[0], feature, **_LETTER)
    once = pool(rectify(found))
    for panel, stage in zip(axes[1:], (found, rectify(found), once, pool(once)), strict=True):
        Cells(panel, stage, number=cut, limits=(-1.4, 1.4), size=8)


@styled
def plot_votes() -> Figure:
    """Plot the dense layer's values and votes, and the answers for changed letters."""
    figure = new_figure(10, 8)
    above, below = split(figure, 2, 1, height_ratios=(1, 1.5))
    _draw_dense(above.subplots())
    changes: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
        (say("unchanged", "原样"), lambda picture: picture),
        (say("shifted down, right", "向右下平移"), lambda picture: shift(picture, 1, 1)),
        (say("shifted up, left", "向左上平移"), lambda picture: shift(picture, -1, -1)),
        (say("rotated 15° left", "左转 15°"), lambda picture: rotate(picture, 15)),
        (say("rotated 20° right", "右转 20°"), lambda picture: rotate(picture, -20)),
        (say("thickened", "加粗"), thicken),
    ]
    grid = below.subplots(4, len(changes), height_ratios=(3, 1, 3, 1))
    for row, letter in ((0, X), (2, O)):
        for col, (name, change) in enumerate(changes):
            Cells(grid[row, col], change(letter), name, number=None, **_LETTER)
            _draw_ballot(grid[row + 1, col], vote(look(change(letter))))
    below.suptitle(
        say(
            "changed letters, still recognised: votes (winner coloured)",
            "变形后仍能识别：各自的得票（胜者着色）",
        ),
        fontsize=12,
    )
    return figure


def _draw_dense(axes: Axes) -> None:
    weights = weigh()
    table = np.stack([look(X), look(O), np.asarray(COURSE_VALUES)])
    Cells(axes, table, number=cut, cmap="Greys", limits=(0, 1.6))
    axes.set_aspect("auto")
    axes.set_yticks(
        range(3),
        [
            say("plain X", "标准的 X"),
            say("plain O", "标准的 O"),
            say("the course's new picture", "课程中的新图片"),
        ],
    )
    lines = []
    for letter, colour, row in zip("XO", (ORANGE, BLUE), weights, strict=True):
        voters = np.flatnonzero(row)
        for col in voters:
            box(axes, 0 if letter == "X" else 1, int(col), 1, 1, colour)
            box(axes, 2, int(col), 1, 1, colour)
        terms = " + ".join(f"{COURSE_VALUES[col]:.2f}" for col in voters)
        result = float(row @ table[2])
        lines.append(f"{letter}: ({terms}) / {len(voters)} = {result:.4g}")
    lines.append(
        say("(the course prints 0.92 for X and 0.51 for O)", "（课程中写作：X 为 0.92，O 为 0.51）")
    )
    axes.set_xlabel("\n".join(lines), fontsize=11)
    axes.set_title(
        say(
            "the three 2 × 2 maps as one list: each value votes for the letter that makes it high, "
            "orange for X, blue for O",
            "三张 2 × 2 特征图排成一列：每个值投票给使它变大的字母，橙色投 X，蓝色投 O",
        ),
        fontsize=10,
    )


def _draw_ballot(axes: Axes, votes: np.ndarray) -> None:
    colours = [c if v == votes.max() else "0.8" for c, v in zip((ORANGE, BLUE), votes, strict=True)]
    axes.barh(("X", "O"), votes, color=colours)
    for place, value in enumerate(votes):
        axes.text(value + 0.03, place, cut(value), va="center", fontsize=9)
    axes.set(xlim=(0, 1.35), xticks=[])
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
