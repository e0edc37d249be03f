"""What the machine says of itself."""

from collections.abc import Iterator

import pytest

from gsvnet_engine import machine


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    machine.computes_bf16.cache_clear()
    yield
    machine.computes_bf16.cache_clear()


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["avx2", "fma"], False),
        # torch's oneDNN takes bf16 here, at a fraction of float32's speed
        (["avx2", "avx512f", "avx512_vnni"], False),
        (["avx512f", "avx512_bf16"], True),
        (["avx2", "amx_bf16"], True),
        (["asimd", "bf16"], True),
        ([], False),
    ],
)
def test_bf16_needs_the_instructions(
    features: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu", lambda: {"model": "a processor", "features": features})
    assert machine.computes_bf16() is expected
