"""Figures of the tutorial's first half: their numbers are those that the text works out by hand."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from figures_help import draw, texts_of

from lenet_paddle.figures import words
from lenet_paddle.figures.concepts.connections import connect
from lenet_paddle.figures.concepts.history import ENTRIES
from lenet_paddle.figures.concepts.kinds import LOGITS, plot_kinds
from lenet_paddle.figures.concepts.learning import INPUT, RATES, START, TARGET, descend


def test_softmax_and_sigmoid_are_those_of_paddle() -> None:
    bars = [axes.patches for axes in plot_kinds(np.array(LOGITS)).axes]
    logits = paddle.to_tensor(LOGITS)
    for drawn, function in zip(bars, ("softmax", "sigmoid"), strict=True):
        expected = getattr(paddle.nn.functional, function)(logits).numpy()
        np.testing.assert_allclose([bar.get_height() for bar in drawn], expected, rtol=1e-5)


def test_the_steps_are_those_of_paddles_gradient_descent() -> None:
    parameters = [paddle.create_parameter([], "float32") for _ in START]
    for parameter, start in zip(parameters, START, strict=True):
        parameter.set_value(np.array(start, np.float32))
    optimizer = paddle.optimizer.SGD(0.05, parameters=parameters)
    for weight, bias, loss in descend(0.05, 3):
        squared = (parameters[0] * INPUT + parameters[1] - TARGET) ** 2
        np.testing.assert_allclose(squared.item(), loss, rtol=1e-5)
        np.testing.assert_allclose([p.item() for p in parameters], (weight, bias), rtol=1e-5)
        squared.backward()
        optimizer.step()
        optimizer.clear_grad()


def test_the_learning_rates_drawn_creep_fall_swing_and_grow() -> None:
    creeping, falling, swinging, growing = (descend(rate, 4)[:, 2] for rate in RATES)
    assert falling[4] < 0.1 < creeping[4] < 9 and swinging[4] < 9 < growing[4]
    weights = descend(RATES[2], 2)[:, 0]
    assert weights[0] < 2.2 < weights[1] > weights[2]  # over the goal and back


@pytest.mark.parametrize(("is_local", "count"), [(False, 35), (True, 15)])
def test_connections_are_counted(is_local: bool, count: int) -> None:
    assert len(connect(is_local)) == count


def test_the_connections_name_their_weights_and_fields() -> None:
    drawn = draw("connections")
    assert all(f"{n} weights" in texts_of(drawn["connections"]) for n in (35, 15, 3))
    fields = texts_of(drawn["connections-field"])
    assert all(f"layer {n}: sees {2 * n + 1} pixels" in fields for n in (1, 2, 3))


def test_the_errors_of_imagenet_fall() -> None:
    errors = [entry.error for entry in ENTRIES]
    assert errors == sorted(errors, reverse=True)
    text = texts_of(draw("history")["history"])
    assert all(f"{error:g} %" in text for error in errors)


@pytest.mark.parametrize("what", ["kinds", "learning", "connections", "history"])
def test_teaching_figures_have_chinese_texts(what: str) -> None:
    with words.language("zh"):
        text = "".join(texts_of(figure) for figure in draw(what).values())
    assert any("一" <= sign <= "鿿" for sign in text)
