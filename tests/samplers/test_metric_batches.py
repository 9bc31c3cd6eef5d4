"""Laws of the batches of metric learning that look at labels alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from vmf_embeddings.samplers.class_random import ClassRandomSampler
from vmf_embeddings.samplers.class_uniform import ClassUniformSampler
from vmf_embeddings.samplers.m_per_class import MPerClassSampler
from vmf_embeddings.samplers.positives import Positives, draw_numbers

SIZES = (40, 20, 7, 3, 1, 9)
LABELS = torch.repeat_interleave(torch.arange(6), torch.tensor(SIZES))
LABELS = LABELS[torch.randperm(80, generator=torch.Generator().manual_seed(0))]
KINDS = {
    "class_random": (ClassRandomSampler, {"batch_size": 16, "n_samples": 4}),
    "m_per_class": (MPerClassSampler, {"batch_size": 16, "n_samples": 4}),
    "class_uniform": (ClassUniformSampler, {"batch_size": 16}),
}


def sampler(name, labels=LABELS, seed=1, **knobs):
    kind, usual = KINDS[name]
    return kind(labels, **usual | knobs, seed=seed)


def images(drawn, n_epochs):
    """Batches [n, batch_size] of several epochs."""
    rows = []
    for epoch in range(n_epochs):
        drawn.set_epoch(epoch)
        rows += list(drawn)
    return torch.stack(rows)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def all_alike(counts):
    """Whether chance explains that counts are not equal."""
    mean = counts.sum() / len(counts)
    return ((counts - mean) ** 2 / mean).sum() < chi2.ppf(0.999, len(counts) - 1)


@pytest.mark.parametrize("name", KINDS)
def test_an_epoch_is_as_many_full_batches_as_the_data_give(name):
    assert [len(batch) for batch in sampler(name)] == [16] * 5 and len(sampler(name)) == 5
    few = sampler(name, torch.arange(10) // 2)
    assert [len(batch) for batch in few] == [16] and len(few) == 1


@pytest.mark.parametrize("name", KINDS)
def test_seed_and_epoch_decide_everything_and_a_saved_state_restores_them(name):
    one, two = sampler(name), sampler(name)
    assert same(one, one) and same(one, two)
    one.set_epoch(3)
    assert not same(one, two)
    two.load_state_dict(one.state_dict())
    assert same(one, two)
    assert not same(sampler(name, seed=2), sampler(name))


@pytest.mark.parametrize("name", KINDS)
def test_classes_are_alike_whatever_their_size(name):
    """Of the last image of class_uniform too; counted by groups, which are independent draws."""
    step = 4 if name != "class_uniform" else 1
    drawn = LABELS[images(sampler(name), 200)[:, ::step]]
    assert all_alike(drawn.flatten().bincount(minlength=6))


@pytest.mark.parametrize("name", ["class_random", "m_per_class"])
def test_groups_have_one_class(name):
    groups = LABELS[images(sampler(name), 20)].reshape(-1, 4)
    assert (groups == groups[:, :1]).all()


@pytest.mark.parametrize("name", KINDS)
def test_images_of_a_class_are_alike(name):
    counts = images(sampler(name), 200).flatten().bincount(minlength=80)
    for k in (0, 1, 2, 3, 5):  # 4 has one image
        assert all_alike(counts[LABELS == k])


def test_with_replacement_a_class_has_several_groups_and_an_image_comes_twice():
    batches = images(sampler("class_random"), 400)
    classes = LABELS[batches[:, ::4]]
    different = np.mean([len(set(row)) == 4 for row in classes.tolist()])
    assert different == pytest.approx(6 * 5 * 4 * 3 / 6**4, abs=0.05)  # 4.5 standard errors
    groups = batches.reshape(-1, 4)
    of_seven = groups[LABELS[groups[:, 0]] == 2].tolist()
    unlike = np.mean([len(set(row)) == 4 for row in of_seven])
    assert unlike == pytest.approx(7 * 6 * 5 * 4 / 7**4, abs=0.05)


def test_without_replacement_no_class_and_no_image_comes_twice():
    for batch in images(sampler("m_per_class"), 20):
        groups = batch.reshape(-1, 4)
        assert len(LABELS[groups[:, 0]].unique()) == 4
        for group in groups:
            assert len(group.unique()) == min(4, SIZES[LABELS[group[0]]])


def test_the_last_image_is_a_partner_of_a_random_one():
    batches = images(sampler("class_uniform"), 200)
    for batch in batches.tolist():
        *drawn, last = batch
        mates = [i for i in drawn if LABELS[i] == LABELS[last]]
        assert mates
        assert SIZES[LABELS[last]] == 1 or any(i != last for i in mates)


def test_partners_are_the_other_images_of_the_class_all_alike():
    rng, partners = np.random.default_rng(0), Positives(LABELS.numpy())
    counts = np.zeros((80, 80), dtype=int)
    for _ in range(300):
        drawn = partners.draw(rng, np.arange(80), 2)
        assert (drawn[:, 0] != drawn[:, 1])[np.array(SIZES)[LABELS] > 2].all()
        np.add.at(counts, (np.arange(80)[:, None], drawn), 1)
    of_same = (LABELS[:, None] == LABELS).numpy() & ~np.eye(80, dtype=bool)
    alone = int(torch.nonzero(LABELS == 4))
    assert counts[alone, alone] == counts[alone].sum() == 600
    counts[alone] = 0
    assert (counts[~of_same] == 0).all()
    for k in (1, 2, 5):  # column sums: how often each image was anybody's partner
        assert all_alike(torch.from_numpy(counts.sum(0)[LABELS == k]))


def test_numbers_repeat_only_where_there_are_too_few():
    drawn = draw_numbers(np.random.default_rng(0), np.array([1, 2, 3, 50]), 3)
    assert drawn.shape == (4, 3)
    assert [len(set(row)) for row in drawn.tolist()][2:] == [3, 3]
    assert (drawn[0] == 0).all() and set(drawn[1].tolist()) == {0, 1}
    assert (drawn < [[1], [2], [3], [50]]).all() and (drawn >= 0).all()


@pytest.mark.parametrize(
    ("name", "knobs", "words"),
    [
        ("class_random", {"batch_size": 0}, "batch_size must be >= 1"),
        (
            "class_random",
            {"n_samples": 3},
            "batch_size=16 must be a multiple of sampler.n_samples=3",
        ),
        ("m_per_class", {"n_samples": 2}, "needs 8 classes, got 6"),
        ("m_per_class", {"n_samples": 0}, "n_samples must be >= 1"),
        ("class_uniform", {"batch_size": 1}, "batch_size must be >= 2"),
    ],
)
def test_wrong_knobs_are_refused(name, knobs, words):
    with pytest.raises(ValueError, match=words):
        sampler(name, **knobs)


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_class_is_refused(name):
    with pytest.raises(ValueError, match=r"first: class 2"):
        sampler(name, torch.tensor([0, 1, 3, 4, 5]))
