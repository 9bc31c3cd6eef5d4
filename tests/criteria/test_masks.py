"""Triplets and pairs with a mask, as on a GPU, give the loss and gradient of those that count."""

import pytest
import torch
from torch.nn.functional import normalize

from tests.criteria.fixture import LABELS, PAIRED
from tests.criteria.fixture import embeddings as rows
from tests.criteria.made import NAMES, made
from vmf_embeddings.criteria import comparisons
from vmf_embeddings.criteria.comparisons import (
    all_triplets,
    masked_pairs,
    masked_triplets,
    positive_and_negative_pairs,
    positive_rows,
)
from vmf_embeddings.criteria.quadruplet import second_negatives
from vmf_embeddings.miners.base import MaskedTriplets
from vmf_embeddings.miners.distance import DistanceMiner
from vmf_embeddings.miners.npair import NPairMiner

ALONE = torch.tensor([0, 0, 1, 2, 3, 4])  # most anchors have no positive
BATCHES = {"paired": PAIRED, "ragged": LABELS, "alone": ALONE, "one class": torch.zeros(4).long()}
TAKE_MASKS = [name for name in NAMES if made(name).takes_masks]
every_batch = pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES.keys())


def value_and_gradient(criterion, labels, triplets):
    x = rows()[: len(labels)].requires_grad_()
    torch.manual_seed(0)
    value = criterion(criterion.prepare_embeddings(x), labels, triplets, features=x[:, :5].detach())
    parameters = [x, *criterion.parameters()]
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    return [value, *(g for g in gradients if g is not None)]


def mined(labels, miner):
    """Masked triplets of a miner for a batch, and the same compact."""
    x = normalize(rows()[: len(labels)], dim=-1)
    seeds = (torch.Generator().manual_seed(3) for _ in range(2))
    masked, compact = miner.masked(x, labels, next(seeds)), miner(x, labels, next(seeds))
    assert isinstance(masked, MaskedTriplets)
    return masked, compact


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_all_criteria_on_triplets_take_masks():
    assert {name for name in NAMES if made(name).takes == "triplets"} <= set(TAKE_MASKS)


@every_batch
@pytest.mark.parametrize("name", ["contrastive", "margin", "triplet", "snr"])
def test_all_triplets_of_a_batch(name, labels):
    for options in ({"variant": "reference"}, {}) if name in ("contrastive", "margin") else ({},):
        criterion = made(name, **options)
        expected = value_and_gradient(criterion, labels, all_triplets(labels))
        found = value_and_gradient(criterion, labels, masked_triplets(labels))
        assert_equal(found, expected)


@every_batch
@pytest.mark.parametrize("name", ["contrastive", "margin"])
def test_all_pairs_of_a_batch(name, labels, monkeypatch):
    criterion = made(name)
    expected = value_and_gradient(criterion, labels, None)
    module = type(criterion).forward.__globals__
    monkeypatch.setitem(module, "positive_and_negative_pairs", lambda y, _, n: masked_pairs(y, n))
    assert_equal(value_and_gradient(criterion, labels, None), expected)


@every_batch
@pytest.mark.parametrize("name", TAKE_MASKS)
def test_triplets_of_a_miner(name, labels):
    pairs_only = name in ("npair", "angular")
    miner = NPairMiner() if pairs_only else DistanceMiner(0.5, 1.4, "standard")
    masked, compact = mined(labels, miner)
    if name == "quadruplet":  # which draws a row for each triplet: here for those that count
        expected = value_and_gradient(made(name), labels, masked.compact())
        if masked.valid.all():
            assert_equal(value_and_gradient(made(name), labels, masked), expected)
        return
    found = value_and_gradient(made(name), labels, masked)
    assert_equal(found, value_and_gradient(made(name), labels, compact))


def test_a_quadruplet_without_a_miner_has_the_same_terms_for_every_positive():
    triplets = masked_triplets(LABELS)
    candidates = second_negatives(LABELS, triplets)
    assert candidates.shape == (12, 1, 12, 12)
    a, p, n = (r.expand_as(triplets.valid)[triplets.valid] for r in triplets[:3])
    wanted = (LABELS[a, None] != LABELS) & (LABELS[n, None] != LABELS)
    found = candidates.expand(12, 12, 12, 12)[triplets.valid]
    assert torch.equal(found, wanted)
    assert made("quadruplet")(rows(), LABELS, triplets).isfinite()


@every_batch
def test_masked_triplets_and_pairs_are_all_there_are_in_the_same_order(labels):
    for one, other in zip(masked_triplets(labels).compact(), all_triplets(labels), strict=True):
        assert torch.equal(one, other)
    of_batch = positive_and_negative_pairs(labels, None)
    for masked, pairs in zip(masked_pairs(labels), of_batch, strict=True):
        at = masked.valid.nonzero(as_tuple=True)
        assert torch.equal(masked.anchor.expand_as(masked.valid)[at], pairs.anchor)
        assert torch.equal(masked.other.expand_as(masked.valid)[at], pairs.other)


@every_batch
def test_positive_rows_of_masked_triplets_are_those_of_the_ones_that_count(labels):
    masked, compact = mined(labels, NPairMiner())
    (found, has), (wanted, had) = (positive_rows(labels, t) for t in (masked, compact))
    assert torch.equal(has, had) and torch.equal(found[has], wanted[had])


def test_large_batches_are_not_masked():
    labels = torch.empty(257, dtype=torch.int64, device="meta")
    assert len(labels) ** 3 > comparisons.MOST_MASKED
    small = comparisons.triplets_of_batch(labels[:8])
    assert isinstance(small, MaskedTriplets) and small.valid.shape == (8, 8, 8)
