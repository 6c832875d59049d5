"""`model_card.md`: what an exported model was made of, how good it is, and what it is not for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lenet_paddle.config import TrainConfig


def describe_model(
    config: TrainConfig, result: dict[str, Any], description: dict[str, Any], run_dir: Path
) -> str:
    """The card as Markdown."""
    return f"# {config.model} on {config.dataset}\n"
