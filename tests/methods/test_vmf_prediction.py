"""Laws of predictions from draws: two scalars per logit have the law of D-dimensional draws."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from tests.conftest import cases
from tests.methods.laws import normal
from vmf_embeddings import directional
from vmf_embeddings.geometry import VonMisesFisher
from vmf_embeddings.methods.vmf_prediction import (
    drawn_cosines,
    expected_logits,
    reference_drawn_cosines,
    vmf_prediction_logits,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(normal(*shape, seed=seed), dim=-1)


def test_logits_of_given_draws_equal_the_reference(golden):
    data = golden("vmf_predictions")
    for case in cases(data):
        z, w = (torch.tensor(data[f"{case}/{n}_samples"]) for n in ("z", "w"))
        beta = torch.exp(-torch.tensor(data[f"{case}/temp"]))
        logits = vmf_prediction_logits(z, w, beta)
        np.testing.assert_allclose(logits, data[f"{case}/logits"], rtol=1e-9, atol=1e-12)
        probabilities = logits.softmax(-1).mean(1)
        np.testing.assert_allclose(probabilities, data[f"{case}/probs"], rtol=1e-9)
        assert np.array_equal(probabilities.argmax(-1), data[f"{case}/pred"])


@pytest.mark.parametrize("dim", (2, 3, 4, 16))
@pytest.mark.parametrize("kappa", (0.5, 20.0))
def test_two_scalars_have_the_law_of_vector_draws(dim, kappa):
    n, z = 4000, unit(1, dim)
    class_weights = kappa * unit(2, dim, seed=1)
    generator = torch.Generator().manual_seed(2)
    cosines = drawn_cosines(z.expand(n, dim)[None], class_weights, generator)[0]
    kappas, mu = VonMisesFisher.split(class_weights)
    vectors = directional.sample(mu, kappas, n, gradient=False, generator=generator)
    for j in range(2):
        assert ks_2samp(cosines[:, j], vectors[:, j] @ z[0]).pvalue > 1e-3
    # classes are drawn independently of one another
    assert abs(np.corrcoef(cosines.T)[0, 1]) < 4.5 / n**0.5


def test_every_image_and_draw_has_its_own_class_draws():
    cosines = drawn_cosines(unit(1, 1, 5).expand(3, 4, 5), 2 * unit(2, 5, seed=1))
    assert cosines.shape == (3, 4, 2)
    assert cosines.unique().numel() == cosines.numel()


@pytest.mark.parametrize("dim", (2, 3, 64))
def test_cosines_stay_between_minus_one_and_one(dim):
    sure = 1e5 * unit(4, dim).float()
    z = torch.cat([unit(4, dim), -unit(4, dim)]).float()[:, None]
    cosines = drawn_cosines(z, sure)
    assert torch.isfinite(cosines).all()
    assert cosines.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(cosines[:4, 0].diagonal(), torch.ones(4), rtol=0, atol=1e-2)


@pytest.mark.parametrize("sampler", ("exact", "power"))
def test_expected_logits_are_the_mean_of_drawn_ones(sampler):
    n, beta = 20_000, torch.tensor(3.0).double()
    z, w = 6 * unit(3, 8), 9 * unit(4, 8, seed=1)
    generator = torch.Generator().manual_seed(0)
    kappa, mu = VonMisesFisher.split(z)
    known = {"gradient": False, "sampler": sampler, "generator": generator}
    draws = directional.sample(mu, kappa, n, **known).transpose(0, 1)
    logits = beta * drawn_cosines(draws, w, generator, sampler)
    errors = logits.mean(1) - expected_logits(z, w, beta)
    assert (errors.abs() < 4.5 * logits.std(1) / n**0.5).all()


def test_reference_draws_agree_where_the_reference_sampler_is_right():
    """At D = 3 the sampler of 2021 is exact."""
    n, z, w = 4000, unit(1, 3), 20 * unit(2, 3, seed=1)
    torch.manual_seed(0)
    rows = z.expand(n, 3)[None]
    reference, exact = reference_drawn_cosines(rows, w)[0], drawn_cosines(rows, w)[0]
    assert reference.shape == (n, 2)
    for j in range(2):
        assert ks_2samp(reference[:, j], exact[:, j]).pvalue > 1e-3


def test_reference_draws_come_in_blocks_without_changing_their_shape(monkeypatch):
    monkeypatch.setattr("vmf_embeddings.methods.vmf_prediction._BLOCK", 40)
    z, w = unit(5, 3, 4), 2 * unit(3, 4, seed=1)
    cosines = reference_drawn_cosines(z, w)
    assert cosines.shape == (5, 3, 3)
    assert cosines.unique().numel() == cosines.numel()
