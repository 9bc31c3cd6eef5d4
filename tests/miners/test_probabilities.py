"""How often each triplet is drawn: exact probabilities from loops, against counts."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from tests.conftest import cases
from tests.miners.test_laws import generator, miner
from vmf_embeddings.miners.distance import log_inverse_density, log_weights, sphere_distances
from vmf_embeddings.miners.draws import choose_by_weight, distinct

LABELS = [0, 1, 0, 0, 1, 2, 2, 3]  # 3 is alone
N_DRAWS = 1000
ROWS = range(len(LABELS))


def points():
    """Unit vectors of dimension 4 with distances from 0.1 to 2, some on either side of each cut."""
    x = torch.randn(len(LABELS), 4, generator=generator(5), dtype=torch.float64)
    x[4] = x[0] + 0.1 * x[4]  # negatives that are near
    x[6] = -x[2]  # and one opposite
    return torch.nn.functional.normalize(x)


def distance(i, j):
    x = points()
    return float((x[i] - x[j]).norm())


def partners(a):
    return [j for j in ROWS if LABELS[j] == LABELS[a] and j != a]


def negatives(a):
    return [j for j in ROWS if LABELS[j] != LABELS[a]]


def inverse_density(d, dim=4):
    d = max(d, 0.5)
    return d ** (2 - dim) * max(1 - d * d / 4, 1e-16) ** (-(dim - 3) / 2)


def by_weight(a, weight):
    weights = {n: weight(distance(a, n)) for n in negatives(a)}
    total = sum(weights.values())
    if total == 0:
        return {n: 1 / len(weights) for n in weights}
    return {n: w / total for n, w in weights.items()}


def alike(rows):
    return {row: 1 / len(rows) for row in rows}


def product(a, of_positive, of_negative):
    return {
        (a, p, n): x * y for p, x in of_positive.items() for n, y in of_negative.items() if x * y
    }


def slow_distance(upper):
    def rule(a):
        cut = by_weight(a, lambda d: inverse_density(d) * (d < upper))
        return product(a, alike(partners(a) or [a]), cut)

    return rule


def slow_rho(probability, upper=1.4):
    def rule(a):
        if not partners(a):
            return {}
        usual = {key: (1 - probability) * q for key, q in slow_distance(upper)(a).items()}
        return usual | {(a, a, n): probability / len(partners(a)) for n in partners(a)}

    return rule


def slow_semihard(margin):
    def rule(a):
        found = {}
        for p in partners(a):
            d = distance(a, p)
            wanted = [n for n in negatives(a) if d < distance(a, n) < d + margin]
            found |= product(a, {p: 1 / len(partners(a))}, alike(wanted or negatives(a)))
        return found

    return rule


def slow_softhard(a):
    if not partners(a):
        return {}
    nearest = min(distance(a, n) for n in negatives(a))
    farthest = max(distance(a, p) for p in partners(a))
    positives = [p for p in partners(a) if distance(a, p) > nearest]
    wanted = [n for n in negatives(a) if distance(a, n) < farthest]
    return product(a, alike(positives or partners(a)), alike(wanted or negatives(a)))


def slow_parametric(weights, low, high):
    def weight(d):
        place = math.floor((d - low) / (high - low) * len(weights))
        return weights[place] if 0 <= place < len(weights) else 0.0

    return lambda a: product(a, alike(partners(a) or [a]), by_weight(a, weight))


def slow_npair(a):
    return {(a, p, n): 1 / len(partners(a)) for p in partners(a) for n in negatives(a)}


def slow_random(a):
    """Chance of each of all triplets to be among B without replacement."""
    n_all = sum(len(partners(b)) * len(negatives(b)) for b in ROWS)
    return {(a, p, n): len(LABELS) / n_all for p in partners(a) for n in negatives(a)}


def slow_intra(a):
    members = [j for j in ROWS if LABELS[j] == LABELS[a]]
    each = len(LABELS) / len(set(LABELS)) / len(members) ** 3
    return {(a, p, n): each for p in members for n in members}


CASES = {
    "distance": ("distance", {}, slow_distance(1.4)),
    "distance, reference": ("distance", {"variant": "reference"}, slow_distance(math.inf)),
    "distance, all beyond the cut": ("distance", {"upper": 0.51}, slow_distance(0.51)),
    "rho_distance": ("rho_distance", {"switch_probability": 0.3}, slow_rho(0.3)),
    "rho_distance, reference": (
        "rho_distance",
        {"switch_probability": 0.3, "variant": "reference"},
        slow_rho(0.3, math.inf),
    ),
    "random": ("random", {}, slow_random),
    "semihard": ("semihard", {}, slow_semihard(0.2)),
    "semihard, wide": ("semihard", {"margin": 0.6}, slow_semihard(0.6)),
    "softhard": ("softhard", {}, slow_softhard),
    "npair": ("npair", {}, slow_npair),
    "intra_random": ("intra_random", {}, slow_intra),
    "parametric": (
        "parametric",
        {"policy": [0.0, 3.0, 0.5, 1.0], "n_bins": 4, "low": 0.0, "high": 1.9},
        slow_parametric([0.0, 3.0, 0.5, 1.0], 0.0, 1.9),
    ),
}


@pytest.mark.parametrize(("name", "options", "slow"), CASES.values(), ids=CASES.keys())
def test_triplets_are_as_frequent_as_the_rule_says(name, options, slow):
    expected = {key: q for a in ROWS for key, q in slow(a).items()}
    drawn, rng, mine = Counter(), generator(11), miner(name, **options)
    x, y = points(), torch.tensor(LABELS)
    for _ in range(N_DRAWS):
        drawn.update(zip(*(part.tolist() for part in mine(x, y, rng)), strict=True))
    assert drawn.keys() <= expected.keys()
    assert sum(drawn.values()) == pytest.approx(N_DRAWS * sum(expected.values()), rel=0.02)
    often = {key: N_DRAWS * q for key, q in expected.items() if N_DRAWS * q >= 5}
    assert len(often) >= 10
    statistic = sum((drawn[key] - mean) ** 2 / mean for key, mean in often.items())
    assert statistic < chi2.ppf(0.999, len(often))


@pytest.mark.parametrize("name", ["distance", "rho_distance", "parametric"])
def test_length_of_embeddings_changes_nothing_on_the_sphere(name):
    x, y = points(), torch.tensor(LABELS)
    lengths = torch.arange(1.0, len(x) + 1)[:, None]
    one, two = (miner(name)(rows, y, generator(2)) for rows in (x, x * lengths))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def fixture_a():
    y = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 5])
    i, j = torch.arange(12)[:, None], torch.arange(8)
    x = torch.sin(0.9 * (i + 1.0).double() * (j + 1)) + 0.5 * torch.cos(1.7 * y[:, None] + j)
    return torch.nn.functional.normalize(x), y


def test_without_the_upper_cut_the_opposite_row_takes_all():
    """The probability that the code of Roth et al. 2020 gives its only nearly opposite negative."""
    x, y = fixture_a()
    assert float(sphere_distances(x)[0, 5]) == pytest.approx(1.9992, abs=5e-5)
    reference = log_weights(x, y[:, None] != y, lower=0.5, upper=None).softmax(1)
    assert float(reference[0, 5]) == pytest.approx(0.999858, abs=5e-7)
    cut = log_weights(x, y[:, None] != y, lower=0.5, upper=1.4).softmax(1)
    assert float(cut[0, 5]) == 0 and (cut[:, y == 0][y == 0] == 0).all()
    assert torch.allclose(cut.sum(1), torch.ones(12).double())


def test_weights_of_the_reference_equal_the_golden(golden):
    data = golden("dml_criteria")
    for case in cases(data):
        x, y = (torch.tensor(data[f"{case}/{name}"]) for name in ("x", "labels"))
        wanted = torch.tensor(data[f"{case}/distance_miner/negative_probabilities"]).double()
        lower = data[f"{case}/distance_miner/lower_cutoff"].item()
        found = log_weights(x.double(), y[:, None] != y, lower=lower, upper=None).softmax(1)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 16, 128])
def test_density_of_distances_is_that_of_uniform_points(dim):
    """Weighted by 1 / q, distances of uniform points are uniform."""
    x = torch.randn(2, 50_000, dim, generator=generator(1), dtype=torch.float64)
    a, b = torch.nn.functional.normalize(x, dim=-1)
    d = (a - b).norm(dim=1)
    middle = d.quantile(torch.tensor([0.1, 0.9], dtype=torch.float64))
    d = d[(d > middle[0]) & (d < middle[1])]
    weights = log_inverse_density(d, dim).softmax(0).numpy()
    shares, _ = np.histogram(d, bins=4, range=middle.tolist(), weights=weights)
    assert shares == pytest.approx([0.25] * 4, abs=0.015)


def test_weights_far_beyond_floating_point_are_compared_by_their_logs():
    weights = torch.tensor([[-2000.0, 5000.0, 5000.0 - math.log(3), -torch.inf]]).double()
    rows = weights.expand(20_000, -1)
    counts = choose_by_weight(rows, generator()).bincount(minlength=4)
    assert counts[0] == counts[3] == 0
    assert float(counts[1]) / 20_000 == pytest.approx(0.75, abs=4 * (0.1875 / 20_000) ** 0.5)


@pytest.mark.parametrize("n", [6, 8, 40])
def test_distinct_numbers_are_distinct_and_all_alike(n):
    counts = torch.zeros(3, n)
    like, rng = torch.zeros(1), generator(4)
    for _ in range(3000):
        drawn = distinct(n, 3, like, rng)
        assert len(drawn.unique()) == len(drawn) == 3
        counts[torch.arange(3), drawn] += 1
    statistic = ((counts - 3000 / n) ** 2 / (3000 / n)).sum(1)
    assert (statistic < chi2.ppf(0.999, n - 1)).all()


def test_fewer_numbers_than_wanted_are_all_of_them():
    drawn = distinct(4, 9, torch.zeros(1), generator())
    assert sorted(drawn.tolist()) == [0, 1, 2, 3]
    assert len(distinct(0, 3, torch.zeros(1), generator())) == 0
