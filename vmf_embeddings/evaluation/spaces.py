"""Scores of metric learning (`metrics=[…]`) of embeddings as output and L2-normalised."""

from collections.abc import Mapping
from typing import Any

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.query_sample import drawn_queries
from vmf_embeddings.evaluation.rows import ignored_ids, images_of
from vmf_embeddings.metrics import EmbeddingScores, RetrievalScores, evaluate
from vmf_embeddings.metrics.clustering import MOST_PAIRS
from vmf_embeddings.metrics.embedding_scores import KS, SPACE_NAMES, retrieve, spaces
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.search.ranks import ProcessGroup

# geometry -> the space whose distance orders neighbours in the same way
_OWN_SPACE = {"euclidean": "as_output", "cosine": "normalised"}


def own_space(evaluated: EvaluatedFile) -> str | None:
    """The space that orders neighbours as the file's geometry does; None if neither does."""
    return _OWN_SPACE.get(evaluated.geometry.name)


def space_ks(options: EvaluationOptions) -> tuple[int, ...]:
    """The k of Recall@k in both spaces; none unless `metrics` has "recall"."""
    return (options.recall or KS) if "recall" in options.metrics else ()


def which_rows(evaluated: EvaluatedFile, options: EvaluationOptions) -> dict[str, Any]:
    """The arguments of `metrics.retrieval` that say which rows are compared, and how ties count."""
    file, sample = evaluated.file, drawn_queries(evaluated, options)
    return {
        "is_query": file.is_query if sample is None else sample.is_query,
        "is_gallery": file.is_gallery,
        "images": images_of(evaluated),
        "ties": options.ties,
        "ignore_labels": ignored_ids(evaluated, options.ignore_labels),
    }


def is_main_process(process_group: ProcessGroup | None) -> bool:
    """Whether this process prints and writes: the one of rank 0, or the only one."""
    return process_group is None or process_group.rank == 0


def retrieved_in_spaces(
    evaluated: EvaluatedFile,
    options: EvaluationOptions,
    process_group: ProcessGroup | None,
    default: RetrievalScores | None,
) -> dict[str, RetrievalScores]:
    """Space -> retrieval scores there, where `options.metrics` names scores that need them.

    Args:
        evaluated: the file.
        options: what to score.
        process_group: processes that divide the ranking.
        default: retrieval scores by the file's own geometry, where they were computed: taken for
            the space that orders neighbours alike, instead of ranking again.
    """
    if not {"recall", "map"} & set(options.metrics):
        return {}
    file, found = evaluated.file, {}
    for name, rows in spaces(file.embeddings).items():
        if default is not None and name == own_space(evaluated):
            found[name] = default
            continue
        what = f"Ranking {len(rows):,} rows, {SPACE_NAMES[name]}"
        with Progress(what, quiet=not is_main_process(process_group)) as progress:
            found[name] = retrieve(
                rows, file.ids, name, ks=space_ks(options) or (1,),
                process_group=process_group, progress=progress,
                **which_rows(evaluated, options),
            )  # fmt: skip
    return found


def score_spaces(
    evaluated: EvaluatedFile,
    options: EvaluationOptions,
    process_group: ProcessGroup | None,
    retrieved: Mapping[str, RetrievalScores],
) -> EmbeddingScores:
    """Computes the scores that `options.metrics` names, in both spaces.

    Args:
        evaluated: the file.
        options: what to score.
        process_group: those of its processes of rank > 0 get no scores.
        retrieved: what `retrieved_in_spaces` has found.
    """
    file = evaluated.file
    if not is_main_process(process_group):
        return EmbeddingScores({}, {})
    return evaluate(
        file.embeddings,
        file.ids,
        metrics=options.metrics,
        ks=space_ks(options),
        most_pairs=None if options.nmi_all_rows else MOST_PAIRS,
        seed=options.seed,
        ignore_labels=ignored_ids(evaluated, options.ignore_labels),
        retrieved=retrieved,
        on_step=lambda what: Progress(what, at_once=len(file.ids) > LARGE_JOB),
    )
