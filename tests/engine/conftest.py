from importlib.metadata import entry_points

import pytest

from gsvnet_engine.cli.app import GROUP


@pytest.fixture(scope="session")
def installed() -> None:
    """The verbs are found through the installed distribution's entry points."""
    if not entry_points(group=GROUP):
        pytest.fail("gsvnet-engine is not installed here: pip install -e .")
