"""A trained run that the tests of figures draw."""

from __future__ import annotations

import pytest
from tools_help import SMALL

from lenet_paddle import TrainConfig, train_and_evaluate


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Train two epochs on a few digits; returns the run's folder."""
    config = TrainConfig(
        model="lenet_builtin",
        data_dir=SMALL[1],
        val_size=300,
        limit=640,
        epochs=2,
        output_dir=str(tmp_path_factory.mktemp("visualize")),
        name="small",
    )
    return str(train_and_evaluate(config)["run_dir"])
