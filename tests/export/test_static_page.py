"""The page's files and their two languages; the static page, without npm."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from lenet_paddle.errors import InputError
from lenet_paddle.export import static_page

PAGE = static_page.SOURCE
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in PAGE.glob("*.js")}
DESCRIPTION = {
    "classes": ["a", "b"],
    "preprocess": "resize",
    "image_size": 64,
    "input": {"name": "image", "shape": [-1, 3, 64, 64]},
    "dataset": "folder",
    "model": "mlp",
}


def list_texts() -> set[str]:
    """Return every text of the page, and every sentence in its scripts."""
    texts = set(re.findall(r"data-say>([^<]+)<", HTML))
    texts |= set(re.findall(r'data-say-label="([^"]+)"', HTML))
    code = "".join(code for name, code in SCRIPTS.items() if not name.startswith("words"))
    spoken = re.findall(r'"([A-Z{][^"\n]* [^"\n]*)"', code)
    return texts | set(spoken) | set(re.findall(r'say\("([^"]+)"', code))


def chinese() -> set[str]:
    words = "".join(code for name, code in SCRIPTS.items() if name.startswith("words"))
    return set(re.findall(r'^ {4}"(.+?)":', words, re.MULTILINE))


def test_every_text_of_the_page_is_there_in_chinese() -> None:
    assert list_texts() - chinese() == set()


def test_no_chinese_is_left_over() -> None:
    everything = HTML + "".join(
        code for name, code in SCRIPTS.items() if not name.startswith("words")
    )
    assert [text for text in chinese() if text not in everything] == []


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", HTML)
    styles = {path.name: path.read_text() for path in PAGE.glob("*.css")}
    for name, text in {"index.html": HTML, **styles, **SCRIPTS}.items():
        assert not re.search(r"https?://|@import|url\(", text), name


def test_every_file_that_is_named_is_there() -> None:
    for name in re.findall(r'(?:href|src)="static/([^"]+)"', HTML):
        assert (PAGE / name).is_file(), name
    for code in SCRIPTS.values():
        for name in re.findall(r'from "\./([^"]+)"', code):
            assert (PAGE / name).is_file() or name.startswith("ort/"), name


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an npm that packs a small archive on PATH; return a folder with a model.onnx."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as package:
        for name in (*static_page.RUNTIME_FILES, "ort.js"):
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(name)
            package.addfile(info, io.BytesIO(name.encode()))
    (tmp_path / "package.tgz").write_bytes(file.getvalue())
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    monkeypatch.setattr(static_page, "RUNTIME_SHA256", digest)
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n/bin/cp {tmp_path}/package.tgz .\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    (tmp_path / "model.onnx").write_bytes(b"model")
    return tmp_path


def write(folder: Path, **more: object) -> Path:
    features = [{"name": "feature_1", "shape": [6, 28, 28]}]
    page = folder / "page"
    description, explainer = {**DESCRIPTION, **more}, folder / "explainer"
    explainer.mkdir(exist_ok=True)
    (explainer / "network.json").write_text("{}")
    static_page.write_static_page(page, folder / "model.onnx", description, features, explainer)
    return page


def test_the_static_page_is_whole(fake_npm: Path) -> None:
    pytest.importorskip("onnxruntime")
    page = write(fake_npm)
    names = {str(path.relative_to(page)) for path in page.rglob("*") if path.is_file()}
    own = {f"static/{path.name}" for path in PAGE.iterdir()} - {"static/index.html"}
    runtime = {*static_page.RUNTIME_FILES, *static_page.LICENCES}
    expected = own - {"static/backend-server.js"} | {f"static/ort/{name}" for name in runtime}
    assert names == expected | {"index.html", "model.json", "model.onnx", "explainer/network.json"}
    model = json.loads((page / "model.json").read_text())
    assert model["backend"] == "browser" and model["classes"] == ["a", "b"]
    assert model["image_size"] == 64 and model["input"]["shape"] == [-1, 3, 64, 64]
    assert model["explainer"] == ["network.json"]
    assert model["features"] == [{"name": "feature_1", "shape": [6, 28, 28]}]
    assert model["threshold"] is None
    assert "MIT" in (page / "static" / "ort" / "LICENSE").read_text()


def test_the_static_page_knows_the_threshold(fake_npm: Path) -> None:
    pytest.importorskip("onnxruntime")
    calibration = {"temperature": 1.25, "threshold": 5.5, "num_images": 5000}
    page = write(fake_npm, calibration=calibration)
    assert json.loads((page / "model.json").read_text())["threshold"] == 5.5


def test_another_package_than_the_known_one_is_refused(
    fake_npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_page, "RUNTIME_SHA256", "another")
    with pytest.raises(InputError, match="another onnxruntime-web"):
        write(fake_npm)


def test_a_failing_npm_is_one_line(fake_npm: Path) -> None:
    npm = fake_npm / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\necho more >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"cannot fetch .*code ENOTFOUND.*network") as refused:
        write(fake_npm)
    assert "\n" not in str(refused.value)


def test_a_missing_npm_says_how_to_get_it(fake_npm: Path) -> None:
    (fake_npm / "bin" / "npm").unlink()
    with pytest.raises(InputError, match=r"install Node\.js"):
        write(fake_npm)
