"""Fixtures for every test."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that GSVNET_DATA names; skips where there is none."""
    named = os.environ.get("GSVNET_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("GSVNET_DATA names no folder: real data is not here")
    return Path(named)
