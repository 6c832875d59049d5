"""The page's explainer in a real browser: its numbers against Paddle's and NumPy's.

Needs Chromium and playwright (pip install '.[browser]'); the static page also npm.
SCREENSHOTS=folder in the environment saves pictures of the views.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest
from page_help import DIGITS, answering, draw, opened, served, settle
from tools_help import ROOT

from lenet_paddle.analysis.attribution import compute_slopes
from lenet_paddle.analysis.hooks import layer_outputs
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.load import load_dataset
from lenet_paddle.data.preprocess import normalise
from lenet_paddle.export.explainer import PER_CLASS, make_sheet
from lenet_paddle.export.export import export_formats
from lenet_paddle.models import build_model

pytest.importorskip("fastapi_offline")
pytest.importorskip("paddle2onnx")
pytestmark = pytest.mark.slow
PIXELS = """canvas => [canvas.width, canvas.height,
    ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""
FRAME_MS = 16


class Model(NamedTuple):
    """An exported network, and the one that is shown beside it."""

    folder: Path
    network: paddle.nn.Layer
    other: paddle.nn.Layer


def train(name: str, seed: int) -> paddle.nn.Layer:
    """Train a network for 60 steps, so that its answers are not all alike."""
    paddle.seed(seed)
    network, digits = build_model(name), load_dataset("mnist", "train")
    optimizer = paddle.optimizer.Adam(0.002, parameters=network.parameters())
    for step in range(60):
        part = slice(64 * step, 64 * step + 64)
        batch = paddle.to_tensor(normalise(digits.images[part], 28))
        labels = paddle.to_tensor(digits.labels[part].astype(np.int64))
        paddle.nn.functional.cross_entropy(network(batch), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
    network.eval()
    return network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("explained")
    test_set = load_dataset("mnist", "test").take(slice(0, 100))
    info = {"dataset": "mnist", "preprocess": "digit", "test_accuracy": 0.9}
    network, other = train("lenet_relu", 0), train("lenet_modern", 1)
    beside = {**info, "run": "beside", "model": "lenet_modern"}
    export_formats(other, folder / "other", test_set, 28, beside, ("onnx",), is_measured=False)
    formats = ("onnx", "page") if shutil.which("npm") else ("onnx",)
    own = {**info, "run": "own", "model": "lenet_relu"}
    export_formats(
        *(network, folder / "own", test_set, 28, own, formats),
        compare=folder / "other",
        is_measured=False,
    )
    return Model(folder / "own", network, other)


@pytest.fixture(scope="module", params=["server", "static files"])
def address(model: Model, request: pytest.FixtureRequest) -> Iterator[str]:
    with served(model.folder, request.param) as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address, viewport={"width": 1360, "height": 900}) as page:
        yield page


def show(page: Any, view: str, digit: str = "3") -> None:
    """Open a view by its link and draw a digit there."""
    page.evaluate(f"location.hash = '{view}'")
    page.wait_for_selector(f"html[data-view={'play' if view == 'play' else 'network'}]")
    draw(page, DIGITS[digit])


def numbers(text: str) -> list[float]:
    """Return the numbers of a text; the page writes a true minus sign, not a hyphen."""
    found = re.findall(r"(?<![\d.])(?:− ?)?\d+(?:\.\d+)?", text)
    return [float(number.replace("−", "-").replace(" ", "")) for number in found]


def grid(page: Any, kind: str) -> np.ndarray:
    """Return the numbers of every window or kernel of the card, (maps, cells)."""
    script = "grids => grids.map(grid => [...grid.children].map(cell => cell.textContent))"
    rows = page.eval_on_selector_all(f"#sum-card .numbers.{kind}", script)
    return np.array([[float(text.replace("−", "-")) for text in row] for row in rows])


def seen(page: Any) -> np.ndarray:
    """Return the network's input, float32 (1, 1, 28, 28), from the picture that the page shows."""
    width, height, *pixels = page.eval_on_selector("#seen", PIXELS)
    grey = np.array(pixels, np.uint8).reshape(height, width, 4)[..., 0]
    return normalise(grey[None], 28)


def place(page: Any) -> tuple[int, int, int]:
    """Return map, row and column of the explained cell, from 0, by the card's title."""
    title = page.inner_text("#cell-title")
    found = re.search(r"map (\d+) of \d+ · row (\d+), column (\d+)", title)
    assert found, title
    number, row, column = (int(text) - 1 for text in found.groups())
    return number, row, column


def outputs_of(model: Model, page: Any) -> list[np.ndarray]:
    """Return what Paddle computes for the drawing, layer by layer, without the batch."""
    return [output[0] for output in layer_outputs(model.network, seen(page)).values()]


def close(actual: Any, expected: Any, tolerance: float = 1e-3) -> None:
    np.testing.assert_allclose(actual, expected, atol=tolerance)


@pytest.mark.parametrize(("view", "layer"), [("convolution", 0), ("inside", 3)])
def test_a_convolutions_card_has_window_kernel_sums_and_bias(
    page: Any, model: Model, view: str, layer: int
) -> None:
    show(page, view)
    conv, maps = model.network[layer], [seen(page)[0], *outputs_of(model, page)]
    number, row, column = place(page)
    pad, side = conv._updated_padding[0], conv.weight.shape[2]
    padded = np.pad(maps[layer], ((0, 0), (pad, pad), (pad, pad)))
    window = padded[:, row : row + side, column : column + side]
    kernel = conv.weight.numpy()[number]
    close(grid(page, "window"), window.reshape(len(window), -1), 0.006)
    close(grid(page, "kernel"), kernel.reshape(len(kernel), -1), 0.006)
    sums = [numbers(text)[0] for text in page.locator(".block .result").all_inner_texts()]
    close(sums, (window * kernel).sum(axis=(1, 2)))
    bias = float(conv.bias.numpy()[number])
    *terms, shown_bias, value = numbers(page.inner_text("#sum-card .formula"))
    close(terms, sums)
    close([shown_bias, value], [bias, (window * kernel).sum() + bias])
    close(value, maps[layer + 1][number, row, column])
    assert value == pytest.approx(maps[layer + 1].max(), abs=1e-3)  # first the strongest cell


def test_pooling_names_the_winner(page: Any, model: Model) -> None:
    show(page, "pooling", "5")
    maps = outputs_of(model, page)
    number, row, column = place(page)
    window = maps[1][number, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    close(grid(page, "window"), [window.ravel()], 0.006)
    marked = page.eval_on_selector_all(
        ".numbers.window span", "cells => cells.map(cell => cell.className.includes('marked'))"
    )
    assert marked.index(True) == window.argmax() and sum(marked) == 1
    count, value, *where = numbers(page.inner_text("#sum-card .formula"))
    close([count, value], [4, window.max()])
    assert where == [window.argmax() // 2 + 1, window.argmax() % 2 + 1]
    close(value, maps[2][number, row, column])


def test_relu_shows_before_and_after(page: Any, model: Model) -> None:
    show(page, "convolution", "7")
    page.focus("#columns")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_selector("#sum-card[data-kind=relu]")
    for _ in range(40):
        page.keyboard.press("ArrowLeft")  # to the border, where much is below 0
    for _ in range(6):
        page.keyboard.press("Shift+ArrowUp")
    page.wait_for_timeout(100)
    maps = outputs_of(model, page)
    cell = place(page)
    assert cell[0] == 0 and cell[2] == 0
    before, after = numbers(page.inner_text("#sum-card .formula"))[:2]
    close([before, after], [maps[0][cell], maps[1][cell]])


def test_a_linear_unit_lists_its_largest_contributions(page: Any, model: Model) -> None:
    show(page, "linear", "8")
    maps = outputs_of(model, page)
    unit = int(re.search(r"unit (\d+)", page.inner_text("#cell-title"))[1]) - 1
    weight, bias = model.network[7].weight.numpy()[:, unit], model.network[7].bias.numpy()[unit]
    products = maps[5].ravel() * weight
    order = np.argsort(-abs(products))[:8]
    rows = page.locator("#sum-card .parts .product").all_inner_texts()
    expected = np.stack([maps[5].ravel()[order], weight[order], products[order]], axis=1)
    close([numbers(row) for row in rows], expected, 2e-3)
    names = page.locator("#sum-card .parts .name").all_inner_texts()
    places = np.stack(np.unravel_index(order, (16, 5, 5)), axis=1) + 1
    assert [numbers(name) for name in names] == places.tolist()
    total, rest, others, shown_bias, value = numbers(page.inner_text("#sum-card .formula"))
    assert others == 392
    close([total, rest], [products[order].sum(), products.sum() - products[order].sum()])
    close([shown_bias, value, value], [bias, products.sum() + bias, maps[7][unit]])
    assert "16 maps × 5 × 5 = 400" in page.inner_text("#sum-card .note")


def test_softmax_has_logits_powers_and_shares(page: Any, model: Model) -> None:
    show(page, "softmax", "2")
    [*_, logits] = outputs_of(model, page)
    powers = np.exp(logits - logits.max())
    rows = page.locator("#sum-card tbody tr").all_inner_texts()
    found = [row.split("\t") for row in rows]
    order = [int(row[0]) for row in found]
    assert order == np.argsort(-powers).tolist()
    close([float(row[1].replace("−", "-")) for row in found], logits[order])
    large = [k for k, row in enumerate(found) if "10" not in row[3]]  # not as a power of ten
    shares = powers / powers.sum()
    close([float(found[k][2]) for k in large], powers[order][: len(large)])
    close([float(found[k][3]) for k in large], shares[order][: len(large)])
    meters = page.locator("#bars [role=meter]").all()
    close([float(meter.get_attribute("aria-valuenow")) for meter in meters], shares)
    assert page.inner_text("#cell-title") == f"Softmax · {logits.argmax()}"


def test_keys_move_fix_and_leave_and_are_spoken(page: Any) -> None:
    show(page, "network")
    page.focus("#columns")
    first = place(page)
    step = "ArrowDown" if first[1] < 20 else "ArrowUp"
    page.keyboard.press(step)
    page.wait_for_timeout(100)
    moved = place(page)
    assert moved == (first[0], first[1] + (1 if step == "ArrowDown" else -1), first[2])
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    assert page.inner_text("#fixed") != ""
    box = page.locator("#columns").bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2)
    page.wait_for_timeout(100)
    assert place(page) == moved  # it stays
    said = rf"Convolution 1 · map {moved[0] + 1} of 6 · row {moved[1] + 1}, .* bias .* it is .*\."
    expect_text(page, "#live", said)
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert page.inner_text("#fixed") == ""
    page.mouse.move(box["x"] + 34, box["y"] + box["height"] / 2 + 20)
    page.wait_for_timeout(100)
    assert page.inner_text("#cell-title").startswith("Input")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") != "columns"


def expect_text(page: Any, selector: str, pattern: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(re.compile(pattern), timeout=30_000)


def test_a_finger_fixes_a_cell_and_points_into_the_enlarged_map(browser: Any, address: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, address, **phone) as page:
        show(page, "convolution")
        canvas = page.locator("#sum-card .after canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        cell = box["width"] / 28
        page.touchscreen.tap(box["x"] + 10.5 * cell, box["y"] + 4.5 * cell)
        page.wait_for_timeout(200)
        assert place(page)[1:] == (4, 10) and page.inner_text("#fixed") != ""
        for view in ("network", "play"):
            page.evaluate(f"location.hash = '{view}'")
            page.wait_for_timeout(200)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_window_follows_the_pointer_in_the_map_before(page: Any) -> None:
    show(page, "convolution")
    box = page.locator("#sum-card .before canvas").bounding_box()
    cell = box["width"] / 28
    page.mouse.move(box["x"] + 12.5 * cell, box["y"] + 7.5 * cell)
    page.wait_for_timeout(100)
    assert place(page)[1:] == (7, 12)  # the window's middle


def test_step_by_step_visits_cell_after_cell(page: Any) -> None:
    show(page, "convolution")
    number = place(page)[0]
    page.click("#run-cell")
    expect_text(page, "#cell-title", f"map {number + 1} of 6 · row 1, column [3-9]")
    assert page.inner_text("#run-cell") == "Stop"
    page.click("#run-cell")
    page.wait_for_timeout(50)
    stopped = place(page)
    page.wait_for_timeout(400)
    assert place(page) == stopped


def test_saliency_has_the_signs_of_paddles_gradient(page: Any, model: Model) -> None:
    show(page, "why", "9")
    page.wait_for_timeout(600)
    batch = seen(page)
    [logits] = model.network(paddle.to_tensor(batch)).numpy()
    [slope] = compute_slopes(model.network, batch, np.array([logits.argmax()]))
    assert page.inner_text("#why-title") == f"What speaks for {logits.argmax()}"
    for selector, expected in (("#slope", slope), ("#ink", slope * (batch[0, 0] + 1))):
        width, height, *pixels = page.eval_on_selector(selector, PIXELS)
        assert (width, height) == (28, 28)
        red, _, blue, _ = np.array(pixels, float).reshape(28, 28, 4).transpose(2, 0, 1)
        clear = abs(expected) > 0.1 * abs(expected).max()
        assert clear.sum() > 20
        assert ((blue > red) == (expected > 0))[clear].all()
        strongest = np.unravel_index(abs(expected).argmax(), expected.shape)
        colour = [42, 75, 215] if expected[strongest] > 0 else [217, 96, 31]
        at = 4 * (strongest[0] * 28 + strongest[1])
        assert pixels[at : at + 3] == colour


def test_the_nearest_training_digits_are_those_of_the_last_hidden_layer(
    page: Any, model: Model
) -> None:
    show(page, "why", "4")
    expect_text(page, "#neighbours-text", r"among 1000 training digits")
    page.wait_for_timeout(300)
    sheet = make_sheet().reshape(10, 28, PER_CLASS, 28).transpose(0, 2, 1, 3).reshape(-1, 28, 28)
    hidden = list(layer_outputs(model.network, normalise(sheet, 28)).values())[-2]
    own = list(layer_outputs(model.network, seen(page)).values())[-2]
    distances = np.sqrt(((hidden - own) ** 2).sum(axis=1))
    order = np.argsort(distances)[:8]
    captions = page.locator("#neighbours figcaption").all_inner_texts()
    labels, shown = zip(*(caption.split(" · ") for caption in captions), strict=True)
    assert [int(label) for label in labels] == (order // PER_CLASS).tolist()
    close([float(text) for text in shown], distances[order], 0.06)
    first = page.eval_on_selector("#neighbours canvas", PIXELS)
    close(np.array(first[2::4]).reshape(28, 28), sheet[order[0]], 2)


def test_another_network_answers_for_the_same_drawing(page: Any, model: Model) -> None:
    show(page, "why", "6")
    page.wait_for_timeout(500)
    assert page.locator("#names b").all_inner_texts() == ["lenet_relu, own", "lenet_modern, beside"]

    def shares() -> dict[int, list[float]]:
        rows = [row.split("\n") for row in page.locator("#beside li").all_inner_texts()]
        return {int(row[0]): [float(text.rstrip("%")) / 100 for text in row[1:]] for row in rows}

    batch = paddle.to_tensor(seen(page))
    expected = [paddle.nn.functional.softmax(n(batch)).numpy()[0] for n in model[1:]]
    shown = shares()
    assert len(shown) == 5
    for k, pair in shown.items():
        close(pair, [one[k] for one in expected], 6e-4)
    page.fill("#noise", "100")
    page.wait_for_timeout(100)
    assert shares() != shown


def test_a_convolution_is_played_by_hand(page: Any) -> None:
    page.evaluate("location.hash = 'play'")
    values = []
    for step in range(9):
        page.fill("#step", str(step))
        values.append(numbers(page.inner_text("#sum"))[-1])
    assert values == [4, 3, 4, 2, 4, 3, 2, 3, 4]
    assert page.inner_text("#place") == "Step 9 of 9: row 3, column 3"
    page.locator("#weights input").nth(4).fill("-2")  # the middle of the kernel
    assert numbers(page.inner_text("#sum"))[-1] == 4 - 3 * 1
    page.fill("#step", "0")
    page.click("#run")
    expect_text(page, "#place", "Step [3-9] of 9")
    page.click("#run")


@pytest.mark.parametrize(
    ("settings", "formula", "said"),
    [
        ((32, 5, 0, 1), "(32 − 5 + 0) / 1 + 1 = 28", "28 × 28"),
        ((28, 3, 1, 1), "(28 − 3 + 2) / 1 + 1 = 28", "28 × 28"),
        ((32, 5, 0, 2), "(32 − 5 + 0) / 2 + 1 = 14.5", "end in column 33, but there are only 32"),
        ((32, 5, 0, 2), "= 14.5", "It fits with N = 31, 33; S = 1, 3."),
        ((3, 5, 0, 1), "(3 − 5 + 0) / 1 + 1 = -1", "larger than the padded input"),
    ],
)
def test_the_output_size_is_computed_and_explained(
    page: Any, settings: tuple[int, ...], formula: str, said: str
) -> None:
    page.evaluate("location.hash = 'play'")
    page.wait_for_selector("#play-card:visible")
    for name, value in zip("NFPS", settings, strict=True):
        page.fill(f"#{name}", str(value))
    assert formula in page.inner_text("#size") and said in page.inner_text("#fit")


def test_the_networks_kernel_is_played_on_the_drawing(page: Any, model: Model) -> None:
    show(page, "play", "2")
    page.select_option("#source", "seen")
    page.select_option("#kernel", "3")
    image = np.pad(seen(page)[0, 0], 1)
    kernel = model.network[0].weight.numpy()[3, 0].round(2)
    assert page.inner_text("#place").startswith("Step 1 of 784")
    for step in (0, 300, 407, 783):
        page.fill("#step", str(step))
        row, column = divmod(step, 28)
        expected = (image[row : row + 3, column : column + 3] * kernel).sum()
        close(numbers(page.inner_text("#sum"))[-1], expected, 0.02)


def test_chinese_and_dark_are_followed(browser: Any, address: str) -> None:
    options = {"locale": "zh-CN", "color_scheme": "dark"}
    with opened(browser, address, **options) as page:
        show(page, "convolution")
        assert re.match(
            r"第 1 个卷积 · 6 张特征图中的第 \d 张 · 第", page.inner_text("#cell-title")
        )
        text = page.inner_text("main")
        assert not re.search(r"[a-z]{3,} [a-z]{2,}", text.replace("lenet_relu, own", "")), text
        page.click("#language")
        assert page.inner_text("#cell-title").startswith("Convolution 1 · map")
        colour = page.evaluate("getComputedStyle(document.querySelector('.network')).background")
        assert max(numbers(colour)[:3]) < 100


def test_until_something_is_drawn_an_example_is_explained(page: Any) -> None:
    page.evaluate("location.hash = 'network'")
    page.wait_for_selector("#example:visible")
    assert page.inner_text("#cell-title").startswith("Convolution 1")
    draw(page, DIGITS["1"])
    assert page.is_hidden("#example")
    page.click("#clear")
    settle(page)
    assert page.is_visible("#example")


def test_a_link_opens_its_view(browser: Any, address: str) -> None:
    first = {
        "network": "Convolution 1", "convolution": "Convolution 1", "relu": "ReLU 1",
        "pooling": "Max pooling 1", "inside": "Convolution 2", "linear": "Linear layer 1",
        "softmax": "Softmax",
    }  # fmt: skip
    with browser.new_context(locale="en-US") as context:
        page = context.new_page()
        for view, title in first.items():
            page.goto(f"{address}#{view}")
            expect_text(page, "#cell-title", f"^{title} ")
        page.goto(f"{address}#play")
        page.wait_for_selector("#play-card:visible")
        page.goto(f"{address}#answer")
        page.wait_for_selector("#bars:visible")
        assert page.is_hidden("#play-card") and page.is_hidden("#columns")


def test_drawing_asks_nobody_but_the_pages_server(page: Any, address: str) -> None:
    show(page, "why", "7")
    expect_text(page, "#neighbours-text", r"among 1000 training digits")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(address)))
    draw(page, DIGITS["1"])
    for view in ("convolution", "softmax", "play"):
        page.evaluate(f"location.hash = '{view}'")
    page.wait_for_timeout(300)
    assert set(asked) <= {"features", "static/icon.svg"}  # Chromium fetches the icon again


def test_a_picture_in_colour_is_explained_channel_by_channel(
    browser: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    paddle.seed(3)
    network = build_model("lenet_sequential", 3, 3, 32)
    pictures = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    test_set = ImageSet(pictures, np.arange(20) % 3, ("red", "green", "blue"))
    info = {"dataset": "folder", "preprocess": "resize", "test_accuracy": 0.3}
    export_formats(network, tmp_path / "a", test_set, 32, info, ("onnx",), is_measured=False)
    command = [ROOT / "tools" / "serve.py", "--model", tmp_path / "a", "--port", 0]
    with answering(*command) as url, opened(browser, url) as page:
        show(page, "convolution")
        width, height, *pixels = page.eval_on_selector("#seen", PIXELS)
        picture = np.array(pixels, np.uint8).reshape(1, height, width, 4)[..., :3]
        image = np.pad(normalise(picture, 32)[0], ((0, 0), (1, 1), (1, 1)))
        number, row, column = place(page)
        window = image[:, row : row + 3, column : column + 3]
        kernel = network[0].weight.numpy()[number]
        sums = [numbers(text)[0] for text in page.locator(".block .result").all_inner_texts()]
        close(sums, (window * kernel).sum(axis=(1, 2)))
        assert page.is_hidden("#neighbours") and page.is_hidden("#beside")


def test_drawing_stays_within_a_frame(page: Any) -> None:
    show(page, "network", "8")
    page.evaluate("performance.clearMeasures()")
    for digit in ("3", "5", "9"):
        draw(page, DIGITS[digit])
    durations = page.evaluate(
        "performance.getEntriesByName('explain', 'measure').map(entry => entry.duration)"
    )
    print(f"explain: {np.percentile(durations, [25, 50, 75]).round(1)} ms of {len(durations)}")
    assert np.percentile(durations, 25) < FRAME_MS  # others may use the processor, too


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS=folder is not set")
def test_screenshots_of_the_views(browser: Any, address: str) -> None:
    views: dict[str, tuple[str, str, dict[str, Any]]] = {
        "network": ("network", "3", {}),
        "network-dark": ("inside", "5", {"color_scheme": "dark"}),
        "network-chinese": ("softmax", "7", {"locale": "zh-CN"}),
        "network-phone": ("convolution", "2", {"viewport": {"width": 390, "height": 844}}),
        "play": ("play", "4", {}),
    }
    for name, (view, digit, options) in views.items():
        with opened(
            browser, address, **{"viewport": {"width": 1360, "height": 900}, **options}
        ) as page:
            show(page, view, digit)
            page.wait_for_timeout(1000)
            path = Path(os.environ["SCREENSHOTS"]) / f"{name}.png"
            page.screenshot(path=path, full_page=True)
            assert path.stat().st_size > 20_000
