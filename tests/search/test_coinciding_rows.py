"""Scores where many rows coincide."""

import torch

from vmf_embeddings.metrics.retrieval import retrieval


def test_of_rows_that_all_coincide_the_nearest_is_any_with_equal_chance():
    labels = torch.arange(2000) % 100
    scores = retrieval(torch.ones(2000, 32), labels, metric="l2", only_recall=True)
    assert abs(scores.recall[1] - 19 / 1999) < 1e-12


def test_queries_of_equal_runs_have_equal_reciprocal_ranks_in_any_order() -> None:
    rows = torch.cat([torch.ones(6, 2), torch.zeros(3, 2)])
    labels = torch.tensor([0, 1, 0, 1, 1, 2, 2, 0, 1])
    scores = retrieval(rows, labels, metric="l2").rows.reciprocal_rank
    order = torch.tensor([8, 2, 5, 0, 7, 1, 4, 6, 3])
    again = retrieval(rows[order], labels[order], metric="l2").rows.reciprocal_rank
    torch.testing.assert_close(again, scores[order], rtol=0, atol=1e-15)
    # one positive among the five others of its place, at each of five ranks as probably
    assert abs(float(scores[0]) - sum(1 / r for r in range(1, 6)) / 5) < 1e-12
