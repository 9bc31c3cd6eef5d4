"""Laws of the samplers that draw classes by given probabilities."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.samplers.effective_number import EffectiveNumberSampler
from vmf_embeddings.samplers.power import PowerSampler
from vmf_embeddings.samplers.progressive import ProgressiveSampler

SIZES = torch.tensor((400, 90, 30, 8, 2))
LABELS = torch.repeat_interleave(torch.arange(5), SIZES)
LABELS = LABELS[torch.randperm(530, generator=torch.Generator().manual_seed(0))]
COUNTS = SIZES.numpy()


def power(q=0.5, labels=LABELS, batch_size=53, seed=1):
    return PowerSampler(labels, batch_size=batch_size, q=q, seed=seed)


def effective(beta=0.99, labels=LABELS, seed=1):
    return EffectiveNumberSampler(labels, batch_size=53, beta=beta, seed=seed)


def progressive(n_epochs=10, balanced_at_last=False, labels=LABELS, seed=1):
    made = ProgressiveSampler(labels, batch_size=53, balanced_at_last=balanced_at_last, seed=seed)
    made.configure(n_epochs=n_epochs)
    return made


KINDS = {"power": power, "effective": effective, "progressive": progressive}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def drawn(sampler, n_epochs=30, first=0):
    parts = []
    for epoch in range(first, first + n_epochs):
        sampler.set_epoch(epoch)
        parts += list(sampler)
    return torch.cat(parts)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("q", (-1.0, -0.3, 0.0, 0.5, 1.0))
def test_power_draws_classes_by_the_equation(q):
    expected = COUNTS**q / (COUNTS**q).sum()
    np.testing.assert_allclose(power(q).class_probabilities(), expected, rtol=1e-14)
    seen = np.bincount(LABELS[drawn(power(q))], minlength=5)
    assert chisquare(seen, expected * seen.sum()).pvalue > 1e-3


def test_an_image_of_a_weighted_loader_has_the_weight_of_its_class():
    """GLMC: weight n_y^-r for each image, which is q = 1 - r for the classes."""
    weights = (COUNTS**-0.2)[LABELS]
    expected = np.bincount(LABELS, weights / weights.sum())
    np.testing.assert_allclose(power(0.8).class_probabilities(), expected, rtol=1e-12)


def test_huge_exponents_neither_overflow_nor_vanish():
    for q, winner in ((-400.0, 4), (400.0, 0)):
        np.testing.assert_allclose(power(q).class_probabilities(), np.eye(5)[winner], atol=1e-200)


def test_effective_number_draws_images_by_the_equation():
    for beta in (0.9, 0.9999):
        weights = np.array([(1 - beta) / (1 - beta ** COUNTS[y]) for y in LABELS])
        expected = np.bincount(LABELS, weights / weights.sum())
        np.testing.assert_allclose(effective(beta).class_probabilities(), expected, rtol=1e-9)
    sampler = effective(0.9999)
    seen = np.bincount(LABELS[drawn(sampler)], minlength=5)
    assert chisquare(seen, sampler.class_probabilities() * seen.sum()).pvalue > 1e-3


def test_effective_number_lies_between_the_data_and_balance():
    np.testing.assert_allclose(effective(1e-9).class_probabilities(), COUNTS / 530, rtol=1e-6)
    np.testing.assert_allclose(effective(1 - 1e-9).class_probabilities(), [0.2] * 5, rtol=1e-6)


@pytest.mark.parametrize("balanced_at_last", (False, True))
def test_progressive_is_the_mixture_of_the_paper_in_every_epoch(balanced_at_last):
    sampler = progressive(10, balanced_at_last)
    for epoch in range(10):
        sampler.set_epoch(epoch)
        share = epoch / (9 if balanced_at_last else 10)
        expected = (1 - share) * COUNTS / 530 + share / 5
        np.testing.assert_allclose(sampler.class_probabilities(), expected, rtol=1e-14)


def test_progressive_stays_balanced_after_its_end_and_survives_one_epoch():
    sampler = progressive(3)
    sampler.set_epoch(7)
    np.testing.assert_allclose(sampler.class_probabilities(), [0.2] * 5)
    np.testing.assert_allclose(progressive(1, True).class_probabilities(), COUNTS / 530)


def test_progressive_needs_to_know_how_many_epochs_there_are():
    sampler = ProgressiveSampler(LABELS, batch_size=4, balanced_at_last=False, seed=0)
    with pytest.raises(ValueError, match="n_epochs"):
        next(iter(sampler))
    with pytest.raises(ValueError, match="n_epochs must be >= 1, got 0"):
        sampler.configure(n_epochs=0)


@every_kind
def test_an_epoch_has_as_many_images_as_the_data(make):
    batches = list(make(seed=3))
    assert [len(batch) for batch in batches] == [53] * 10 and len(make()) == 10
    assert all(batch.dtype == torch.int64 for batch in batches)


@every_kind
def test_images_of_a_class_are_alike(make):
    counts = np.bincount(drawn(make(), n_epochs=60), minlength=530)
    for k in (1, 2, 3, 4):
        assert chisquare(counts[LABELS.numpy() == k]).pvalue > 1e-3


@every_kind
def test_seed_and_epoch_decide_everything_and_a_saved_state_restores_them(make):
    one, two = make(), make()
    assert same(one, one) and same(one, two)
    one.set_epoch(3)
    assert not same(one, two)
    two.load_state_dict(one.state_dict())
    assert same(one, two)
    assert not same(make(seed=2), make())


@every_kind
def test_an_empty_class_is_refused(make):
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training image \(first: class 1"):
        make(labels=torch.tensor([0, 2, 2]))


def test_values_outside_their_range_are_refused():
    with pytest.raises(ValueError, match=r"sampler.q must be a finite exponent .* got nan"):
        power(float("nan"))
    for beta in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"sampler.beta must be in \(0, 1\)"):
            effective(beta)


def test_who_balances():
    assert [power(q).balances for q in (-1, 0, 0.5, 1)] == [True, True, False, False]
    assert effective().balances and progressive().balances
