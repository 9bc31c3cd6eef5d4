"""Profiles of long tails, and the images that they keep."""

import hashlib

import numpy as np
import pytest

from tests.conftest import cases, load_golden
from vmf_embeddings.datasets.subsampling import profile_counts, shuffled_members, subset_seed_of

GOLDEN = load_golden("cifar_lt_counts")


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_counts_are_those_of_the_originals(case):
    profile = case.split("_")[1]
    factor = 1 / float(GOLDEN[f"{case}/imb_factor"])
    n_classes = int(GOLDEN[f"{case}/n_classes"])
    counts = profile_counts(int(GOLDEN[f"{case}/img_max"]), n_classes, factor, profile)
    assert counts.tolist() == GOLDEN[f"{case}/img_num_per_cls"].tolist()
    assert counts.sum() == GOLDEN[f"{case}/total"]


TABLE = [  # classes, imbalance, total, fewest, more than 100, fewer than 20, at most 20
    *((10, *row) for row in [(10, 20431, 500, 10, 0, 0), (50, 13996, 100, 9, 0, 0)]),
    *((10, *row) for row in [(100, 12406, 50, 8, 0, 0), (200, 11203, 25, 7, 0, 0)]),
    *((100, *row) for row in [(10, 19573, 50, 69, 0, 0), (20, 15907, 25, 53, 0, 0)]),
    *((100, *row) for row in [(50, 12608, 10, 41, 18, 19), (100, 10847, 5, 35, 30, 31)]),
    (100, 200, 9502, 2, 30, 39, 40),
]


@pytest.mark.parametrize(("n_classes", "factor", "total", "fewest", "many", "few", "few20"), TABLE)
def test_groups_are_those_of_the_literature(n_classes, factor, total, fewest, many, few, few20):
    counts = profile_counts(50_000 // n_classes, n_classes, factor)
    assert counts.sum() == total
    assert (counts[0], counts[-1]) == (50_000 // n_classes, fewest)
    assert ((counts > 100).sum(), (counts < 20).sum(), (counts <= 20).sum()) == (many, few, few20)


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_counts_fall_from_head_to_tail_by_the_imbalance_factor(profile):
    for n_classes in (2, 7, 50):
        counts = profile_counts(10_000, n_classes, 40, profile)
        assert (np.diff(counts) <= 0).all()
        assert (counts[0], counts[-1], len(counts)) == (10_000, 250, n_classes)


def test_imbalance_one_keeps_everything():
    assert set(profile_counts(7, 5, 1).tolist()) == {7}


@pytest.mark.parametrize("wrong", [(10, 10, 0.01), (0, 10, 10), (10, 1, 10)])
def test_factors_below_one_and_empty_sets_are_refused(wrong):
    with pytest.raises(ValueError, match="expected imbalance_factor >= 1"):
        profile_counts(*wrong)


def test_unknown_profiles_are_refused():
    with pytest.raises(ValueError, match="exp, step; got 'linear'"):
        profile_counts(10, 10, 10, "linear")


LABELS = np.random.RandomState(5).randint(0, 10, 5000)
COUNTS = profile_counts(400, 10, 100).tolist()


def kept(seed):
    return [places[:n] for places, n in zip(shuffled_members(LABELS, seed), COUNTS, strict=True)]


@pytest.fixture
def global_generator():
    state = np.random.get_state()
    yield np.random
    np.random.set_state(state)


def test_seed_0_keeps_the_images_of_ldam(global_generator):
    """Its way: positions of a class from the global generator's shuffle, the first ones taken."""
    global_generator.seed(0)
    for k, places in enumerate(kept(subset_seed_of("ldam", 9))):
        row = np.where(LABELS == k)[0]
        global_generator.shuffle(row)
        assert places.tolist() == row[: COUNTS[k]].tolist()


def test_seed_3407_keeps_the_images_of_glmc(global_generator):
    """Its way: a choice without replacement from the global generator."""
    global_generator.seed(3407)
    for k, places in enumerate(kept(subset_seed_of("glmc", 9))):
        row = np.where(LABELS == k)[0]
        picked = global_generator.choice(len(row), COUNTS[k], replace=False)
        assert places.tolist() == row[picked].tolist()


def test_choosing_neither_reads_nor_moves_the_global_generator(global_generator):
    global_generator.seed(1)
    before = global_generator.get_state()[1].copy()
    first = kept(0)
    assert (global_generator.get_state()[1] == before).all()
    global_generator.seed(2)
    assert all(map(np.array_equal, first, kept(0)))


def test_the_same_images_in_every_process():
    """A literal: what other processes, machines and versions must arrive at, too."""
    places = np.concatenate(kept(0)).astype("<i8")
    assert hashlib.sha256(places.tobytes()).hexdigest().startswith("5b55bf0bee4a8d67")


def test_a_larger_imbalance_keeps_a_part_of_the_images():
    for k, places in enumerate(shuffled_members(LABELS, 3)):
        assert sorted(places) == np.flatnonzero(LABELS == k).tolist()
    many, few = (profile_counts(400, 10, factor) for factor in (10, 200))
    assert (few <= many).all()  # and both are starts of the same rows


def test_seeded_is_the_users_seed():
    assert subset_seed_of("seeded", 12) == 12
    with pytest.raises(ValueError, match="subset_seed must be >= 0"):
        subset_seed_of("seeded", -1)
    with pytest.raises(ValueError, match="ldam, glmc, seeded; got 'lda'"):
        subset_seed_of("lda", 0)
