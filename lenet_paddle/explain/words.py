"""The words in figures, in English or Chinese.

Plots write `say("receptive field of {layer}", layer=name)`: the English template is the key of
`ZH`. `language("zh")` chooses Chinese for a while.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

_language = contextvars.ContextVar("language", default="en")

ZH: dict[str, str] = {
    "epoch": "轮次",
    "loss": "损失",
    "accuracy": "准确率",
    "false positive rate": "假正率",
    "true positive rate": "真正率",
    "precision": "精确率",
    "recall": "召回率",
    "micro average": "微平均",
    "area under the curve": "曲线下面积",
    "average precision": "平均精确率",
    "filters of the first layer, {shown} of {all}": "第一层的卷积核，{all} 个中的 {shown} 个",
}


def say(template: str, **values: Any) -> str:
    """`template` in the chosen language, its `{names}` filled in."""
    if _language.get() == "zh":
        template = ZH[template]
    return template.format(**values)


@contextlib.contextmanager
def language(name: str) -> Iterator[None]:
    """Figures made while the block runs are titled in `name`: "en" or "zh"."""
    token = _language.set(name)
    try:
        yield
    finally:
        _language.reset(token)
