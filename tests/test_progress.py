"""When progress is printed, the rate and the time left, with a fake clock."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from lenet_paddle import InputError, progress
from lenet_paddle.progress import Progress, format_seconds, log_to


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (3599.4, "59m59s"),
        (3599.6, "1h00m"),
        (7620, "2h07m"),
        (100 * 3600, "100h00m"),
    ],
)
def test_seconds_are_written_in_the_largest_two_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_log_gets_a_plain_line_every_ten_seconds(clock: _Clock) -> None:
    stream = io.StringIO()
    shown = Progress(1000, "images", stream=stream, plain_seconds=10)
    for second in range(1, 26):
        clock.now = 100.0 + second
        shown.show(second * 20, "epoch 1")
    shown.clear()
    # 20 per second: after 10 s 800 are left, 40 s; after 20 s 600 are left, 30 s.
    assert stream.getvalue() == ("epoch 1  20 images/s  40s left\nepoch 1  20 images/s  30s left\n")


def test_a_terminal_line_is_redrawn_at_most_ten_times_per_second(clock: _Clock) -> None:
    stream = _Terminal()
    shown = Progress(200, "images", stream=stream)
    for step in range(1, 17):
        clock.now = 100.0 + step / 16
        shown.show(5 * step)
    lines = stream.getvalue().split("\r\x1b[2K")
    assert lines[0] == ""
    assert len(lines[1:]) == 8  # every second step: 1/8 s is the first time over 1/10 s
    assert lines[-1] == "80 images/s  2s left"  # 120 left at 80 per second: 1.5 s, rounded
    assert "\n" not in stream.getvalue()
    shown.clear()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_earlier_items_do_not_count_in_the_rate(clock: _Clock) -> None:
    stream = io.StringIO()
    shown = Progress(1000, "images", done=500, stream=stream)
    clock.now += 10
    shown.show(600)
    assert shown.rate == 10.0  # 100 in 10 s
    assert stream.getvalue() == "10 images/s  40s left\n"


def test_no_elapsed_time_gives_a_rate_of_zero(clock: _Clock) -> None:
    shown = Progress(10, "images", stream=io.StringIO(), plain_seconds=0)
    shown.show(0)
    assert shown.rate == 0.0
    assert "0s left" in shown.stream.getvalue()  # type: ignore[attr-defined]


def test_a_pipe_in_the_logs_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.log")
    with pytest.raises(InputError, match=r"train\.log: a pipe"), log_to(tmp_path / "train.log"):
        pass
