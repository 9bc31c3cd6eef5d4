"""Laws of shuffled batches."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.samplers.random import RandomSampler

LABELS = torch.zeros(10, dtype=torch.int64)


def sampler(batch_size=4, seed=1, labels=LABELS):
    return RandomSampler(labels, batch_size=batch_size, seed=seed)


def test_every_image_comes_once_and_the_last_batch_is_kept():
    batches = list(sampler())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert len(sampler()) == 3
    assert torch.cat(batches).sort().values.tolist() == list(range(10))


def test_every_position_is_uniform():
    shuffled = sampler(batch_size=10)
    firsts = []
    for epoch in range(3000):
        shuffled.set_epoch(epoch)
        firsts.append(int(next(iter(shuffled))[0]))
    assert chisquare(np.bincount(firsts, minlength=10)).pvalue > 1e-3


def test_seed_and_epoch_decide_everything():
    one, two = sampler(), sampler()
    assert torch.equal(torch.cat(list(one)), torch.cat(list(two)))
    one.set_epoch(3)
    assert not torch.equal(torch.cat(list(one)), torch.cat(list(two)))
    two.load_state_dict(one.state_dict())
    assert torch.equal(torch.cat(list(one)), torch.cat(list(two)))
    assert not torch.equal(torch.cat(list(sampler(seed=2))), torch.cat(list(sampler())))


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(ValueError, match="sampler.batch_size must be >= 1, got 0"):
        sampler(batch_size=0)
