import shutil

import pytest

from tests.plugins.on_host import Host


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The .cu kernels on the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not there to compile the .cu kernels for the host")
    return Host(tmp_path_factory.mktemp("on_host"))
