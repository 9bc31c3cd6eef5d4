"""Laws of the samplers that choose by embeddings, and the rules of their choice as slow loops."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import pdist
from scipy.stats import chi2, multivariate_normal, wasserstein_distance

from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.samplers.d2_coreset import D2CoresetSampler, d2_coreset, d2_probabilities
from vmf_embeddings.samplers.disthist_batchmatch import DistHistBatchMatchSampler, histogram_costs
from vmf_embeddings.samplers.embedding_based import SquaredDistances
from vmf_embeddings.samplers.fid_batchmatch import FidBatchMatchSampler, frechet_distances
from vmf_embeddings.samplers.greedy_coreset import GreedyCoresetSampler, k_center_greedy
from vmf_embeddings.samplers.matching import Matching
from vmf_embeddings.samplers.positives import Positives

N, D = 90, 5
LABELS = torch.arange(N) % 9
SHAPE = {"batch_size": 12, "n_samples": 3, "pool_size": 60}
MATCHING = SHAPE | {"n_candidates": 8}
KINDS = {
    "greedy_coreset": partial(GreedyCoresetSampler, projection_dim=None, softened=False, **SHAPE),
    "softened": partial(GreedyCoresetSampler, projection_dim=2, softened=True, **SHAPE),
    "d2_coreset": partial(D2CoresetSampler, power=1.0, **SHAPE),
    "fid_batchmatch": partial(FidBatchMatchSampler, **MATCHING),
    "disthist_batchmatch": partial(DistHistBatchMatchSampler, histogram_weight=75.0, **MATCHING),
}
CORESETS = ("greedy_coreset", "softened", "d2_coreset")


def points(seed=0, n=N):
    """Unit vectors [n, D], some classes nearer than others, as float32."""
    draw = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(9, D, generator=draw)
    return torch.nn.functional.normalize(
        centres[torch.arange(n) % 9] + torch.randn(n, D, generator=draw)
    )


def sampler(name, seed=1, embeddings=None, **knobs):
    drawn = KINDS[name](LABELS, seed=seed, **knobs)
    drawn.update_embeddings(points() if embeddings is None else embeddings)
    return drawn


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_an_epoch_is_as_many_full_batches_as_the_data_give(name):
    batches = list(sampler(name))
    assert [len(batch) for batch in batches] == [12] * 7 and len(sampler(name)) == 7
    assert all(batch.dtype == torch.int64 and 0 <= batch.min() <= batch.max() < N
               for batch in batches)  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_embeddings_seed_and_epoch_decide_everything(name):
    one, two = sampler(name), sampler(name)
    assert isinstance(one, BatchSampler) and one.needs_embeddings
    assert same(one, one) and same(one, two)
    one.set_epoch(3)
    assert not same(one, two)
    two.load_state_dict(one.state_dict())
    assert same(one, two)
    assert not same(sampler(name, seed=2), sampler(name))
    one.update_embeddings(points(seed=5))
    assert not same(one, two)


@pytest.mark.parametrize("name", KINDS)
def test_without_fitting_embeddings_nothing_is_drawn(name):
    with pytest.raises(ValueError, match="call update_embeddings"):
        next(iter(KINDS[name](LABELS, seed=0)))
    with pytest.raises(ValueError, match=r"expected embeddings \[90, D\]"):
        sampler(name, embeddings=points()[:10])
    with pytest.raises(ValueError, match="finite"):
        sampler(name, embeddings=points() * float("nan"))


@pytest.mark.parametrize("name", KINDS)
def test_equal_points_and_more_dimensions_than_points_are_safe(name):
    wide = torch.randn(N, 200, generator=torch.Generator().manual_seed(0))
    for embeddings in (torch.ones(N, D), torch.zeros(N, D), wide):
        for batch in sampler(name, embeddings=embeddings):
            assert len(batch) == 12


@pytest.mark.parametrize("name", CORESETS)
def test_picks_are_different_and_get_partners_of_their_class(name):
    for batch in sampler(name):
        picks, others = batch[:4], batch[4:].reshape(4, 2)
        assert len(picks.unique()) == 4
        assert (LABELS[others] == LABELS[picks][:, None]).all()
        assert (others != picks[:, None]).all() and (others[:, 0] != others[:, 1]).all()


@pytest.mark.parametrize("name", CORESETS)
def test_an_epoch_picks_from_all_images(name):
    """The pool is drawn anew for each batch: small pools together reach every image."""
    drawn, seen = sampler(name, pool_size=10), set()
    for epoch in range(25):
        drawn.set_epoch(epoch)
        seen |= {i for batch in drawn for i in batch[:4].tolist()}
    assert len(seen) == N


def test_distances_by_products_are_those_by_differences():
    rows = points().numpy().astype(np.float64)
    rows = np.concatenate([rows, rows[:3], 1e-3 * rows])
    distances = SquaredDistances(rows)
    for i in range(0, len(rows), 10):
        expected = np.square(rows - rows[i]).sum(1)
        assert distances[i] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert distances[i][i] == 0
    assert distances[0][N] == 0  # the same point again


def slow_k_center(rows, first, k):
    """Picks and, before each of them, the distances to the nearest pick."""
    picks, covers = [first], []
    while len(picks) < k:
        nearest = [min(np.linalg.norm(row - rows[p]) for p in picks) for row in rows]
        covers.append(nearest)
        picks.append(int(np.argmax(nearest)))
    return picks, np.array(covers)


def test_picks_of_a_batch_are_those_of_greedy_k_center_on_the_same_images():
    """With all images in the pool: positions in the shuffled pool are not taken for images."""
    rows = points().numpy().astype(np.float64)
    for batch in sampler("greedy_coreset", pool_size=N):
        picks = batch[:4].tolist()
        slow, covers = slow_k_center(rows, picks[0], 4)
        assert picks == slow
        assert (np.diff(covers, axis=0) <= 0).all()


def cover(rows, picks):
    """The largest distance of a point from the nearest pick."""
    return np.linalg.norm(rows[:, None] - rows[picks], axis=2).min(1).max()


def test_greedy_covers_better_than_random_and_within_twice_the_least():
    rng = np.random.default_rng(0)
    greedy, random = [], []
    for seed in range(20):
        rows = points(seed).numpy().astype(np.float64)
        greedy.append(cover(rows, k_center_greedy(rng, rows, 10)))
        random.append(cover(rows, rng.choice(N, 10, replace=False)))
    assert (np.array(greedy) < random).sum() >= 18
    assert np.mean(greedy) < 0.8 * np.mean(random)
    line = np.arange(9.0)[:, None]  # three centres at 1, 4, 7 cover it by 1
    assert all(cover(line, k_center_greedy(rng, line, 3)) <= 2 for _ in range(50))


def test_softened_picks_are_among_the_farthest_and_the_first_is_any():
    rng, rows = np.random.default_rng(0), points().numpy().astype(np.float64)
    firsts, seconds = set(), set()
    for _ in range(300):
        picks = k_center_greedy(rng, rows, 3, percentile=90)
        first = np.linalg.norm(rows - rows[picks[0]], axis=1)
        assert first[picks[1]] >= np.percentile(np.delete(first, picks[0]), 90) - 1e-12
        firsts.add(picks[0])
        seconds |= {tuple(picks[:2])}
    assert len(firsts) > 80
    assert len(seconds) > len(firsts)  # several seconds to one first


def test_a_projection_is_a_linear_map_to_fewer_dimensions():
    """Points that differ only where the map looks at nothing are never told apart."""
    line = torch.zeros(N, D)
    line[:, 0] = torch.arange(N)
    for batch in sampler("greedy_coreset", pool_size=N, projection_dim=1, embeddings=line):
        assert set(batch[1:3].tolist()) & {0, N - 1}  # a line keeps its ends


def slow_d2(rows, picks, power):
    """Probabilities as the formula says, by scipy's density."""
    covariance = np.cov(rows.T)
    covariance += 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    density = multivariate_normal(rows.mean(0), covariance).pdf(rows)
    weights = [
        0 if i in picks
        else density[i] * sum(np.linalg.norm(rows[i] - rows[p]) ** 2 for p in picks) ** power
        for i in range(len(rows))
    ]  # fmt: skip
    return np.array(weights) / sum(weights)


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_second_pick_has_the_probability_of_density_times_distance(power):
    rng, rows = np.random.default_rng(3), points(n=12).numpy().astype(np.float64)
    counts, expected = np.zeros((12, 12)), np.zeros((12, 12))
    for _ in range(1500):
        first, second = d2_coreset(rng, rows, 2, power)
        counts[first, second] += 1
    for first in range(12):
        expected[first] = counts[first].sum() * slow_d2(rows, [first], power)
    often = expected >= 5
    assert often.sum() > 15 and (counts[expected == 0] == 0).all()
    statistic = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert statistic < chi2.ppf(0.999, often.sum())


