"""Distances, concentration, uniformity: slow loops, laws, stored numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from tests.conftest import cases, load_golden
from tests.metrics.fixture import clustered, rotation, sines
from vmf_embeddings.metrics import (
    alignment,
    class_distances,
    concentration,
    concentrations,
    uniformity,
)
from vmf_embeddings.metrics import spread as module

GOLDEN = load_golden("dml_metrics")


def all_scores(rows, labels):
    found, kappa = class_distances(rows, labels), concentration(rows, labels)
    return (found.intra, found.inter, found.ratio, alignment(rows, labels), uniformity(rows),
            kappa.mean, kappa.variance, kappa.relative_variance)  # fmt: skip


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_golden(case):
    rows, labels = GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"]
    found = class_distances(rows, labels)
    assert found.intra == pytest.approx(float(GOLDEN[f"{case}/intra_nanmean"]), rel=1e-6)
    assert found.inter == pytest.approx(float(GOLDEN[f"{case}/dists_inter_numpy"]), rel=1e-6)
    np.testing.assert_allclose(
        found.intra_per_class, GOLDEN[f"{case}/intra_per_class"], rtol=1e-6
    )  # NaN for singletons in both


def test_the_sines_have_their_known_distances():
    found = class_distances(*sines())
    assert found.intra == pytest.approx(0.4072197, abs=5e-8)
    assert found.inter == pytest.approx(1.0149941, abs=5e-8)
    assert found.ratio == pytest.approx(0.4012040, abs=5e-8)


def test_equal_a_loop_over_pairs():
    rows, labels = clustered(40)
    unit = normalize(rows, dim=1)
    pairs = list(itertools.combinations(range(40), 2))
    chords = {p: float((unit[p[0]] - unit[p[1]]).square().sum()) for p in pairs}
    own = {p: d for p, d in chords.items() if labels[p[0]] == labels[p[1]]}
    assert alignment(rows, labels) == pytest.approx(np.mean(list(own.values())))
    gaussian = [math.exp(-2 * d) for d in chords.values()]
    assert uniformity(rows) == pytest.approx(np.mean(gaussian), rel=1e-12)
    assert uniformity(rows, t=0.5) == pytest.approx(np.mean([g**0.25 for g in gaussian]))
    per_class = [np.mean([d / 2 for p, d in own.items() if labels[p[0]] == c]) for c in range(6)]
    means = [normalize(unit[labels == c].mean(0), dim=0) for c in range(6)]
    between = [float(1 - a @ b) for a, b in itertools.combinations(means, 2)]
    found = class_distances(rows, labels)
    assert found.intra_per_class.tolist() == pytest.approx(per_class)
    assert found.inter == pytest.approx(np.mean(between))
    assert found.ratio == pytest.approx(np.mean(per_class) / np.mean(between))


def test_rotations_orders_names_and_lengths_change_nothing():
    rows, labels = clustered()
    first = all_scores(rows, labels)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))
    lengths = torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(3)) + 0.1
    names = np.array([f"class {9 - label}" for label in labels])
    for case in (
        (rows @ rotation(5), labels),
        (rows[order], labels[order]),
        (rows, names),
        (rows * lengths, labels),
    ):
        assert all_scores(*case) == pytest.approx(first, rel=1e-11)


def test_collapsed_classes_are_tight_aligned_and_have_no_concentration():
    labels = torch.arange(12) % 3
    intra, inter, ratio, aligned, _, *kappa = all_scores(3 * torch.eye(3)[labels], labels)
    assert (intra, aligned, ratio) == pytest.approx((0, 0, 0), abs=1e-15)
    assert inter == 1
    assert all(map(math.isnan, kappa))


def test_singletons_and_a_single_class_give_no_number_but_no_error():
    rows, labels = clustered(12, 4)
    alone = class_distances(rows, torch.arange(12))
    assert math.isnan(alone.intra)
    assert math.isnan(alignment(rows, torch.arange(12)))
    assert math.isnan(concentration(rows, torch.arange(12)).variance)
    assert not math.isnan(alone.inter)
    together = class_distances(rows, torch.zeros(12, dtype=torch.long))
    assert math.isnan(together.inter)
    assert math.isnan(together.ratio)
    assert not math.isnan(together.intra)
    # a singleton beside other classes leaves their mean alone
    labels[0] = 99
    assert class_distances(rows, labels).intra == pytest.approx(
        float(class_distances(rows, labels).intra_per_class[:4].mean())
    )
    assert math.isnan(uniformity(rows[:1]))


def test_uniformity_of_many_directions_at_random_and_its_tiles(monkeypatch):
    """For uniform directions G_2 is exp(-4) E exp(4 cos); E cos^2 = 1/D, E cos^4 = 3/(D(D+2))."""
    rows = torch.randn(2000, 50, generator=torch.Generator().manual_seed(0))
    expected = math.exp(-4) * (1 + 4**2 / 2 / 50 + 4**4 / 24 * 3 / (50 * 52))
    assert uniformity(rows) == pytest.approx(expected, rel=3e-3)
    whole = uniformity(rows[:70])
    monkeypatch.setattr(module, "_TILE", 16)
    assert uniformity(rows[:70]) == pytest.approx(whole, rel=1e-13)


def test_concentrations_find_those_of_von_mises_fisher_laws():
    """Drawn from laws of known kappa; 4000 draws tell kappa to about 2 %, the formula adds 1 %."""
    from vmf_embeddings.geometry import VonMisesFisher

    kappas = torch.tensor([5.0, 20.0, 80.0])
    means = kappas[:, None] * torch.eye(3, 16)
    generator = torch.Generator().manual_seed(0)
    draws = VonMisesFisher().sample(means, 4000, generator).reshape(-1, 16)
    labels = torch.arange(3).repeat(4000)
    found = concentrations(draws, labels)
    assert (found / kappas).tolist() == pytest.approx([1, 1, 1], abs=0.04)
    spread = concentration(draws, labels)
    assert spread.mean == pytest.approx(float(found.mean()))
    assert spread.variance == pytest.approx(float(found.var(correction=0)))
    assert spread.relative_variance == pytest.approx(spread.variance / spread.mean**2)


def test_lengths_that_differ_are_named():
    with pytest.raises(ValueError, match="3 embeddings and 2 labels"):
        class_distances(np.ones((3, 2)), [0, 1])
