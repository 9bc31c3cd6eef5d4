"""Which queries are ranked where ranking all would take too long, and the error of that choice.

The queries that are drawn are compared with the whole gallery, so that their scores are exact. A
mean over them is unbiased, and its standard error is sd / sqrt(q) * sqrt(1 - q / Q) for q of Q
queries drawn without replacement (Cochran 1977, Sampling Techniques, section 2.6). That is how far
the mean over all queries of these classes may be; other classes differ by more.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.rows import ignored_ids
from vmf_embeddings.metrics import RetrievalScores

# multiplications of all queries with the gallery up to which all are ranked: an hour or less
MOST_ON_CPU = 2e14
MOST_ON_GPU = 2e16
DRAWN = 10_000


@dataclass(frozen=True)
class QuerySample:
    """Queries drawn from those of a file.

    Args:
        is_query: [N] bool, the rows that were drawn.
        n_drawn: q.
        n_queries: Q, of which they were drawn.
    """

    is_query: np.ndarray
    n_drawn: int
    n_queries: int

    def about(self, found: RetrievalScores, seed: int) -> dict[str, Any]:
        """The draw and its standard errors, as metrics.json has them."""
        return {
            "queries": self.n_queries,
            "queries_drawn": self.n_drawn,
            "seed": seed,
            "standard_error": standard_errors(found, self.n_queries),
        }


def drawn_queries(evaluated: EvaluatedFile, options: EvaluationOptions) -> QuerySample | None:
    """The queries that are ranked, or None where all are; the same in every process.

    Args:
        evaluated: the file.
        options: `queries` says how many; None = all up to the limits above or with `index`, else
            `DRAWN`.
    """
    file, n_rows = evaluated.file, len(evaluated.file.ids)
    is_query = np.ones(n_rows, bool) if file.is_query is None else np.asarray(file.is_query)
    if options.ignore_labels:
        is_query = is_query & ~np.isin(file.ids, ignored_ids(evaluated, options.ignore_labels))
    rows = is_query.nonzero()[0]
    n_gallery = n_rows if file.is_gallery is None else int(file.is_gallery.sum())
    wanted = options.queries
    if wanted is None and options.index is not None:
        wanted = "all"  # that is what an index is for
    if wanted is None:
        most = MOST_ON_GPU if torch.cuda.is_available() else MOST_ON_CPU
        work = len(rows) * n_gallery * file.embeddings.shape[1]
        wanted = DRAWN if work > most else "all"
    if isinstance(wanted, str) or wanted >= len(rows):
        return None
    drawn = np.zeros(n_rows, bool)
    drawn[np.random.default_rng(options.seed).choice(rows, wanted, replace=False)] = True
    return QuerySample(drawn, wanted, len(rows))


def standard_errors(found: RetrievalScores, n_queries: int) -> dict[str, float]:
    """Of the means over queries that were drawn from `n_queries`, by their names in metrics.json.

    Scores that leave out queries without a positive have the error of a mean over those that have
    one. NaN where fewer than two queries count.
    """
    rows = found.rows

    def error(values: Tensor) -> float:
        values = values[~values.isnan()]
        rest = 1 - len(rows.first_hit) / n_queries
        return float(values.std()) * sqrt(rest / len(values)) if len(values) > 1 else float("nan")

    of_nearest = {
        **{f"recall@{k}": error(values) for k, values in rows.recall.items()},
        "map@r": error(rows.average_precision_at_r),
        "r_precision": error(rows.r_precision),
    }
    if np.isnan(found.mean_reciprocal_rank):  # an index knows no ranks beyond the nearest
        return of_nearest
    return {
        **of_nearest,
        "mean_average_precision": error(rows.average_precision),
        "mean_reciprocal_rank": error(rows.reciprocal_rank),
    }
