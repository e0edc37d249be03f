"""Fixtures for every test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that GSVNET_DATA names; skips where there is none (fails with GSVNET_REQUIRE_DATA)."""
    named = os.environ.get("GSVNET_DATA")
    if named and Path(named).is_dir():
        return Path(named)
    if os.environ.get("GSVNET_REQUIRE_DATA"):
        pytest.fail("GSVNET_REQUIRE_DATA is set, but GSVNET_DATA names no folder")
    pytest.skip("GSVNET_DATA names no folder: real data is not here")


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What commands keep for later, out of the user's own cache."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GSVNET_PLAN_CACHE", str(folder))
        yield folder
