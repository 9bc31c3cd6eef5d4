"""Maximum-likelihood fits: the golden numbers, the limits, and what they must not depend on."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from tests.conftest import load_golden
from vmf_embeddings.directional import (
    VonMisesFisher,
    cosine_variance,
    fit_von_mises_fisher,
)

GOLDEN = load_golden("dm_movmf")
CASES = ("m0", "m1", "m2", "m3")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n=40, dim=5, seed=0):
    return torch.randn(n, dim, generator=rng(seed), dtype=torch.float64) + 0.5


@pytest.mark.parametrize("case", CASES)
def test_fits_of_classes_are_the_golden_ones(case):
    x, labels = torch.tensor(GOLDEN[f"{case}/x"]).double(), GOLDEN[f"{case}/labels"]
    mu, kappa = fit_von_mises_fisher(x, labels=labels)
    np.testing.assert_allclose(kappa, GOLDEN[f"{case}/classes/exact_kappa"], rtol=1e-10)
    np.testing.assert_allclose(mu, GOLDEN[f"{case}/classes/mean_direction"], atol=1e-12)
    _, shared = fit_von_mises_fisher(x, labels=labels, shared_kappa=True)
    expected = GOLDEN[f"{case}/classes/exact_shared_kappa"]
    np.testing.assert_allclose(shared, np.full(len(kappa), expected), rtol=1e-10)
    for k in range(len(kappa)):
        alone = VonMisesFisher.fit(x[torch.tensor(labels) == k])
        torch.testing.assert_close(alone.concentration, kappa[k], rtol=1e-10, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_a_weighted_fit_is_the_golden_one(case):
    single = {
        key.rpartition("/")[2]: value for key, value in GOLDEN.items() if f"{case}/single/" in key
    }
    x = torch.tensor(GOLDEN[f"{case}/x"]).double()
    mu, kappa = fit_von_mises_fisher(x, torch.tensor(single["weights"]).double())
    assert kappa.item() == pytest.approx(float(single["exact_kappa"]), rel=1e-10)
    np.testing.assert_allclose(mu, single["exact_mean"], atol=1e-12)


@pytest.mark.parametrize("dim, kappa", [(2, 3.0), (3, 0.4), (16, 30.0), (128, 300.0)])
def test_a_fit_recovers_the_distribution_of_draws(dim, kappa):
    mu = torch.nn.functional.normalize(rows(1, dim)[0], dim=0)
    n = 20_000
    x = VonMisesFisher(mu, torch.tensor(kappa).double()).sample((n,), rng())
    found = VonMisesFisher.fit(x)
    error = (n * cosine_variance(torch.tensor(kappa).double(), dim)).rsqrt()
    assert abs(found.concentration - kappa) < 4 * error
    assert found.loc @ mu > 1 - 10 * dim / (n * kappa)


def test_no_other_parameters_are_more_likely():
    x = torch.nn.functional.normalize(rows(), dim=1)
    found = VonMisesFisher.fit(x)
    best = found.log_prob(x).sum()
    for factor in (0.99, 1.01):
        assert VonMisesFisher(found.loc, factor * found.concentration).log_prob(x).sum() < best
    for axis in torch.eye(5).double():
        turned = torch.nn.functional.normalize(found.loc + 0.02 * axis, dim=0)
        assert VonMisesFisher(turned, found.concentration).log_prob(x).sum() < best


def test_weights_are_repeated_rows_also_with_the_correction():
    x, repeats = rows(), torch.randint(0, 4, (40,), generator=rng())
    for correction in (False, True):
        options = {"bias_correction": correction}
        weighted = fit_von_mises_fisher(x, repeats, **options)
        repeated = fit_von_mises_fisher(x.repeat_interleave(repeats, 0), **options)
        torch.testing.assert_close(weighted, repeated, rtol=1e-10, atol=1e-12)


def test_order_lengths_and_rows_without_direction_do_not_matter_and_rotations_turn_mu():
    x = rows()
    mu, kappa = fit_von_mises_fisher(x)
    lengths = torch.rand(40, 1, generator=rng()).double() + 0.1
    other = torch.cat([(x * lengths).flip(0), torch.zeros(3, 5).double()])
    torch.testing.assert_close(fit_von_mises_fisher(other), (mu, kappa), rtol=1e-10, atol=1e-12)
    rotation, _ = torch.linalg.qr(rows(5, 5, seed=1))
    turned = fit_von_mises_fisher(x @ rotation.T)
    torch.testing.assert_close(turned, (rotation @ mu, kappa), rtol=1e-10, atol=1e-12)


def test_a_batch_is_fitted_one_by_one(monkeypatch):
    monkeypatch.setattr("vmf_embeddings.directional.estimation.BLOCK_ROWS", 16)
    x, weights = rows(60).reshape(2, 3, 10, 5), torch.rand(2, 3, 10, generator=rng()).double()
    found = VonMisesFisher.fit(x, weights)
    assert found.batch_shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        mu, kappa = fit_von_mises_fisher(x[i, j], weights[i, j])
        torch.testing.assert_close((found.loc[i, j], found.concentration[i, j]), (mu, kappa))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rows_get_the_largest_concentration_and_opposite_ones_none(dtype):
    row = torch.nn.functional.normalize(rows(1), dim=1).to(dtype)
    for x in (row, row.repeat(100, 1)):
        assert fit_von_mises_fisher(x, kappa_max=500.0)[1] == 500
        found = VonMisesFisher.fit(x)
        assert 1e4 < found.concentration < 1e7
        assert found.log_prob(x).isfinite().all()
    axis = torch.eye(4, dtype=dtype)[:1]
    mu, kappa = fit_von_mises_fisher(torch.cat([axis, -axis]))
    assert kappa == 0 and torch.equal(mu, axis[0])


def test_the_correction_removes_the_bias_of_few_rows():
    x = VonMisesFisher(torch.eye(32)[0].double(), torch.zeros(500).double()).sample((10,), rng())
    plain = fit_von_mises_fisher(x.transpose(0, 1))[1]
    corrected = fit_von_mises_fisher(x.transpose(0, 1), bias_correction=True)[1]
    assert plain.mean() > 10 and corrected.median() < 0.4 * plain.median()
    # the square of the corrected mean length is unbiased where it is not cut off at 0
    vmf = VonMisesFisher(torch.eye(32)[0].double(), torch.tensor(40.0).double())
    draws = vmf.sample((2000, 10), rng())
    kappa = fit_von_mises_fisher(draws, bias_correction=True)[1]
    squared = VonMisesFisher(torch.eye(32)[0].double(), kappa).cosine_mean.square()
    error = squared.std() / 2000**0.5
    assert abs(squared.mean() - vmf.cosine_mean.square()) < 4 * error
    assert fit_von_mises_fisher(draws[0, :1], bias_correction=True)[1] == 0


def test_the_shared_correction_with_one_class_is_that_of_the_class():
    x, labels = rows(), torch.zeros(40, dtype=torch.long)
    own = fit_von_mises_fisher(x, labels=labels, bias_correction=True)
    shared = fit_von_mises_fisher(x, labels=labels, bias_correction=True, shared_kappa=True)
    torch.testing.assert_close(shared, own)


def test_fits_have_gradients_in_rows_and_weights():
    x = rows(8, 3).requires_grad_()
    weights = torch.rand(8, generator=rng()).double().requires_grad_()
    labels = torch.arange(8) % 2
    assert gradcheck(fit_von_mises_fisher, (x, weights))
    for options in ({"shared_kappa": True}, {"bias_correction": True}):
        assert gradcheck(
            lambda a, w, o=options: fit_von_mises_fisher(a, w, labels=labels, **o), (x, 5 * weights)
        )


def test_float32_rows_are_summed_in_float64():
    x = torch.nn.functional.normalize(rows(50_000, 64), dim=1)
    kappa = fit_von_mises_fisher(x)[1]
    assert fit_von_mises_fisher(x.float())[1].item() == pytest.approx(kappa.item(), rel=1e-6)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((torch.zeros(3, 4),), "row with a direction"),
        ((torch.ones(3, 4), torch.zeros(3)), "positive weight"),
        ((torch.ones(3, 4), -torch.ones(3)), "numbers >= 0, got -1"),
        ((torch.ones(3, 4), torch.ones(2)), r"one for each row, \[3\], got \[2\]"),
        ((torch.ones(3, 4) / 0,), "finite"),
        ((torch.ones(4),), r"expected vectors \[.., N, D\]"),
        ((torch.ones(0, 4),), "at least one row"),
    ],
)
def test_mistakes_are_told(arguments, words):
    with pytest.raises(ValueError, match=words):
        fit_von_mises_fisher(*arguments)
    with pytest.raises(ValueError, match=r"none for \[1\]"):
        fit_von_mises_fisher(torch.ones(2, 3), labels=[0, 2])
    with pytest.raises(ValueError, match=r"in 0\.\.1"):
        fit_von_mises_fisher(torch.ones(2, 3), labels=[0, 2], n_classes=2)
    with pytest.raises(ValueError, match="needs labels"):
        fit_von_mises_fisher(torch.ones(2, 3), shared_kappa=True)
