"""What is said where timm is not installed."""

import builtins

import pytest

from tests.archs.test_seams import build


def test_a_missing_library_is_named_with_what_to_type(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "timm":
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install timm .*the extra \[timm\].*arch=resnet50"):
        build("timm")
