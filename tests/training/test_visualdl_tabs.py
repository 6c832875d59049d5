"""Each of VisualDL's tabs shows the data of rich runs in a real browser, and nothing leaves.

Needs Chromium with its driver, and selenium: pip install '.[browser]'. With SCREENSHOTS=folder in
the environment each tab is saved as a picture.
"""

import os
import shutil
from pathlib import Path

import pytest
from tools_help import QUICK, free_port, tool

from lenet_paddle.workflows.monitor import HOST, serving

webdriver = pytest.importorskip("selenium.webdriver")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "lang=en"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    *("window-size=1400,1000",),
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromedriver here"),
]
RUNS = ("first", "second")
WAIT = 60  # seconds until a tab must show its data


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """VisualDL over two finished rich runs."""
    output = tmp_path_factory.mktemp("output")
    for name, model in zip(RUNS, ("lenet_builtin", "lenet5"), strict=True):
        given = ["--vdl", "rich", "--model", model, "--output-dir", output, "--name", name]
        done = tool("train", *QUICK, "--epochs", "2", *given)
        assert done.returncode == 0, done.stderr
    port = free_port()
    with serving(output, port):
        yield f"http://{HOST}:{port}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def tab(browser, address, request):
    """Open a tab; afterwards it must have shown no error and asked nobody else."""

    def show(path):
        browser.get_log("browser")  # forget what was said before
        browser.get(f"{address}/app/{path}")

    yield show
    if "SCREENSHOTS" in os.environ:
        browser.switch_to.default_content()
        name = request.node.name.removeprefix("test_")
        browser.save_screenshot(str(Path(os.environ["SCREENSHOTS"]) / f"{name}.png"))
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [e for e in errors if "dragger.svg" not in e["message"]]  # VisualDL lacks an icon
    urls = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    others = [url for url in browser.execute_script(urls) if not url.startswith(address)]
    assert not [url for url in others if not url.startswith(("blob:", "data:"))]
    text = text_of(browser)
    assert "No visualized data" not in text and "rror" not in text


def text_of(browser):
    return browser.find_element("tag name", "body").text


def wait_until(browser, condition, what):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, WAIT).until(lambda _: condition(), what)


def wait_for_texts(browser, *texts):
    wait_until(browser, lambda: all(text in text_of(browser) for text in texts), f"{texts}")


def open_groups(browser, *names):
    """Open the folded groups of tags of these names."""
    for name in names:
        wait_for_texts(browser, name)
        for title in browser.find_elements("xpath", f"//*[text()='{name}']"):
            browser.execute_script("arguments[0].parentElement.click()", title)


def drawn(browser, selector, script):
    """How many elements of `selector` are of some size and hold what `script` asks for."""
    found = browser.find_elements("css selector", selector)
    big = [e for e in found if e.size["width"] > 100 and e.size["height"] > 50]
    return sum(bool(browser.execute_script(script, element)) for element in big)


# A 2-D canvas on which more than one colour was drawn.
PAINTED = """
const canvas = arguments[0], pixels = new Uint32Array(
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
return pixels.some(pixel => pixel !== pixels[0]);"""
IMAGE_TITLES = "//h4[contains(text(), '/')]"
LOADED = "return arguments[0].complete && arguments[0].naturalWidth > 100"


def test_scalars(browser, tab):
    tab("scalar")
    wait_for_texts(browser, "train", "val", "test", *(f"/{run}/vdl" for run in RUNS))
    open_groups(browser, "train", "val")
    wait_until(browser, lambda: drawn(browser, "canvas", PAINTED) >= 7, "seven curves")


def test_images(browser, tab):
    tab("sample/image")
    wait_for_texts(browser, "network/filters", "network/feature_maps", "Sample: 1/2")
    open_groups(browser, "val", "train")
    tags = ("val/roc", "val/precision_recall", "val/worst_mistakes", "train/samples")
    wait_for_texts(browser, *tags)
    for count, image in enumerate(browser.find_elements("xpath", IMAGE_TITLES), start=1):
        browser.execute_script("arguments[0].scrollIntoView()", image)  # only then it is loaded
        wait_until(browser, lambda: drawn(browser, "img", LOADED) >= count, f"{count} images")  # noqa: B023
    assert count == 2 * 6


def test_text(browser, tab):
    tab("sample/text")
    wait_for_texts(browser, "What is logged")
    open_groups(browser, "network", "settings")
    wait_for_texts(browser, "in all 61,610 parameters", "learning_rate: 0.001")


def test_histograms(browser, tab):
    tab("histogram")
    wait_for_texts(browser, "activations", "gradients", "weights")
    wait_until(browser, lambda: drawn(browser, "canvas", PAINTED) >= 20, "two runs' activations")
    open_groups(browser, "gradients")
    wait_until(browser, lambda: drawn(browser, "canvas", PAINTED) >= 40, "and gradients")


def test_hyperparameters(browser, tab):
    tab("hyper-parameter")
    wait_for_texts(browser, "learning_rate", "test/accuracy", *(f"/{run}/vdl" for run in RUNS))
    cells = text_of(browser).split("\n")
    for run in RUNS:
        start = next(i for i, cell in enumerate(cells) if cell.endswith(f"/{run}/vdl"))
        row = cells[start:][:9]
        assert row[3] == "64" and row[5] == "0.001"
        assert 0 < float(row[7]) <= 1 and 0 < float(row[8]) <= 1  # the accuracies
    browser.find_element("xpath", "//*[text()='Parallel Coordinates View']").click()
    count = "return document.querySelectorAll(arguments[0]).length"
    wait_until(browser, lambda: browser.execute_script(count, "path.line") == 2, "a line a run")
    browser.find_element("xpath", "//*[text()='Scatter Plot Matrix View']").click()
    wait_until(browser, lambda: browser.execute_script(count, ".dots circle") >= 24, "dots")


def test_graph(browser, tab):
    tab("graph/dynamic_graph")
    wait_for_texts(browser, *RUNS)
    browser.find_element("xpath", f"//*[text()='{RUNS[0]}']").click()
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    wait_for_texts(browser, "LeNet", "1×28×28")
    browser.find_element("css selector", ".node-item-buttons").click()  # unfold the network
    wait_for_texts(browser, "Sequential")
    browser.switch_to.default_content()


def test_high_dimensional(browser, tab):
    tab("high-dimensional")
    wait_for_texts(browser, "features_epoch_0001", "Points: 300", "Total variance described")
    wait_until(browser, lambda: "described: 0.00%" not in text_of(browser), "principal axes")
    assert drawn(browser, "canvas", "return arguments[0].width > 0") >= 1
    for label in ("No color map", "class"):  # colour by class
        for element in browser.find_elements("xpath", f"//*[text()='{label}']"):
            browser.execute_script("arguments[0].click()", element)
    wait_until(browser, lambda: "No color map" not in text_of(browser), "a colour for each class")
