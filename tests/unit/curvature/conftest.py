"""The exact references and the tiny networks live beside the slow tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "reference"))


@pytest.fixture(autouse=True, scope="package")
def calm() -> Iterator[None]:
    from exact_curvature import one_thread

    with one_thread():
        yield
