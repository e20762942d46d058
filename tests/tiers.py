"""Rows of a parametrized test that only the thorough tier runs."""

from typing import Any

import pytest


def thorough(*values: Any, **named: Any) -> Any:
    """Return a row for ``pytest.mark.parametrize`` that is thorough, since the default suite has another one."""
    return pytest.param(*values, marks=pytest.mark.thorough, **named)
