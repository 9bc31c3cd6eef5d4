"""Scores of metric learning in both spaces, where the command names them: metrics=[…]."""

from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.progress import Progress
from vmf_embeddings.evaluation.subject import Subject
from vmf_embeddings.metrics import EmbeddingScores, RetrievalScores, evaluate
from vmf_embeddings.metrics.clustering import MOST_PAIRS
from vmf_embeddings.metrics.embedding_scores import KS, retrieve, spaces
from vmf_embeddings.search.ranks import ProcessGroup

# geometries that compare as one of the spaces does
_OWN_SPACE = {"euclidean": "as_output", "cosine": "normalised"}


def own_space(subject: Subject) -> str | None:
    """The space in which the file's own geometry compares, if it is one of the two."""
    return _OWN_SPACE.get(subject.geometry.name)


def space_ks(options: EvaluationOptions) -> tuple[int, ...]:
    """The k of Recall@k in both spaces."""
    return (options.recall or KS) if "recall" in options.metrics else ()


def is_follower(process_group: ProcessGroup | None) -> bool:
    """Whether this process only helps another that speaks and writes."""
    return process_group is not None and process_group.rank > 0


def score_spaces(
    subject: Subject,
    options: EvaluationOptions,
    process_group: ProcessGroup | None,
    usual: RetrievalScores | None,
) -> EmbeddingScores:
    """What `options.metrics` names.

    Args:
        subject: the file.
        options: of the command line.
        process_group: processes that divide the ranking; those of rank > 0 get no scores.
        usual: the retrieval by the file's geometry, where it was scored.
    """
    file = subject.file
    retrieved = {}
    if {"recall", "map"} & set(options.metrics):
        for name, rows in spaces(file.embeddings).items():
            if usual is not None and name == own_space(subject):
                retrieved[name] = usual
                continue
            watch = Progress(f"Ranking {len(rows)} rows, {name}", quiet=is_follower(process_group))
            retrieved[name] = retrieve(
                rows, file.ids, name, ks=space_ks(options) or (1,), is_query=file.is_query,
                is_gallery=file.is_gallery, process_group=process_group, progress=watch,
            )  # fmt: skip
            watch.close()
    if is_follower(process_group):
        return EmbeddingScores({}, {})
    return evaluate(
        file.embeddings,
        file.ids,
        metrics=options.metrics,
        ks=space_ks(options),
        most_pairs=None if options.nmi_all_rows else MOST_PAIRS,
        seed=options.seed,
        retrieved=retrieved,
    )
