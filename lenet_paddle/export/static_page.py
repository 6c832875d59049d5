"""Write the page to draw on as static files that run the model in the visitor's browser.

page/index.html
page/model.json        classes, input, names of the feature maps
page/model.onnx        logits, and the feature maps where the network has convolutions
page/explainer/...     what explains the network, see `explainer.py`
page/static/...        scripts and style
page/static/ort/...    ONNX Runtime Web with its licence
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from lenet_paddle.data.datasets import describe_data
from lenet_paddle.errors import InputError
from lenet_paddle.export.explainer import FOLDER, list_files
from lenet_paddle.files import write_json
from lenet_paddle.runtime import need

SOURCE = Path(__file__).parents[1] / "page"
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")  # from the Python package: npm's has none


def write_static_page(
    folder: Path,
    model: Path,
    description: dict[str, Any],
    features: list[dict[str, Any]],
    explainer: Path | None = None,
) -> None:
    """Write the page for the ONNX file `model` to `folder`, for any static file host.

    `description` is the content of inference.yml, `features` the names and shapes of the maps that
    `model` gives, `explainer` the folder of `explainer.write_explainer`. Raises `InputError` if npm
    is missing or cannot fetch ONNX Runtime Web.
    """
    static = folder / "static"
    static.mkdir(parents=True)
    shutil.copy(SOURCE / "index.html", folder)
    for file in SOURCE.iterdir():
        if file.suffix in (".js", ".css", ".svg") and file.name != "backend-server.js":
            shutil.copy(file, static)
    shutil.copyfile(model, folder / "model.onnx")
    keys = ("classes", "preprocess", "image_size", "input")
    shown = {key: description[key] for key in keys}
    shown["threshold"] = description.get("calibration", {}).get("threshold")
    shown |= describe_data(str(description["dataset"]))
    if explainer:
        shutil.copytree(explainer, folder / FOLDER)
    files = [file.name for file in list_files(folder)]
    shown |= {"features": features, "explainer": files}
    write_json(folder / "model.json", {**shown, "backend": "browser"})
    _fetch_runtime(static / "ort")


def _fetch_runtime(folder: Path) -> None:
    """Write the two files of ONNX Runtime Web that a page needs, and its licence."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(_pack(Path(scratch))) as package:
        for name in RUNTIME_FILES:
            member = package.extractfile(f"package/dist/{name}")
            assert member is not None  # the archive's hash was checked
            with (folder / name).open("wb") as file:
                shutil.copyfileobj(member, file)
    for name in LICENCES:
        shutil.copy(Path(need("onnxruntime").__file__).with_name(name), folder)


def _pack(folder: Path) -> Path:
    """Download npm's package into `folder` and return the archive, after a check of its hash."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            "format page fetches onnxruntime-web with npm, which is missing; install Node.js "
            "with npm (Debian: apt install npm), or leave out page"
        )
    done = subprocess.run([npm, "pack", RUNTIME], cwd=folder, capture_output=True, text=True)
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        said = lines[0].strip() if lines else f"exit status {done.returncode}"
        raise InputError(f"npm cannot fetch {RUNTIME} ({said}); check the network and npm config")
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != RUNTIME_SHA256:
        raise InputError(f"npm fetched another {RUNTIME} than expected; check its registry setting")
    return archives[0]
