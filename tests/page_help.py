"""Handwriting for the page's tests: the ten digits as strokes in a square of side 1."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Strokes = list[list[Point]]


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Points on an ellipse; angles in degrees, clockwise from the right."""
    count = max(2, round(abs(end - start) / 12))
    angles = [math.radians(start + (end - start) * i / count) for i in range(count + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


DIGITS: dict[str, Strokes] = {
    "0": [_arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    "1": [[(0.42, 0.28), (0.54, 0.17), (0.5, 0.83)]],
    "2": [[*_arc(0.48, 0.36, 0.19, 0.18, -160, 40), (0.31, 0.8), (0.72, 0.79)]],
    "3": [[*_arc(0.46, 0.33, 0.17, 0.16, -150, 80), *_arc(0.46, 0.66, 0.2, 0.17, -80, 150)]],
    "4": [[(0.42, 0.18), (0.28, 0.55), (0.72, 0.55)], [(0.62, 0.2), (0.58, 0.85)]],
    "5": [[(0.36, 0.2), (0.33, 0.46), *_arc(0.46, 0.63, 0.2, 0.19, -110, 140)],
          [(0.36, 0.2), (0.68, 0.19)]],
    "6": [[(0.6, 0.17), (0.42, 0.35), (0.33, 0.62), *_arc(0.5, 0.66, 0.17, 0.17, 180, -180)]],
    "7": [[(0.28, 0.22), (0.7, 0.21), (0.46, 0.84)]],
    "8": [[*_arc(0.5, 0.35, 0.15, 0.16, 90, -270), *_arc(0.5, 0.67, 0.19, 0.17, -90, 270)]],
    "9": [[*_arc(0.5, 0.36, 0.17, 0.17, 0, -360), (0.66, 0.5), (0.58, 0.85)]],
}  # fmt: skip


def moved(strokes: Strokes, by: Point = (0, 0), zoom: float = 1) -> Strokes:
    """The strokes drawn smaller around the middle and shifted."""
    (dx, dy), half = by, 0.5
    return [
        [(half + (x - half) * zoom + dx, half + (y - half) * zoom + dy) for x, y in stroke]
        for stroke in strokes
    ]


def sheet(
    strokes: Strokes, side: int, pen: int, by: Point = (0, 0), zoom: float = 1
) -> np.ndarray:
    """The strokes in black on white paper, uint8 (side, side)."""
    paper = Image.new("L", (2 * side, 2 * side), 255)
    draw = ImageDraw.Draw(paper)
    for stroke in moved(strokes, by, zoom):
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        draw.line(points, fill=0, width=2 * pen, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - pen, y - pen, x + pen, y + pen), fill=0)
    return np.asarray(paper.reduce(2))