def test_first_pick_is_the_point_nearest_to_a_gaussian_draw():
    rng, rows = np.random.default_rng(3), points(n=12).numpy().astype(np.float64)
    drawn = rng.multivariate_normal(rows.mean(0), np.cov(rows.T), size=40_000)
    nearest = np.linalg.norm(drawn[:, None] - rows, axis=2).argmin(1)
    expected = np.bincount(nearest, minlength=12) * 2000 / 40_000
    counts = np.bincount([d2_coreset(rng, rows, 1, 1.0)[0] for _ in range(2000)], minlength=12)
    variance = expected * (1 + 2000 / 40_000)  # of both counts
    often = expected >= 5
    assert ((counts - expected)[often] ** 2 / variance[often]).sum() < chi2.ppf(0.999, often.sum())


def test_d2_probabilities_are_safe_where_powers_underflow_and_where_nothing_is_left():
    far = d2_probabilities(np.array([0.0, -5000.0, -5001.0]), np.ones(3), np.array([0]), 1.0)
    assert far == pytest.approx([0, np.e / (1 + np.e), 1 / (1 + np.e)])
    on_the_picks = d2_probabilities(np.zeros(4), np.zeros(4), np.array([1]), 1.0)
    assert on_the_picks == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    assert d2_probabilities(np.zeros(3), np.array([0.0, 0.0, 2.0]), np.array([0]), 1.0)[1] == 0


