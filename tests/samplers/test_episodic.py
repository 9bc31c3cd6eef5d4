"""Laws of episodes."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.samplers.episodic import EPISODES_PER_DRAW, EpisodicSampler, draw_distinct

RAGGED = torch.tensor([7] * 5 + [3] * 1 + [9] * 2 + [4] * 8 + [0] * 3)  # sizes 5, 1, 2, 8, 3
RAGGED = RAGGED[torch.randperm(len(RAGGED), generator=torch.Generator().manual_seed(0))]


def sampler(labels=RAGGED, *, n_episodes=200, n_classes=3, n_samples=3, seed=1):
    return EpisodicSampler(
        labels, n_episodes=n_episodes, n_classes=n_classes, n_samples=n_samples, seed=seed
    )


def test_an_epoch_has_n_episodes_batches():
    odd = 2 * EPISODES_PER_DRAW + 5
    episodes = sampler(n_episodes=odd)
    assert len(episodes) == odd == len(list(episodes))


def test_every_class_comes_at_most_once_and_gives_its_share():
    sizes = dict(zip(*np.unique(RAGGED, return_counts=True), strict=True))
    for batch in sampler():
        classes, counts = np.unique(RAGGED[batch], return_counts=True)
        assert len(classes) == 3
        assert all(c == min(3, sizes[k]) for k, c in zip(classes, counts, strict=True))


def test_no_image_comes_twice_in_an_episode():
    assert all(len(batch.unique()) == len(batch) for batch in sampler())


def test_images_of_a_class_stand_together():
    for batch in sampler():
        labels = RAGGED[batch]
        assert (labels[1:] != labels[:-1]).sum() == len(labels.unique()) - 1


def test_fewer_classes_and_images_than_asked_for_give_all():
    for batch in sampler(n_classes=50, n_samples=99, n_episodes=3):
        assert batch.sort().values.tolist() == list(range(len(RAGGED)))


def test_batches_are_int64_tensors():
    assert next(iter(sampler())).dtype == torch.int64


def test_classes_are_drawn_uniformly():
    seen = np.concatenate([RAGGED[batch].unique().numpy() for batch in sampler(n_episodes=3000)])
    assert chisquare(np.unique(seen, return_counts=True)[1]).pvalue > 1e-3


def test_images_of_a_class_are_drawn_uniformly():
    drawn = torch.cat(list(sampler(n_episodes=3000)))
    counts = torch.bincount(drawn[RAGGED[drawn] == 4], minlength=len(RAGGED))[RAGGED == 4]
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_order_of_classes_and_images_is_random():
    labels = torch.arange(12) // 4
    first = torch.stack(list(sampler(labels, n_episodes=3000, n_classes=3, n_samples=2)))
    for position in range(first.shape[1]):
        assert chisquare(torch.bincount(first[:, position], minlength=12).numpy()).pvalue > 1e-3


def test_sets_are_equally_likely():
    picks = draw_distinct(np.random.default_rng(3), np.full(20_000, 5), 3)
    sets = np.sort(picks, axis=1) @ np.array([25, 5, 1])
    counts = np.unique(sets, return_counts=True)[1]
    assert len(counts) == 10
    assert chisquare(counts).pvalue > 1e-3


def test_short_rows_give_all_their_numbers_first():
    picks = draw_distinct(np.random.default_rng(3), np.array([1, 2, 5, 9]), 4)
    assert sorted(picks[0]) == [-1, -1, -1, 0]
    assert picks[0][0] == 0
    assert sorted(picks[1][:2]) == [0, 1]
    assert (picks[1][2:] == -1).all()
    assert (picks[2:] >= 0).all()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_seed_and_epoch_decide_everything():
    one, two = sampler(), sampler()
    assert same(one, one)
    assert same(one, two)
    one.set_epoch(1)
    assert not same(one, two)
    two.set_epoch(1)
    assert same(one, two)
    assert not same(sampler(seed=2), sampler())


def test_global_generators_are_neither_read_nor_advanced():
    np.random.seed(0)
    torch.manual_seed(0)
    before = list(sampler())
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    np.random.seed(9)
    torch.manual_seed(9)
    assert same(sampler(), before)
    np.random.seed(0)
    torch.manual_seed(0)
    list(sampler())
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.get_rng_state(), state[1])


def test_a_saved_state_gives_the_same_batches():
    old, new = sampler(), sampler(seed=5)
    old.set_epoch(4)
    new.load_state_dict(old.state_dict())
    assert same(old, new)


@pytest.mark.parametrize("key", ["n_episodes", "n_classes", "n_samples"])
def test_counts_below_one_are_refused_by_name(key):
    with pytest.raises(ValueError, match=f"sampler.{key} must be >= 1, got 0"):
        sampler(**{key: 0})


def test_no_labels_are_refused():
    with pytest.raises(ValueError, match="labels"):
        sampler(torch.tensor([], dtype=torch.int64))
