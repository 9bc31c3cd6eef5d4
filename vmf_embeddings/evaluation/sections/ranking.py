"""Scores of the k nearest rows, by the names of information retrieval and landmark recognition."""

from dataclasses import fields

import torch
from torch import Tensor

from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.exact_scores import exact_retrieval, ranking_ks
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText
from vmf_embeddings.metrics import weighted_mean
from vmf_embeddings.metrics.ranking import RankingAt

TABLE = TableText(
    title="Ranking: the k nearest rows, means over queries with a row of their class",
    head="k",
    columns={
        "ndcg": ("nDCG@k %", 100, 2),
        "precision": ("P@k %", 100, 2),
        "hit_rate": ("hit rate %", 100, 2),
        "map_over_min": ("mAP@k % over min(R, k)", 100, 2),
        "map_over_relevant": ("over R", 100, 2),
        "mmp": ("mMP@k %", 100, 2),
        "map": ("mAP %", 100, 2),
        "minp": ("mINP %", 100, 2),
    },
    label=lambda row: row.removeprefix("k=").replace("all", "all ranks"),
)


def score(context: Context) -> ScoreTable:
    """Scores of the ranks that retrieval counts, for every k of `ranking_ks`.

    Raises:
        ValueError: ranks are approximate, or no query has another row of its class.
    """
    options = context.options
    if options.index is not None:
        raise ValueError("metrics=ranking needs exact ranks: leave --index out")
    if context.retrieved is None:
        context.retrieved = exact_retrieval(context.rows, context.evaluated, options, None)
    rows, table = context.retrieved.rows, ScoreTable()
    answerable = rows.n_relevant > 0
    if not bool(answerable.any()):
        raise ValueError("metrics=ranking: no query has another row of its class")
    for k in ranking_ks(options):
        hit = rows.recall[k].masked_fill(~answerable, float("nan"))
        of_k: dict[str, Tensor] = {f.name: getattr(rows.ranking[k], f.name)
                                   for f in fields(RankingAt)} | {"hit_rate": hit}  # fmt: skip
        _add(table, context, f"k={k}", of_k)
    assert rows.inverse_negative_penalty is not None
    of_all = {"map": rows.average_precision, "minp": rows.inverse_negative_penalty}
    _add(table, context, "all", of_all)
    table.about = {
        "exclude_same": context.evaluated.exclude_same,
        "n_queries": len(answerable),
        "n_queries_without_positive": int((~answerable).sum()),
    }
    return table


def _add(table: ScoreTable, context: Context, row: str, of_queries: dict[str, Tensor]) -> None:
    """Adds the means of scores of queries [Q], NaN left out, as functions of weights too."""
    table.rows[row] = {name: float(values.nanmean()) for name, values in of_queries.items()}
    for name, values in of_queries.items():
        every = torch.full((len(context.file.ids),), torch.nan, dtype=torch.float64)
        every[context.ranked] = values
        table.weighted[f"{row}/{name}"] = weighted_mean(every)
