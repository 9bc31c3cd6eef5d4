"""The ratio of three dimensions equals the expansion and mpmath's closed form; powers, Horner."""

import mpmath
import pytest
import torch

from vmf_embeddings.directional import debye
from vmf_embeddings.directional.bessel import expansion, ratio_and_slope
from vmf_embeddings.directional.three_dimensions import ratio_and_slope_three

KAPPA = torch.logspace(-6, 6, 97, dtype=torch.float64)


def exact(kappa: float) -> tuple[float, float]:
    """R and dR/dq by 60 digits."""
    with mpmath.workdps(60):
        q = mpmath.mpf(kappa) ** 2

        def ratio(q):
            k = mpmath.sqrt(q)
            return (k * mpmath.coth(k) - 1) / q

        return float(ratio(q)), float(mpmath.diff(ratio, q, h=q * mpmath.mpf(10) ** -20))


def test_three_dimensions_equal_mpmath():
    found = ratio_and_slope_three(KAPPA.square())
    for index, wanted in enumerate(zip(*map(exact, KAPPA.tolist()), strict=True)):
        wanted = torch.tensor(wanted, dtype=torch.float64)
        torch.testing.assert_close(found[index], wanted, rtol=1e-13, atol=0)


def test_three_dimensions_equal_the_expansion():
    q = KAPPA.square()
    found, general = ratio_and_slope_three(q), ratio_and_slope(q, expansion(3))
    for one, other in zip(found, general, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-13, atol=0)


@pytest.mark.parametrize("dim", (2, 3, 8, 41, 128, 4096))
def test_polynomials_by_powers_equal_those_by_horners_rule(dim, monkeypatch):
    plan, p = expansion(dim), torch.linspace(0, 1, 10_001, dtype=torch.float64)
    polynomials = ((plan.slope, plan.curvature), p, (0.5, 0.0))
    horner = [debye.evaluate(plan.value, p), *debye.values(*polynomials)]
    monkeypatch.setattr(debye, "_by_powers", lambda p, n: True)
    by_powers = [debye.evaluate(plan.value, p), *debye.values(*polynomials)]
    for one, other in zip(by_powers, horner, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=5e-16)
