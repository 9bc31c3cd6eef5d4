"""Settings of the program for faster products of float32 change no neighbour."""

from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode

from vmf_embeddings.search import nearest
from vmf_embeddings.search.by_class import by_class
from vmf_embeddings.search.precision import full_float32_products
from vmf_embeddings.search.ranks import negatives_before

CUDA, MKLDNN = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul


@contextmanager
def kept_settings():
    before = [switch.fp32_precision for switch in (CUDA, MKLDNN)]
    yield
    for switch, value in zip((CUDA, MKLDNN), before, strict=True):
        switch.fp32_precision = value


@contextmanager
def legacy(precision):
    with kept_settings():
        torch.set_float32_matmul_precision(precision)
        yield


@contextmanager
def allow_tf32():
    with kept_settings():
        CUDA.allow_tf32 = True
        yield


@contextmanager
def by_library(switch, precision):
    with kept_settings():
        switch.fp32_precision = precision
        yield


SETTINGS = {
    "medium": lambda: legacy("medium"),
    "high": lambda: legacy("high"),
    "allow_tf32": allow_tf32,
    "cuda tf32": lambda: by_library(CUDA, "tf32"),
    "mkldnn bf16": lambda: by_library(MKLDNN, "bf16"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def close_rows():
    """Unit rows whose neighbours differ by less than a rounding to 8 bits changes."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(64, generator=generator)
    rows = centre + 0.05 * torch.randn(1000, 64, generator=generator)
    return torch.nn.functional.normalize(rows, dim=1)


def found(rows, metric):
    return nearest(rows, rows, 3, metric=metric, exclude=torch.arange(len(rows)), backend="torch")


class Recorder(TorchFunctionMode):
    """Notes the settings at every matrix product of float32."""

    def __init__(self):
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in ("matmul", "__matmul__") and args[0].dtype == torch.float32:
            self.seen.append(
                (CUDA.fp32_precision, MKLDNN.fp32_precision, torch.is_autocast_enabled("cpu"))
            )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("setting", SETTINGS)
def test_neighbours_and_scores_are_the_same_under_any_setting(setting):
    rows = close_rows()
    for metric in ("ip", "l2"):
        expected = found(rows, metric)
        with SETTINGS[setting](), Recorder() as products:
            got = found(rows, metric)
        assert torch.equal(got[0], expected[0])
        assert torch.equal(got[1], expected[1])
        assert products.seen and set(products.seen) == {("ieee", "ieee", False)}


def error(a, b):
    return float(((a @ b.T).double() - a.double() @ b.double().T).abs().max())


@pytest.mark.parametrize("setting", SETTINGS)
def test_products_inside_are_full_and_the_settings_return(setting):
    a, b = torch.randn(64, 128), torch.randn(80, 128)
    with SETTINGS[setting]():
        before = CUDA.fp32_precision, MKLDNN.fp32_precision, torch.is_autocast_enabled("cpu")
        coarse = error(a, b)
        with full_float32_products(a.device):
            assert error(a, b) < 1e-4
        after = CUDA.fp32_precision, MKLDNN.fp32_precision, torch.is_autocast_enabled("cpu")
        assert after == before
        assert error(a, b) == coarse
    if setting == "autocast":
        assert coarse > 0.05


def test_the_settings_return_after_an_error():
    with legacy("medium"):
        with pytest.raises(KeyError), full_float32_products(torch.device("cpu")):
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"


def ranks(rows):
    everything = torch.arange(len(rows))
    order = by_class(everything % 40, everything, everything)
    return [each.before.clone() for each in negatives_before(rows, order, metric="ip")]


@pytest.mark.parametrize("setting", SETTINGS)
def test_ranks_are_the_same_under_any_setting(setting):
    rows = close_rows()
    expected = ranks(rows)
    with SETTINGS[setting]():
        got = ranks(rows)
    assert all(map(torch.equal, got, expected)) and len(got) == len(expected)