def matching(**knobs):
    sizes = {"batch_size": 12, "n_samples": 3, "pool_size": 60, "n_candidates": 8}
    return Matching(Positives(LABELS.numpy()), **sizes | knobs)


def test_candidates_are_whole_groups_of_the_pool_without_replacement():
    rng = np.random.default_rng(0)
    pool, candidates = matching().pool(rng), matching().candidates(rng)
    groups = LABELS.numpy()[pool].reshape(20, 3)
    assert (groups == groups[:, :1]).all()
    assert all(len(set(row)) == 3 for row in pool.reshape(20, 3).tolist())
    assert candidates.shape == (8, 12)
    for rows in candidates:
        assert len(set(rows.tolist())) == 12
        assert (rows.reshape(4, 3) == rows.reshape(4, 3)[:, :1] + np.arange(3)).all()
    assert len({tuple(rows) for rows in candidates.tolist()}) == 8


def slow_frechet(rows, chosen):
    mean, other = rows.mean(0), rows[chosen].mean(0)
    one, two = np.cov(rows.T), np.cov(rows[chosen].T)
    root = sqrtm(one @ two).real
    return ((mean - other) ** 2).sum() + np.trace(one + two - 2 * root)


def slow_histogram(rows, chosen, weight):
    of_all, of_some = pdist(rows), pdist(rows[chosen])
    edges = np.linspace(of_all.min(), of_all.max(), 51)
    middles = (edges[1:] + edges[:-1]) / 2
    heights = [np.histogram(x, edges)[0] for x in (of_all, of_some)]
    both = wasserstein_distance(middles, middles, *heights)
    both += wasserstein_distance(middles, middles, *heights[::-1])
    return (
        np.linalg.norm(rows.mean(0) - rows[chosen].mean(0))
        + np.linalg.norm(rows.std(0) - rows[chosen].std(0))
        + weight * both
    )


@pytest.mark.parametrize("name", ["fid_batchmatch", "disthist_batchmatch"])
def test_the_batch_is_the_candidate_with_the_least_cost(name):
    """Replays the draws of an epoch, and scores every candidate by loops."""
    drawn, rows = sampler(name), points().numpy().astype(np.float64)
    rng = drawn.generator()
    chosen = []
    for batch in drawn:
        pool, candidates = matching().pool(rng), matching().candidates(rng)
        places = rows[pool]
        if name == "fid_batchmatch":
            slow = [slow_frechet(places, c) for c in candidates]
            fast = frechet_distances(places, candidates)
        else:
            slow = [slow_histogram(places, c, 75.0) for c in candidates]
            fast = histogram_costs(places, candidates, weight=75.0)
        assert fast == pytest.approx(slow, rel=1e-5)
        best = int(np.argmin(slow))
        chosen.append(best)
        assert batch.tolist() == pool[candidates[best]].tolist()
    assert len(set(chosen)) > 2


def test_all_points_are_at_distance_0_from_themselves_also_in_many_dimensions():
    wide = np.random.default_rng(0).standard_normal((10, 40))
    everything = np.arange(10)[None]
    assert frechet_distances(wide, everything) == pytest.approx([0], abs=1e-9)
    assert histogram_costs(wide, everything, weight=75.0) == pytest.approx([0], abs=1e-9)


def test_frechet_distance_of_moved_and_scaled_points_is_known():
    rows = np.random.default_rng(0).standard_normal((50, 3))
    rows -= rows.mean(0)
    both = np.concatenate([rows, 2 * rows])
    move = np.array([3.0, 0.0, 4.0])
    moved = np.concatenate([rows, rows + move])
    trace = np.trace(np.cov(both.T))
    ratio = np.sqrt(np.trace(np.cov(rows.T)) / trace)  # all covariances are multiples of one
    found = frechet_distances(both, np.arange(50)[None])
    assert found == pytest.approx([trace * (1 - ratio) ** 2])
    assert frechet_distances(moved, np.arange(50)[None])[0] > 25 / 4  # half the move, squared


@pytest.mark.parametrize(
    ("name", "knobs", "words"),
    [
        ("greedy_coreset", {"n_samples": 5}, "batch_size=12 must be a multiple"),
        ("greedy_coreset", {"pool_size": 3}, "chooses 4 images from sampler.pool_size=3"),
        ("greedy_coreset", {"projection_dim": 0}, "projection_dim must be >= 1"),
        ("d2_coreset", {"power": -1.0}, "power must be >= 0"),
        ("fid_batchmatch", {"pool_size": 9}, "pool_size must be >= sampler.batch_size=12"),
        ("fid_batchmatch", {"pool_size": 61}, "multiple of sampler.n_samples=3, got 61"),
        ("fid_batchmatch", {"n_candidates": 0}, "n_candidates must be >= 1"),
        ("disthist_batchmatch", {"histogram_weight": -1.0}, "histogram_weight must be >= 0"),
    ],
)
def test_wrong_knobs_are_refused(name, knobs, words):
    with pytest.raises(ValueError, match=words):
        sampler(name, **knobs)
