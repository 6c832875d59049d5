"""Check that the browser finds digits on a page as the package does: page/many.js and data/many.py,
with what they need."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from number_pages import PAPERS, fit_linear, load_digits, make_page
from PIL import Image
from tools_help import ROOT

from lenet_paddle.data.many import find_digits

PAGE = ROOT / "lenet_paddle" / "page"
pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node here")
MODULES = ("plane", "resample", "ink", "digit", "page-ink", "pieces", "many")
SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import { makePlane } from "./plane.js";
import { findDigits } from "./many.js";
const bytes = readFileSync("weights.bin");
const weights = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const score = async (planes) => planes.map(({ data }) => Array.from({ length: 10 }, (_, k) => {
    let sum = weights[7840 + k];
    data.forEach((value, at) => { sum += (value / 255) * weights[at * 10 + k]; });
    return sum;
}));
const answers = [];
for (const [name, height, width] of JSON.parse(readFileSync("job.json"))) {
    const page = makePlane(width, height, Float32Array.from(readFileSync(name)));
    answers.push(await findDigits(page, score));
}
writeFileSync("answer.json", JSON.stringify(answers));
"""


def run_browser(folder: Path, pages: list[np.ndarray], weights: np.ndarray) -> list[Any]:
    """Return the digits that page/many.js finds on pages, uint8 (H, W), with a linear model."""
    for name in MODULES:
        shutil.copy(PAGE / f"{name}.js", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "script.js").write_text(SCRIPT)
    (folder / "weights.bin").write_bytes(weights.astype(np.float32).tobytes())
    job = []
    for number, page in enumerate(pages):
        (folder / f"{number}.bin").write_bytes(page.tobytes())
        job.append([f"{number}.bin", *page.shape])
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run(["node", "script.js"], cwd=folder, check=True)
    found: list[Any] = json.loads((folder / "answer.json").read_text())
    return found


def test_the_browser_finds_the_same_digits_rows_and_numbers(tmp_path: Path) -> None:
    digits, weights = load_digits("val"), fit_linear()
    rng = np.random.default_rng(5)
    pages = [
        make_page(digits.images, digits.labels, paper, rng, 900).picture for paper in PAPERS[2:]
    ]
    pages.append(255 - pages[0])
    pages.append(np.full((300, 400), 240, np.uint8))
    pages.append(np.asarray(Image.fromarray(pages[1]).resize((300, 200))))

    def score(seen: np.ndarray) -> np.ndarray:
        return seen.reshape(len(seen), -1) / 255 @ weights[:-1] + weights[-1]

    found = run_browser(tmp_path, pages, weights)
    same = total = 0
    for page, answer in zip(pages, found, strict=True):
        expected = [
            (d.row, d.number, int(d.logits.argmax()), d.box) for d in find_digits(page, score)
        ]
        actual = [
            (d["row"], d["number"], int(np.argmax(d["logits"])), tuple(d["box"])) for d in answer
        ]
        total += len(expected)
        assert len(actual) == len(expected)
        same += sum(
            a[:3] == b[:3] and np.abs(np.subtract(a[3], b[3])).max() <= 2
            for a, b in zip(actual, expected, strict=True)
        )
    assert total > 40 and same >= 0.98 * total
