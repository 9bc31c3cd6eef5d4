"""All pairs of rows: counted and held pairs give the same scores."""

import math

import numpy as np
import pytest
import torch

from vmf_embeddings.metrics import pair_roc as module
from vmf_embeddings.metrics.pair_roc import pair_roc
from vmf_embeddings.metrics.verification import best_threshold, equal_error_rate, tar_at_far
from vmf_embeddings.search import pair_counts
from vmf_embeddings.search.exact import METRICS
from vmf_embeddings.search.pair_counts import PairSet

FARS = (1e-1, 1e-2, 1e-3, 1e-4)


def pairs(metric="ip", n=700, dim=40, seed=0, spread=1.0, apart=False, **fields):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 30, (n,), generator=generator)
    centres = torch.randn(30, dim, generator=generator)
    rows = centres[codes] + spread * torch.randn(n, dim, generator=generator)
    if metric == "ip":
        rows = torch.nn.functional.normalize(rows.double())
    sides = {}
    if apart:
        sides = {"queries": torch.arange(0, n // 2), "gallery": torch.arange(n // 3, n)}
    similarity = METRICS[metric or "ip"]
    images = fields.pop("images", torch.arange(n))
    return PairSet(rows, codes, images, metric, similarity, **sides, **fields)


@pytest.fixture
def counted(monkeypatch):
    """Makes small sets be counted, by small tiles."""

    def use(sample=3000):
        monkeypatch.setattr(module, "MOST_HELD", 0)
        monkeypatch.setattr(module, "SAMPLE", sample)
        monkeypatch.setattr(pair_counts, "TILE_ROWS", 97)

    return use


def scores_of(found):
    at = [tar_at_far(found.curve, far) for far in FARS]
    return {
        "eer": equal_error_rate(found.curve),
        **{f"tar{far}": x.tar for far, x in zip(FARS, at, strict=True)},
        **{f"far{far}": x.far for far, x in zip(FARS, at, strict=True)},
        **{f"threshold{far}": x.threshold for far, x in zip(FARS, at, strict=True)},
    }


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("metric", ["ip", "l2", None])
@pytest.mark.parametrize("spread", [0.7, 2.0])
def test_counted_pairs_score_as_held_ones(monkeypatch, counted, metric, apart, spread, native):
    if native == "1":
        pytest.importorskip("numba")
    monkeypatch.setenv("VMF_EMBEDDINGS_NATIVE", native)
    given = pairs(metric, apart=apart, spread=spread)
    held = pair_roc(given, FARS)
    counted()
    found = pair_roc(given, FARS)
    assert (found.curve.n_positive, found.curve.n_negative) == given.n_pairs()
    assert scores_of(found) == pytest.approx(scores_of(held), rel=1e-9, nan_ok=True)
    assert abs(found.auc - held.auc) <= found.auc_error + 1e-12
    difference = best_threshold(held.curve).accuracy - best_threshold(found.curve).accuracy
    assert -1e-12 <= difference <= found.accuracy_error + 1e-12


def test_a_sample_that_misses_costs_a_pass_but_no_exactness(monkeypatch, counted):
    given = pairs(spread=1.5)
    held = pair_roc(given, FARS)
    counted()
    nothing = torch.zeros(pair_counts.N_BINS, dtype=torch.bool)
    monkeypatch.setattr(module, "_expected", lambda *_: nothing.clone())
    found = pair_roc(given, FARS)
    assert found.n_passes > 1
    assert found.exact
    assert scores_of(found) == pytest.approx(scores_of(held), rel=1e-9, nan_ok=True)


def test_where_too_many_pairs_would_be_listed_bins_say_how_far_off_they_may_be(
    monkeypatch, counted
):
    given = pairs(spread=1.5)
    held = pair_roc(given, FARS)
    counted()
    monkeypatch.setattr(pair_counts, "MOST_LISTED", 10)
    found = pair_roc(given, FARS)
    assert not found.exact
    assert (found.curve.n_positive, found.curve.n_negative) == given.n_pairs()
    assert 0 < abs(found.auc - held.auc) <= found.auc_error


def test_the_number_of_pairs_is_that_of_those_compared():
    given = pairs(n=60, images=torch.arange(60) // 3)
    i, j = np.triu_indices(60, 1)
    kept = given.images[i] != given.images[j]
    same = (given.codes[i] == given.codes[j]) & kept
    assert given.n_pairs() == (int(same.sum()), int((kept & ~same).sum()))
    found = pair_roc(given, FARS).curve
    assert (found.n_positive, found.n_negative) == given.n_pairs()


def test_rows_of_one_image_are_left_out_when_counted(counted):
    given = pairs(n=300, images=torch.arange(300) // 2)
    held = pair_roc(given, FARS)
    counted()
    assert scores_of(pair_roc(given, FARS)) == pytest.approx(scores_of(held), nan_ok=True)


def test_rows_of_signs_tie(counted):
    given = pairs(dim=3)
    signs = torch.nn.functional.normalize(given.rows.sign())
    given = PairSet(signs, given.codes, given.images, "ip", METRICS["ip"])
    held = pair_roc(given, FARS)
    assert len(held.curve.thresholds) == 4
    counted()
    found = pair_roc(given, FARS)
    assert scores_of(found) == pytest.approx(scores_of(held), nan_ok=True)
    assert found.auc == pytest.approx(held.auc, abs=1e-12)


def test_pairs_of_one_kind_alone_are_refused():
    given = pairs(n=20)
    alone = PairSet(given.rows, torch.arange(20), given.images, "ip", METRICS["ip"])
    with pytest.raises(ValueError, match="there are 0 and 190"):
        pair_roc(alone, FARS)


def test_below_one_pair_there_is_no_tar():
    found = pair_roc(pairs(n=50), [1e-6])
    assert math.isnan(tar_at_far(found.curve, 1e-6).tar)


def test_one_row_far_away_does_not_make_the_others_alike():
    near = pairs("l2", n=60)
    rows = torch.cat([near.rows, torch.full((1, 40), 1e7)])
    own = torch.cat([near.codes, torch.tensor([99])])
    far = PairSet(rows, own, torch.arange(61), "l2", near.similarity)
    found, expected = pair_roc(far, FARS).curve, pair_roc(near, FARS).curve
    n = int(expected.true_positives[-1])
    assert found.n_positive == n  # the far row is of a class of its own
    torch.testing.assert_close(found.thresholds[: len(expected.thresholds)], expected.thresholds)
