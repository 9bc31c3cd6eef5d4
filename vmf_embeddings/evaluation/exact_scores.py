"""Retrieval scores of a file by exact ranks: of its rows, and of draws from their distributions."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.spaces import is_main_process, own_space, space_ks, which_rows
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.metrics import MarginalScores, RetrievalScores, marginal_retrieval, retrieval
from vmf_embeddings.metrics.embedding_scores import CUTOFFS
from vmf_embeddings.progress import Progress
from vmf_embeddings.search.ranks import ProcessGroup

DEFAULT_KS = (1, 2, 4, 8)
RANKING_KS = (1, 5, 10, 100)


def recall_ks(options: EvaluationOptions) -> list[int]:
    """The k of Recall@k, ascending, 1 among them."""
    return sorted({1, *(options.recall or DEFAULT_KS)})


def ranking_ks(options: EvaluationOptions) -> tuple[int, ...]:
    """The k of nDCG@k and others; none unless asked for."""
    return (options.recall or RANKING_KS) if "ranking" in options.sections else ()


def exact_retrieval(
    rows: Tensor,
    evaluated: EvaluatedFile,
    options: EvaluationOptions,
    process_group: ProcessGroup | None,
) -> RetrievalScores:
    """Scores of exact ranks of the projected rows [N, D]."""
    # a space of metrics= that orders neighbours alike uses these ranks, and needs its cut-offs too
    shared = own_space(evaluated) is not None and {"recall", "map"} & set(options.metrics)
    with Progress(
        f"Ranking {len(evaluated.file.ids):,} rows", quiet=not is_main_process(process_group)
    ) as progress:
        return retrieval(
            rows,
            evaluated.file.ids,
            similarity=evaluated.geometry.similarity,
            metric=evaluated.geometry.faiss_metric,
            ks=sorted({*recall_ks(options), *space_ks(options), *ranking_ks(options)}),
            **which_rows(evaluated, options),
            cutoffs=CUTOFFS if shared else (),
            ranking_ks=ranking_ks(options),
            process_group=process_group,
            progress=progress,
        )


def sampled_retrieval(
    evaluated: EvaluatedFile, options: EvaluationOptions, process_group: ProcessGroup | None
) -> MarginalScores:
    """2021's vMF scores: Recall@k by majority vote over draws, MAP@R as mean over draws."""
    generator = torch.Generator().manual_seed(options.seed)
    draws = _draws(evaluated.geometry, evaluated.file.embeddings, options.samples, generator)
    with Progress(
        f"Ranking {options.samples:,} draws of {len(evaluated.file.ids):,} rows",
        options.samples,
        quiet=not is_main_process(process_group),
    ) as progress:
        return marginal_retrieval(
            draws,
            evaluated.file.ids,
            metric="ip",
            ks=recall_ks(options),
            **which_rows(evaluated, options),
            process_group=process_group,
            progress=progress,
        )


def _draws(
    geometry: Geometry, embeddings: Any, n_samples: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yields `n_samples` times one draw [N, D] for every row."""
    rows = torch.from_numpy(embeddings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for _ in range(n_samples):
        yield geometry.sample(rows, 1, generator)[0].to(device)
