"""Laws of batches that are read block by block."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.datasets.subset import Subset
from vmf_embeddings.samplers.blocks import BlocksSampler

SIZES = (5, 1, 9, 4, 7, 3, 8, 2, 6)
BLOCKS = np.repeat([4, 0, 7, 2, 1, 9, 3, 8, 5], SIZES)


def sampler(blocks=BLOCKS, window=3, within="shuffled", batch_size=4, seed=1, labels=None):
    labels = torch.zeros(len(blocks), dtype=torch.int64) if labels is None else labels
    made = BlocksSampler(labels, batch_size=batch_size, window=window, within=within, seed=seed)
    made.set_blocks(blocks)
    return made


def order(made, epoch=0):
    made.set_epoch(epoch)
    return torch.cat(list(made)).numpy()


def most_open(blocks):
    """The most blocks that are begun and not finished at one place of the order, place by place."""
    last = {block: place for place, block in enumerate(blocks.tolist())}
    begun, most = set(), 0
    for place, block in enumerate(blocks.tolist()):
        begun.add(block)
        most = max(most, len(begun))
        if last[block] == place:
            begun.remove(block)
    return most


@pytest.mark.parametrize("within", ["shuffled", "stored"])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 9, 100])
def test_every_image_comes_once_and_no_more_blocks_than_the_window_are_open(window, within):
    made = sampler(window=window, within=within)
    for epoch in range(20):
        found = order(made, epoch)
        assert sorted(found.tolist()) == list(range(len(BLOCKS)))
        assert most_open(BLOCKS[found]) <= window


def test_blocks_that_are_scattered_over_the_data_are_one_block_each():
    blocks = np.random.default_rng(0).permutation(BLOCKS)
    assert most_open(blocks) > 3
    assert most_open(blocks[order(sampler(blocks))]) <= 3


def test_groups_are_as_large_as_the_window_allows_and_differ_by_one():
    blocks = np.repeat(np.arange(10), 50)
    found = blocks[order(sampler(blocks, window=4))]
    groups = [len(set(found[a:b])) for a, b in ((0, 200), (200, 350), (350, 500))]
    assert groups == [4, 3, 3]


@pytest.mark.parametrize("within", ["shuffled", "stored"])
def test_a_group_is_mixed_and_the_blocks_come_in_another_order_in_every_epoch(within):
    made = sampler(np.repeat([0, 1], 2), window=2, within=within)
    found = Counter(tuple(order(made, epoch)) for epoch in range(2400))
    n = math.factorial(4) if within == "shuffled" else math.comb(4, 2)
    assert len(found) == n
    assert chisquare(list(found.values())).pvalue > 1e-3
    firsts = Counter(int(BLOCKS[order(sampler(window=1), e)[0]]) for e in range(900))
    assert chisquare([firsts[b] for b in set(BLOCKS)]).pvalue > 1e-3


def test_stored_images_keep_their_order_within_a_block():
    found = order(sampler(within="stored", window=4))
    for block in set(BLOCKS):
        own = found[BLOCKS[found] == block]
        assert (np.diff(own) > 0).all()


def test_seed_and_epoch_decide_everything():
    one, two = sampler(), sampler()
    assert np.array_equal(order(one, 2), order(two, 2))
    assert not np.array_equal(order(one, 2), order(two, 3))
    assert not np.array_equal(order(one), order(sampler(seed=2)))
    two.load_state_dict(one.state_dict())
    assert [b.tolist() for b in one] == [b.tolist() for b in two]
    assert len(one) == len(list(one))


@pytest.mark.parametrize("blocks", [None, np.zeros(3, int)])
def test_data_without_blocks_are_refused_with_the_samplers_that_fit(blocks):
    with pytest.raises(ValueError, match=r"dataset=tar, or sampler=random, class_uniform"):
        made = sampler()
        made.set_blocks(blocks)


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"window": 0}, "window must be >= 1"), ({"batch_size": 0}, "batch_size must be >= 1"),
     ({"within": "random"}, "one of shuffled, stored; got 'random'")],
)  # fmt: skip
def test_values_out_of_range_are_refused(changes, what):
    with pytest.raises(ValueError, match=what):
        sampler(**changes)


@pytest.mark.parametrize("within", ["shuffled", "stored"])
@pytest.mark.parametrize("kind", ["sorted", "mixed", "single"])
def test_tars_sorted_by_class_are_named_where_they_are_read_as_stored(caplog, within, kind):
    labels = {
        "sorted": torch.arange(400) // 20,
        "mixed": torch.randint(20, (400,), generator=torch.Generator().manual_seed(0)),
        "single": torch.zeros(400, dtype=torch.int64),
    }[kind]
    sampler(np.arange(400) // 50, within=within, labels=labels)
    assert len(caplog.records) == (kind == "sorted" and within == "stored")


def test_a_subset_has_the_blocks_of_its_images():
    class Whole:
        blocks = BLOCKS

    subset = object.__new__(Subset)
    subset.whole, subset._rows = Whole(), [0, 6, 20]
    assert subset.blocks.tolist() == BLOCKS[[0, 6, 20]].tolist()
    subset.whole = type("Plain", (), {"blocks": None})()
    assert subset.blocks is None
