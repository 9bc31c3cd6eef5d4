"""A fixture that runs a test with compiled code and with PyTorch code."""

import pytest

from vmf_embeddings import native


@pytest.fixture(params=["torch", "compiled"])
def code(request, monkeypatch) -> str:
    """Which implementation runs where both can: "torch" or "compiled"."""
    monkeypatch.setenv(native.SWITCH, "0" if request.param == "torch" else "1")
    if request.param == "compiled" and not native.enabled():
        pytest.skip("Numba is not installed")
    return request.param
