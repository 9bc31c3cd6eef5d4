"""Runs a test on compiled and on plain PyTorch code."""

import pytest

from vmf_embeddings import native


@pytest.fixture(params=["torch", "compiled"])
def code(request, monkeypatch) -> str:
    """Which code answers where both can."""
    monkeypatch.setenv(native.SWITCH, "0" if request.param == "torch" else "1")
    if request.param == "compiled" and not native.enabled():
        pytest.skip("Numba is not installed")
    return request.param
