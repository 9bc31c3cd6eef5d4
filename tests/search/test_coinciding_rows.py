"""Counts where many rows coincide take about as long as where none do."""

import time

import torch

from vmf_embeddings.metrics.retrieval import retrieval


def _seconds(rows: torch.Tensor, n_classes: int) -> float:
    """Processor time of ranking the nearest positives, the shorter of two runs."""
    labels = torch.arange(len(rows)) % n_classes
    times = []
    for _ in range(2):
        start = time.process_time()
        retrieval(rows, labels, metric="l2", only_recall=True)
        times.append(time.process_time() - start)
    return min(times)


def test_coinciding_rows_take_about_the_time_of_different_ones() -> None:
    different = torch.randn(3000, 32, generator=torch.Generator().manual_seed(0))
    equal = torch.ones(3000, 32)
    # measured: 1.5 times; 15 times where each pair of copies is compared by itself
    assert _seconds(equal, 100) < 6 * _seconds(different, 100) + 0.05


def test_queries_of_equal_runs_have_equal_reciprocal_ranks_in_any_order() -> None:
    rows = torch.cat([torch.ones(6, 2), torch.zeros(3, 2)])
    labels = torch.tensor([0, 1, 0, 1, 1, 2, 2, 0, 1])
    scores = retrieval(rows, labels, metric="l2").rows.reciprocal_rank
    order = torch.tensor([8, 2, 5, 0, 7, 1, 4, 6, 3])
    again = retrieval(rows[order], labels[order], metric="l2").rows.reciprocal_rank
    torch.testing.assert_close(again, scores[order], rtol=0, atol=1e-15)
    # one positive among the five others of its place, at each of five ranks as probably
    assert abs(float(scores[0]) - sum(1 / r for r in range(1, 6)) / 5) < 1e-12
