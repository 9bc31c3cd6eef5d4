"""Every image of an epoch counts once, however many processes divide its batches."""

import itertools

import pytest
import torch

from vmf_embeddings.samplers.class_aware import ClassAwareSampler
from vmf_embeddings.samplers.greedy_coreset import GreedyCoresetSampler
from vmf_embeddings.samplers.paired import PairedSampler
from vmf_embeddings.samplers.random import RandomSampler
from vmf_embeddings.training.batches import TrainBatches
from vmf_embeddings.training.division import batch_sizes, checked_sizes, refuse_larger_batches
from vmf_embeddings.untrusted.refused import Refused


class InMemory:
    """Items that are their indices."""

    in_memory, device = True, torch.device("cpu")

    def __init__(self, n):
        self.labels = torch.arange(n) % 2

    def batch(self, indices, generator=None):
        return {"examples": indices, "ids": self.labels[indices]}


def sampler_of(n, batch_size):
    return RandomSampler(torch.arange(n) % 2, batch_size=batch_size, seed=1)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_any_number_of_images_and_processes_is_divided_whole_or_refused_beforehand(world):
    for n, batch_size in itertools.product(range(1, 24), range(1, 12)):
        split, sampler = InMemory(n), sampler_of(n, batch_size)
        try:
            parts = [
                TrainBatches(split, sampler, seed=0, rank=r, world=world) for r in range(world)
            ]
        except Refused:
            assert min(n, batch_size) < world
            continue
        assert world == 1 or min(parts[0].sizes) >= world
        epochs = [list(part.epoch(3)) for part in parts]
        seen = torch.cat([batch["examples"] for epoch in epochs for batch, _ in epoch])
        assert seen.sort().values.tolist() == list(range(n))
        for part, epoch in zip(parts, epochs, strict=True):
            assert len(part) == len(epoch)
            assert all(len(batch["ids"]) > 0 for batch, _ in epoch)
        for step in zip(*epochs, strict=True):
            assert sum(weight for _, weight in step) == pytest.approx(world)


def test_seventeen_images_in_fives_make_three_batches_for_three_processes(caplog):
    with caplog.at_level("INFO"):
        assert checked_sizes(sampler_of(17, 5), 3) == [5, 5, 7]
    assert "fewer than the 3 processes: they join the batch before them, which has 7" in caplog.text
    assert checked_sizes(sampler_of(17, 5), 2) == [5, 5, 5, 2]


def test_batches_smaller_than_the_number_of_processes_are_refused_with_what_to_type():
    with pytest.raises(Refused, match=r"batch of 2 images .* 3 processes: use sampler\.batch_size"):
        checked_sizes(sampler_of(17, 2), 3)
    labels = torch.arange(12) % 3
    stored = GreedyCoresetSampler(
        labels, batch_size=4, n_samples=2, pool_size=6, seed=0, projection_dim=2, softened=True
    )
    assert batch_sizes(stored, 4) == [4, 4, 4]  # without embeddings, which it would need
    with pytest.raises(Refused, match="batch of 4 images"):
        checked_sizes(stored, 5)


def test_pairs_that_cannot_be_divided_evenly_are_refused():
    labels = torch.arange(12) % 3
    pairs = PairedSampler(labels, batch_size=4, power=1.0, replacement=True, seed=0)
    assert checked_sizes(pairs, 2) == [8, 8, 8]
    with pytest.raises(Refused, match=r"4 pairs .* 3 processes: let sampler\.batch_size be a mul"):
        checked_sizes(pairs, 3)


def test_other_samplers_with_a_smaller_last_batch_are_divided_too():
    labels = torch.tensor([0] * 7 + [1] * 3)
    options = {"n_samples": 2, "epoch_length": "reference_sampler", "seed": 0}
    sampler = ClassAwareSampler(labels, batch_size=6, **options)
    assert checked_sizes(sampler, 3) == [6, 8] and batch_sizes(sampler, 2) == [6, 6, 2]


def test_a_limit_of_the_batch_counts_the_images_that_join_it():
    refuse_larger_batches(sampler_of(17, 5), 2, 5)
    refuse_larger_batches(sampler_of(16, 5), 1, 6)  # a single image joins in any case
    with pytest.raises(Refused, match="memory_size=5 is smaller than .* use memory_size=6"):
        refuse_larger_batches(sampler_of(16, 5), 1, 5)
    with pytest.raises(Refused, match="has 7 images"):
        refuse_larger_batches(sampler_of(17, 5), 3, 5)
