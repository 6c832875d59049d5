"""Marks of single cases of a test."""

from __future__ import annotations

from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Return the values of one case, which runs with `make test-all` only."""
    return pytest.param(*values, marks=pytest.mark.slow)
