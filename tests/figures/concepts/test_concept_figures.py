"""Figures that explain an idea: what they show is what is computed."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from figures_help import draw, refusal, texts_of
from PIL import Image

from lenet_paddle.figures.concepts.convolution import (
    Sliding,
    _Scene,
    animate_convolution,
    choose_places,
    find_sliding,
    read_sliding,
)
from lenet_paddle.figures.options import VisualizeConfig
from lenet_paddle.figures.style import render
from lenet_paddle.figures.subject import choose_picture, load_subject


def test_convolution_draws_one_place_the_channels_and_the_slide() -> None:
    drawn = draw("convolution", images=["3"])
    assert list(drawn) == ["convolution", "convolution-channels", "convolution-sliding"]
    assert "vertical edges (Sobel) of mnist test image 3" in texts_of(drawn["convolution"])
    text = texts_of(drawn["convolution-channels"])
    assert "8 × 8 × 3 → 8 × 8 × 2" in text and "56 parameters" in text
    frames = drawn["convolution-sliding"]
    assert frames.ndim == 4 and all((a != b).any() for a, b in itertools.pairwise(frames))


ROWS = "1 1 1 0 0/0 1 1 1 0/0 0 1 1 1/0 0 1 1 0/0 1 1 0 0"


def test_a_kernel_and_a_picture_in_numbers_give_the_sums_by_hand() -> None:
    drawn = draw("convolution", kernel="1 0 1/0 1 0/1 0 1", picture=ROWS)
    assert list(drawn) == ["convolution", "convolution-sliding"]
    picture, answer, *_ = drawn["convolution"].axes
    assert [text.get_text() for text in picture.texts] == ROWS.replace("/", " ").split()
    assert [text.get_text() for text in answer.texts] == [
        "4",
        "3",
        "4",
        "2",
        "4",
        "3",
        "2",
        "3",
        "4",
    ]
    assert len(drawn["convolution-sliding"]) == 9  # a frame for each place


def test_a_kernel_in_numbers_slides_over_a_chosen_digit_and_a_picture_is_seen_by_sobel() -> None:
    digit = read_sliding(VisualizeConfig("convolution", kernel="0, 1/1, 0", images=["3"]))
    assert digit.picture.shape == (28, 28) and "image 3" in digit.title
    assert digit.compute_map().shape == (27, 27)
    own = read_sliding(VisualizeConfig("convolution", picture=" 0 0 1 / 0 0 1 / 0 0 1"))
    assert own.compute_map().tolist() == [[4]]


@pytest.mark.parametrize(("side", "kernel", "stride"), [(28, 3, 1), (5, 3, 1), (9, 3, 2)])
def test_each_value_of_the_map_stands_where_the_middle_of_its_window_is(
    side: int, kernel: int, stride: int
) -> None:
    sliding = Sliding(np.eye(side), np.ones((kernel, kernel)), stride=stride)
    scene = _Scene(sliding)
    render(scene.figure)
    picture, answer = scene.figure.axes[:2]
    for row, col in ((0, 0), (0, 1), (1, 0)):
        middle = np.array((col, row)) * stride + (kernel - 1) / 2
        seen = picture.transData.transform(middle) - picture.transAxes.transform((0, 0))
        shown = answer.transData.transform((col, row)) - answer.transAxes.transform((0, 0))
        np.testing.assert_allclose(shown, seen, atol=0.5)  # pixels: cells are square, of one size


def test_a_frame_drawn_on_the_still_part_is_the_whole_figure_drawn_anew() -> None:
    sliding = Sliding(np.eye(6) * 255, np.ones((3, 3)), title="eye")
    frames = animate_convolution(sliding, 8)
    scene = _Scene(sliding)
    render(scene.figure, dpi=72)
    scene.figure.set_layout_engine("none")  # as there: laid out once
    for number in (0, len(frames) - 1):
        scene.show_until(int(choose_places(scene.map, 8)[number]))
        whole = render(scene.figure, dpi=72)
        assert (frames[number] != whole).mean() < 0.001  # where the frame crosses an axis


def test_each_operator_has_a_file_of_its_own() -> None:
    assert list(draw("operators")) == [
        "operators",
        *("operators-1x1", "operators-strided", "operators-dilated", "operators-transposed"),
        *("operators-3d", "operators-spatially-separable", "operators-depthwise-separable"),
        "operators-grouped",
    ]


def test_a_layer_that_does_not_see_the_picture_is_refused(run: str) -> None:
    message = refusal("convolution", "--run", run, "--layer", "features.3")
    assert "features.3" in message and message.endswith("features.0")


def test_padding_says_why_14_and_a_half_is_no_size() -> None:
    text = texts_of(draw("padding", stride=2)["padding"])
    assert "(32 − 5 + 2·0) / 2 + 1 = 14.5" in text
    assert (
        "does not fit: 1 of 32 pixels left over after 14 windows" in text
        and "rounds down to 14" in text
    )
    assert "63 of 1024 pixels never seen" in text  # a row and a column of 32
    text = texts_of(draw("padding", stride=3)["padding"])
    assert "/ 3 + 1 = 10" in text and "does not fit" not in text


def test_xo_shows_the_courses_numbers_and_the_votes() -> None:
    drawn = draw("xo")
    text = texts_of(drawn["xo"])
    assert "max of 0.77, -0.11,\n-0.11, 1.00\nis 1.00" in text and "mean 5/9\n= 0.55" in text
    assert "/ 5 = 0.912" in texts_of(drawn["xo-votes"])


def test_kernels_show_each_sum_and_take_a_picture_of_the_users(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    Image.fromarray(rng.integers(0, 256, (300, 400)).astype(np.uint8)).save(tmp_path / "own.png")
    text = texts_of(draw("kernels", images=[str(tmp_path / "own.png")])["kernels"])
    assert "own.png" in text and text.count("1/9") == 9
    assert re.findall(r"sum (\d)", text) == list("11100001")


def test_kernels_fall_back_to_a_digit_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert "mnist test image 0" in texts_of(draw("kernels")["kernels"])
    assert caplog.text.count("pip install '.[vision]'") == 1


def test_a_runs_convolution_is_what_its_layer_computes(run: str) -> None:
    import paddle

    config = VisualizeConfig("convolution", run=[run], images=["7"])
    sliding, digit = find_sliding(config)
    subject = load_subject(config)
    with paddle.no_grad():
        batch = paddle.to_tensor(subject.normalise(digit[None]))
        maps = subject.network.features[0](batch)[0].numpy()
    number = int(re.findall(r"kernel (\d)", sliding.title)[0])
    np.testing.assert_allclose(sliding.compute_map(), maps[number - 1], atol=1e-5)
    np.testing.assert_array_equal(digit, choose_picture(config).image)


def test_activations_measure_only_with_a_run(run: str) -> None:
    assert "features" not in texts_of(draw("activations")["activations"])
    text = texts_of(draw("activations", run=[run])["activations"])
    assert "features.1 (ReLU)" in text and "features.4 (ReLU)" in text
    assert "300 mnist test images" in text
    chosen = draw("activations", run=[run], images=["3", "4"])["activations"]
    assert "2 chosen pictures" in texts_of(chosen)


def test_dropout_takes_the_runs_last_hidden_layer(run: str) -> None:
    assert "of 84 units dropped" in texts_of(draw("dropout", run=[run])["dropout"])
    assert "of 120 units dropped" in texts_of(draw("dropout")["dropout"])
