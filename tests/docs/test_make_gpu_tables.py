"""The page about GPUs says what the code as it is would say."""

import pytest

from docs import make_gpu_tables as tables


def test_every_kernel_is_listed() -> None:
    held = {kernel for source in tables.sources() for kernel in tables.kernels_of(source)}
    assert held == set(tables.KERNELS)


def test_the_page_is_up_to_date() -> None:
    """But for registers, which need nvcc."""
    pytest.importorskip("torch")
    page = tables.PAGE.read_text()
    assert tables.work_section() in page
    assert tables.prediction_section(tables.layers()) in page
    assert "measured on a GPU" in page and "No kernel spills one" in page


def test_products_are_those_that_bundles_count() -> None:
    pytest.importorskip("torch")
    keyframe, propagation = (sum(layer.macs for layer in network) for network in tables.layers())
    assert keyframe == pytest.approx(58.3e9, rel=0.02)  # as tests/export/test_networks.py asks of cost.py
    assert propagation == pytest.approx(2.69e9, rel=0.02)
