"""Weights as safetensors: saved, loaded, and refused in one line when damaged."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from lenet_paddle.errors import InputError
from lenet_paddle.run_folder import find_weights
from lenet_paddle.training.safe_weights import save_safetensors
from lenet_paddle.training.weights import load_weights

safetensors = pytest.importorskip("safetensors.numpy")


@pytest.fixture
def weights(rng):
    names = {"a.weight": (3, 4), "b": (), "c": (2, 1, 3)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in names.items()}


def test_arrays_come_back_as_they_were_also_to_the_library(tmp_path, weights):
    weights["a.weight"] = weights["a.weight"].T  # not contiguous
    save_safetensors(tmp_path / "w.safetensors", weights, {"model": "x"})
    for loaded in (
        load_weights(tmp_path / "w.safetensors"),
        safetensors.load_file(tmp_path / "w.safetensors"),
    ):
        assert sorted(loaded) == sorted(weights)
        for name, array in weights.items():
            np.testing.assert_array_equal(loaded[name], array)


def test_a_link_into_a_cache_without_suffixes_is_followed(tmp_path, weights):
    save_safetensors(tmp_path / "0f3a", weights)
    (tmp_path / "w.safetensors").symlink_to(tmp_path / "0f3a")
    found = find_weights(tmp_path / "w.safetensors")
    assert found.name == "0f3a" and sorted(load_weights(found)) == sorted(weights)


def written(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        written({}),
        written(b"{" + b"[" * 10_000),
        struct.pack("<Q", 2**62) + b"{}",
        written({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        written({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"1234"),
        written({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        written({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        written({"a": {"dtype": "pickle", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        written({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
    ],
    ids=range(11),
)
def test_a_damaged_safetensors_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    try:
        loaded = load_weights(tmp_path / "w.safetensors")
    except InputError as error:
        assert "w.safetensors: " in str(error)
    else:  # a type that this NumPy knows
        assert loaded["a"].shape == (2,)
