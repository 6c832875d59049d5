"""Run a server with a small model whose answers NumPy can compute."""

import io
import json
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tools_help import tool_command

httpx = pytest.importorskip("httpx")
onnx = pytest.importorskip("onnx")
pytest.importorskip("fastapi_offline")

CLASSES = ("zero", "one", "two")


def draw_weights(channels, size):
    shape = (channels * size * size, len(CLASSES))
    return np.random.default_rng(0).normal(0, 0.05, shape).astype(np.float32)


WEIGHTS = draw_weights(1, 28)


def write_model(folder, channels=1, size=28):
    """Write model.onnx, logits = image @ weights, and features.onnx, with the image as its map.

    The description of a model for grey 28x28 has no image_size, as old exports.
    """
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    shape = [channels, size, size]
    image = helper.make_tensor_value_info("image", float32, ["batch", *shape])
    logits = helper.make_tensor_value_info("logits", float32, ["batch", 3])
    maps = helper.make_tensor_value_info("feature_1", float32, ["batch", *shape])
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    weights = onnx.numpy_helper.from_array(draw_weights(channels, size), "weights")
    of_image = helper.make_node("Relu", ["image"], ["feature_1"])
    for name, parts, outputs in (
        ("model", nodes, [logits]),
        ("features", [*nodes, of_image], [logits, maps]),
    ):
        graph = helper.make_graph(parts, name, [image], outputs, [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / f"{name}.onnx")
    description = {
        "dataset": "mnist",
        "preprocess": "resize",
        "input": {"name": "image", "dtype": "float32", "shape": [-1, *shape]},
        "classes": list(CLASSES),
        "engine": "onnx",
        "features": [{"name": "feature_1", "shape": shape}],
    }
    if shape != [1, 28, 28]:
        description["image_size"] = size
    (folder / "inference.yml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return folder


class Server:
    """tools/serve.py in its own process."""

    def __init__(self, model, *flags):
        command = tool_command("serve", "--model", model, "--port", 0, *flags)
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = self.process.stdout.readline().strip()
        self.url = self.said.partition(" ")[0]
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text(encoding="utf-8").split()]
        return [pid for pid in pids if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    def raw(self, text):
        """Connect and send `text`."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(text)
        return connection

    def stop(self):
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30), self.process.communicate()[1]


def to_png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def assert_error(response, status, *words):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"] and "\n" not in response.json()["error"]
    for word in words:
        assert word in response.json()["error"]


def infer_request(**changes):
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": [0.5] * 784}
    return {"inputs": [{**tensor, **changes}]}


def read_answer(connection):
    """Return status, head and body of an answer after which the connection is closed."""
    received = b""
    while part := connection.recv(65_536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), json.loads(body)


def multipart(*files):
    """Return the body of a multipart request with the boundary x."""
    head = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    return b"".join(head + file + b"\r\n" for file in files) + b"--x--\r\n"


def http(path, body=b"", *headers):
    """Return a whole request as bytes: GET without a body, POST with one."""
    lines = [b"%s %s HTTP/1.1" % (b"POST" if body else b"GET", path), b"host: x", *headers]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def http_pictures(path, *files):
    """Return a whole request with pictures."""
    return http(path, multipart(*files), b"content-type: multipart/form-data; boundary=x")


def encode(picture, kind, **settings):
    """Encode a Pillow picture as the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def read_memory(pid):
    """Return a process's memory now, and its peak since `forget_peak`, in million bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return tuple(int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))


def forget_peak(pid):
    """Reset a process's peak memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
