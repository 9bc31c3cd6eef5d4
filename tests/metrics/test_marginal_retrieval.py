"""Scores over draws: majority for recall with ties as misses, the mean for MAP@R."""

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.metrics import marginal_retrieval, retrieval

GOLDEN = load_golden("vmf_retrieval_metrics")


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_golden(case):
    labels = GOLDEN[f"{case}/ids"]
    draws = torch.from_numpy(GOLDEN[f"{case}/z_samples"]).transpose(0, 1)
    single = [retrieval(draw, labels, metric="ip") for draw in draws]
    np.testing.assert_array_equal(
        torch.stack([scores.rows.first_hit == 1 for scores in single]),
        GOLDEN[f"{case}/correct_per_sample"],
    )
    scores = marginal_retrieval(draws, labels, metric="ip")
    assert scores.recall[1] == pytest.approx(GOLDEN[f"{case}/ref_recall_at_1"], abs=1e-15)
    assert scores.map_at_r == pytest.approx(GOLDEN[f"{case}/ref_map_at_r"], abs=1e-12)


def test_equal_draws_score_as_one_draw():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(40, 4, generator=generator)
    labels = torch.randint(0, 5, (40,), generator=generator)
    one = retrieval(rows, labels, metric="l2", ks=(1, 2))
    three = marginal_retrieval([rows] * 3, labels, ks=(1, 2), metric="l2")
    assert three.recall == one.recall
    for name in ("map_at_r", "r_precision", "mean_average_precision", "mean_reciprocal_rank"):
        assert getattr(three, name) == pytest.approx(getattr(one, name), abs=1e-15)


def test_draws_may_come_one_at_a_time():
    labels = [0, 0, 1, 1]
    made = []

    def draws():
        for number in range(3):
            made.append(number)
            yield torch.tensor([[0.0], [0.1], [5.0], [5.1]])

    told = []
    scores = marginal_retrieval(draws(), labels, metric="l2", progress=told.append)
    assert scores.recall == {1: 1.0}
    assert made == [0, 1, 2]
    assert told == sorted(told)
    assert told[-1] == 3


def test_no_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one draw"):
        marginal_retrieval([], [0, 1], metric="l2")
