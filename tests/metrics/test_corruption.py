"""Laws and golden numbers of confidence against the strength of corruption."""

import math

import pytest
import torch
from scipy.stats import rankdata, spearmanr

from tests.conftest import load_golden
from vmf_embeddings.metrics.corruption import (
    average_ranks,
    share_less_confident,
    spearman,
    spearman_per_row,
    spearman_pooled,
)

GOLDEN = load_golden("uncertainty")
CASES = sorted(key.split("/")[0] for key in GOLDEN if key.endswith("/corruption_levels"))
LEVELS = torch.tensor([0.0, 0.1, 0.4, 0.5])


def confidence(n=40, distinct=5):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, distinct, (n, len(LEVELS)), generator=draw).double()


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers(case):
    levels, values = (GOLDEN[f"{case}/{k}"] for k in ("corruption_levels", "corrupted_confidence"))
    exact = {key: float(GOLDEN[f"{case}/exact_{key}"]) for key in (
        "spearman_pooled", "spearman_per_row_mean", "share_less_confident_when_corrupted",
    )}  # fmt: skip
    # the golden numbers are without the minus
    assert spearman_pooled(values, levels) == pytest.approx(-exact["spearman_pooled"], rel=1e-9)
    of_rows = spearman_per_row(values, levels)
    mean = float(of_rows[~of_rows.isnan()].mean())
    assert mean == pytest.approx(-exact["spearman_per_row_mean"], rel=1e-9)
    share = share_less_confident(values[:, 0], values[:, -1])
    assert share == exact["share_less_confident_when_corrupted"]


def test_equal_values_share_their_ranks_as_in_scipy():
    values = confidence()
    assert average_ranks(values[:, 0]).tolist() == rankdata(values[:, 0]).tolist()
    pooled = spearmanr(values.flatten(), LEVELS.expand_as(values).flatten())[0]
    assert spearman_pooled(values, LEVELS) == pytest.approx(-pooled, rel=1e-12)
    for row, found in zip(values, spearman_per_row(values, LEVELS), strict=True):
        if len(row.unique()) > 1:
            assert float(found) == pytest.approx(-spearmanr(row, LEVELS)[0], rel=1e-12)


def test_rising_maps_and_the_order_of_images_change_nothing():
    values = confidence()
    mixed = (2 * values + 1).exp()[torch.randperm(len(values))]
    pooled = spearman_pooled(values, LEVELS)
    assert spearman_pooled(mixed, LEVELS.square()) == pytest.approx(pooled, rel=1e-12)
    assert spearman_pooled(-values, LEVELS) == pytest.approx(-pooled, rel=1e-12)


def test_a_confidence_that_falls_with_every_level_has_1_and_a_constant_one_none():
    falling = torch.arange(5.0)[:, None] - 10 * LEVELS
    assert spearman_per_row(falling, LEVELS).tolist() == pytest.approx([1.0] * 5)
    assert spearman_pooled(falling - falling[:, :1], LEVELS) == pytest.approx(1.0)
    constant = torch.ones(5, len(LEVELS))
    assert spearman_per_row(constant, LEVELS).isnan().all()
    assert math.isnan(spearman_pooled(constant, LEVELS)) and math.isnan(spearman([1], [2]))
    assert share_less_confident(constant[:, 0], constant[:, 1]) == 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, L\] and levels \[L\]"):
        spearman_pooled(confidence(), LEVELS[1:])
