"""Spectral decay: laws, both readings of a mode, stored numbers."""

import math

import pytest
import torch
from scipy.stats import entropy

from tests.conftest import cases, load_golden
from tests.metrics.fixture import clustered, rotation, sines
from vmf_embeddings.metrics import log_spectrum, rho_spectrum, singular_values

GOLDEN = load_golden("dml_metrics")


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_golden(case):
    """The reference computes in float32: its rho is known to four digits."""
    values = singular_values(GOLDEN[f"{case}/embeddings"])
    stored = torch.from_numpy(GOLDEN[f"{case}/singular_values"])
    torch.testing.assert_close(values, stored, rtol=1e-5, atol=0)
    for mode, reading, key in (
        (1, "NIR", "rho_spectrum@1_torch"), (-1, "NIR", "rho_spectrum@-1_torch"),
        (2, "REV", "rho_spectrum@2_torch"), (1, "REV", "rho_exact_all"),
        (2, "NIR", "rho_exact_skip_first"),
    ):  # fmt: skip
        if f"{case}/{key}" in GOLDEN:
            found = rho_spectrum(values, mode, reading)
            assert found == pytest.approx(float(GOLDEN[f"{case}/{key}"]), rel=1e-4), key
    # the reference without a GPU sees all directions but the last
    found = rho_spectrum(values[:-1])
    assert found == pytest.approx(float(GOLDEN[f"{case}/rho_exact_drop_last"]), rel=1e-4)


def test_the_sines_have_their_known_decay():
    values = singular_values(sines()[0])
    assert rho_spectrum(values) == pytest.approx(0.000798283, rel=5e-6)
    assert rho_spectrum(values, 2) == pytest.approx(0.000449996, rel=5e-6)
    assert rho_spectrum(values, -1, reading="REV") == pytest.approx(0.000800901, rel=5e-6)


def test_equals_an_independent_divergence():
    values = singular_values(clustered()[0])
    for mode in (1, 2, -2, -3):
        kept = values[abs(mode) - 1 :].numpy()
        uniform = [1 / len(kept)] * len(kept)
        forward, back = entropy(uniform, kept), entropy(kept, uniform)
        assert rho_spectrum(values, mode) == pytest.approx(forward, abs=1e-13)
        rev = rho_spectrum(values, mode, reading="REV")
        assert rev == pytest.approx(back if mode < 0 else forward, abs=1e-13)


def test_rotations_orders_and_scales_change_nothing():
    rows, _ = clustered()
    first = rho_spectrum(singular_values(rows))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))
    for other in (rows @ rotation(5), rows[order], -3 * rows):
        assert rho_spectrum(singular_values(other)) == pytest.approx(first, rel=1e-11)


def test_even_spectra_have_none_and_lost_directions_have_infinite_decay():
    assert rho_spectrum(singular_values(7 * torch.eye(4))) == 0
    assert rho_spectrum(torch.tensor([9.0, 2.0, 2.0]), 2) == pytest.approx(0, abs=1e-15)
    flat = torch.tensor([2.0, 1.0, 0.0])
    assert math.isinf(rho_spectrum(flat))
    assert rho_spectrum(flat, -1, reading="REV") < math.log(3)
    decays = [rho_spectrum(torch.tensor([a, 1.0, 1.0])) for a in (1, 2, 5, 50)]
    assert decays == sorted(decays)


def test_mode_zero_is_zero_for_one_reading_and_the_whole_spectrum_for_the_other():
    values = singular_values(clustered()[0])
    assert rho_spectrum(values, 0) == 0
    with pytest.raises(ValueError, match="log_spectrum"):
        rho_spectrum(values, 0, reading="REV")
    assert float(log_spectrum(values).exp().sum()) == pytest.approx(1)


def test_small_and_wide_sets_have_as_many_values_as_rows():
    assert len(singular_values(torch.ones(3, 8))) == 3
    with pytest.raises(ValueError, match="drops all"):
        rho_spectrum(singular_values(torch.ones(1, 8)), 2)
    with pytest.raises(ValueError, match="finite"):
        singular_values([[float("nan"), 1.0]])
    with pytest.raises(ValueError, match="unknown"):
        rho_spectrum(torch.ones(2), reading="other")  # type: ignore[arg-type]
