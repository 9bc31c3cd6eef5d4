"""Triplets of fixed number with a mask are the triplets of the miner, in the same order."""

import pytest
import torch

from tests.miners.test_laws import BATCHES, NAMES, batch, generator, miner
from vmf_embeddings.miners import draws
from vmf_embeddings.miners.base import MaskedTriplets, Triplets
from vmf_embeddings.miners.draws import distinct, distinct_masked

FIXED = [name for name in NAMES if name not in ("random", "intra_random")]


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("name", NAMES)
def test_those_that_count_are_the_triplets_of_the_miner(name, labels):
    x, y = batch(labels)
    for seed in range(5):
        masked, compact = (
            miner(name).masked(x, y, generator(seed)),
            miner(name)(x, y, generator(seed)),
        )
        assert isinstance(compact, Triplets)
        assert all(torch.equal(a, b) for a, b in zip(masked.compact(), compact, strict=True))


@pytest.mark.parametrize("name", FIXED)
def test_their_number_does_not_depend_on_the_data(name):
    found = [miner(name).masked(*batch(y), generator()) for y in ([0, 0, 1, 1], [0, 1, 2, 3])]
    assert all(isinstance(triplets, MaskedTriplets) for triplets in found)
    assert len({triplets.valid.shape for triplets in found}) == 1
    assert all(0 <= row.min() and row.max() < 4 for t in found for row in t[:3])


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match="expected embeddings"):
        miner(name).masked(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("k", [1, 2, 5, 24])
def test_masked_numbers_are_the_distinct_ones_of_the_same_draws(k):
    for n in (0, 1, 2, k, 3 * k, 4 * k - 1, 4 * k, 4 * k + 1, 100, 10_000):
        for seed in range(10):
            wanted = distinct(n, k, torch.zeros(1), generator(seed))
            found, valid = distinct_masked(torch.tensor(n), k, generator(seed))
            assert found.shape == valid.shape == (k,)
            assert valid.tolist() == [True] * min(n, k) + [False] * (k - min(n, k))
            assert torch.equal(found[valid], wanted) and not found[~valid].any()


def test_draws_that_are_all_alike_leave_numbers_out(monkeypatch):
    monkeypatch.setattr(draws, "uniform", lambda shape, like, rng: torch.full(shape, 0.5).double())
    found, valid = distinct_masked(torch.tensor(100), 3, None)
    assert found.tolist() == [50, 0, 0] and valid.tolist() == [True, False, False]
