"""A single image left over joins the batch before it."""

import pytest
import torch

from vmf_embeddings.samplers.random import RandomSampler


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(7, 3, [3, 4]), (8, 3, [3, 3, 2]), (6, 3, [3, 3]), (1, 3, [1]), (3, 1, [1, 1, 1])],
)
def test_batch_sizes(n, batch_size, sizes):
    sampler = RandomSampler(torch.zeros(n, dtype=torch.long), batch_size=batch_size, seed=0)
    sampler.set_epoch(0)
    batches = list(sampler)
    assert [len(b) for b in batches] == sizes
    assert len(sampler) == len(sizes)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
