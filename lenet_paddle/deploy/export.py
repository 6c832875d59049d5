"""The inference model: `inference.json`, `inference.pdiparams`, `inference.yml`.

    import paddle.inference as paddle_infer
    config = paddle_infer.Config("inference/inference.json", "inference/inference.pdiparams")

Input `image`, float32 (B, 1, S, S), normalised as `inference.yml` says; output logits (B, C).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml

from lenet_paddle.config import RunStopped
from lenet_paddle.data.imageset import ImageSet
from lenet_paddle.data.preprocess import NORMALISATION, normalise
from lenet_paddle.evaluation.evaluate import image_spec, predict_logits
from lenet_paddle.files import replacing_folder, write_text

TOLERANCE = 1e-5  # greatest difference of a logit between network and exported model
NUM_COMPARED = 256


def export_inference(
    network: paddle.nn.Layer,
    folder: Path,
    images: ImageSet,
    input_size: int,
    info: dict[str, Any],
) -> float:
    """Write the inference model of `network` to `folder`; return the difference found.

    The written model is loaded with Paddle Inference and compared with the network on the first
    256 of `images`. Above 1e-5 it raises `RunStopped` and leaves nothing behind. `info` goes
    into `inference.yml` beside the class names and the input's form.
    """
    compared = images.take(slice(0, NUM_COMPARED))
    with replacing_folder(folder) as temporary:
        network.eval()
        # What paddle.Model.save(training=False) calls; a paddle.Model would wait for other ranks.
        paddle.jit.save(network, str(temporary / "inference"), input_spec=[image_spec(input_size)])
        expected = predict_logits(network, compared, input_size)
        actual = run_engine(load_engine(temporary), normalise(compared.images, input_size))
        difference = float(np.abs(actual - expected).max())
        if not difference <= TOLERANCE:
            raise RunStopped(
                f"{folder}: the exported model differs from the network by {difference:.2g} "
                f"(at most {TOLERANCE:g} is allowed); it was not written",
                status=1,
            )
        description = {
            **info,
            "input": {
                "name": "image",
                "dtype": "float32",
                "shape": [-1, 1, input_size, input_size],
                "normalise": NORMALISATION,
                "padding": -1.0,
            },
            "output": {"name": "logits", "dtype": "float32", "shape": [-1, len(images.classes)]},
            "classes": list(images.classes),
            "max_difference": difference,
        }
        text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
        write_text(temporary / "inference.yml", text)
    return difference


def load_engine(folder: Path, onednn: bool = False) -> Any:
    """The Paddle Inference predictor of an exported folder, on the CPU.

    oneDNN is on by default in 3.3.1 and slower for single pictures, so it is set explicitly.
    """
    from paddle import inference

    config = inference.Config(str(folder / "inference.json"), str(folder / "inference.pdiparams"))
    config.disable_gpu()
    if onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
    config.disable_glog_info()
    return inference.create_predictor(config)


def run_engine(engine: Any, batch: np.ndarray) -> np.ndarray:
    """Logits float32 (B, C) of a loaded model for a normalised batch, float32 (B, 1, S, S)."""
    handle = engine.get_input_handle(engine.get_input_names()[0])
    handle.copy_from_cpu(np.ascontiguousarray(batch))
    engine.run()
    return engine.get_output_handle(engine.get_output_names()[0]).copy_to_cpu()
