"""The non-isotropic distribution: golden numbers, its integral, its sampler, its special case."""

import math

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.directional import log_normalizer, nivmf_log_prob, nivmf_sample

GOLDEN = load_golden("dm_elk")
CASES = [case for case in cases(GOLDEN) if case.startswith("nivmf")]
MU = torch.nn.functional.normalize(torch.tensor([[1.0, 0.5, -0.3], [0.2, -1.0, 0.7]]).double())
SCALES = torch.tensor([[1.5, 4.0, 7.0], [3.0, 2.0, 0.8]]).double()


def given(case, *names):
    return (torch.from_numpy(GOLDEN[f"{case}/{name}"].astype(float)) for name in names)


@pytest.mark.parametrize("case", CASES)
def test_densities_are_the_golden_ones(case):
    x, mu, scales = given(case, "x", "mu", "K")
    expected = GOLDEN[f"{case}/exact_log_density"]
    np.testing.assert_allclose(nivmf_log_prob(x, mu, scales), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("form", "key"),
    [
        ("exact", "exact_log_el_over_samples"),
        ("reference", "code_form_exact_c_pdml"),
        ("reference_url", "code_form_exact_c_url"),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_the_mean_over_samples_is_the_golden_one_and_that_of_the_programs(case, form, key):
    draws, mu, scales = given(case, "samples", "mu", "K")
    found = nivmf_log_prob(draws.flatten(0, 1), mu, scales, form).view(*draws.shape[:2], -1)
    found = found.logsumexp(0) - math.log(len(draws))
    np.testing.assert_allclose(found, GOLDEN[f"{case}/{key}"], rtol=1e-9)


def test_it_integrates_to_one_and_the_reference_forms_do_not():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    x = x / x.norm(dim=-1, keepdim=True)
    for form, is_density in (("exact", True), ("reference", False), ("reference_url", False)):
        values = 4 * math.pi * nivmf_log_prob(x, MU, SCALES, form).exp()
        error = values.std(0) / len(x) ** 0.5
        assert bool(((values.mean(0) - 1).abs() < 4.5 * error).all()) is is_density


def test_equal_scales_give_von_mises_fisher():
    x = torch.nn.functional.normalize(torch.randn(5, 3).double(), dim=-1)
    found = nivmf_log_prob(x, MU, torch.full_like(SCALES, 6.0))
    kappa = torch.tensor(6.0).double()
    torch.testing.assert_close(found, log_normalizer(kappa, 3) + 6 * x @ MU.T)


def test_draws_follow_the_density():
    """Mean of a coordinate squared, by draws and by importance weights of uniform points."""
    generator = torch.Generator().manual_seed(1)
    draws = nivmf_sample(MU, SCALES, 40_000, generator)
    x = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    x = x / x.norm(dim=-1, keepdim=True)
    weights = 4 * math.pi * nivmf_log_prob(x, MU, SCALES).exp()
    weighted = weights[..., None] * x[:, None].square()
    error = (draws.square().var(0) / len(draws) + weighted.var(0) / len(x)).sqrt()
    assert ((draws.square().mean(0) - weighted.mean(0)).abs() < 4.5 * error).all()


def test_gradients_and_bad_forms():
    x = torch.nn.functional.normalize(torch.randn(2, 3).double(), dim=-1)
    inputs = [t.clone().requires_grad_() for t in (x, MU, SCALES)]
    assert torch.autograd.gradcheck(nivmf_log_prob, inputs)
    with pytest.raises(ValueError, match="exact, reference, reference_url, got 'url'"):
        nivmf_log_prob(x, MU, SCALES, "url")
