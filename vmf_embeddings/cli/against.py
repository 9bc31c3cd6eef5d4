"""`evaluate --against OTHER`: the files of OTHER, and every scored file compared with them."""

from collections.abc import Sequence
from dataclasses import replace

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.folders import find_embedding_files
from vmf_embeddings.evaluation.loading import load_evaluated_file
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.paired import Against, check_same_rows, chosen_here, compare
from vmf_embeddings.evaluation.scores import Scores
from vmf_embeddings.evaluation.significance import default_unit


def load_others(
    evaluated: Sequence[EvaluatedFile], options: EvaluationOptions
) -> list[EvaluatedFile]:
    """The files below `options.against`, checked to hold the rows of the scored ones.

    Raises:
        ValueError: a scored file has none of the same rows; what differs, and what to type.
    """
    if options.against is None:
        return []
    found = find_embedding_files([options.against], options.split)
    others = [load_evaluated_file(file, root, options) for file, root in found.items()]
    for one in evaluated:
        alike = _of_same_split(one, others)
        if not alike:
            names = ", ".join(sorted({f"{other.dataset} ({other.split})" for other in others}))
            raise ValueError(
                f"--against {options.against} has embeddings of {names}, and {one.path} is of "
                f"{one.dataset} ({one.split}): name a run on that data set, or its file"
            )
        for other in alike:
            check_same_rows(other, one)
    return others


def compared(
    evaluated: Sequence[EvaluatedFile],
    scores: Sequence[Scores],
    others: Sequence[EvaluatedFile],
    other_scores: Sequence[Scores],
    options: EvaluationOptions,
) -> list[Scores]:
    """The scores with `against`: differences from the other file, or the mean of several runs."""
    return [
        replace(own, against=_against(one, own, others, other_scores, options), row_scores={})
        for one, own in zip(evaluated, scores, strict=True)
    ]


def _against(
    evaluated: EvaluatedFile,
    scores: Scores,
    others: Sequence[EvaluatedFile],
    other_scores: Sequence[Scores],
    options: EvaluationOptions,
) -> Against:
    alike = _of_same_split(evaluated, others)
    known = [own.row_scores for one, own in zip(others, other_scores, strict=True) if one in alike]
    differences = compare(
        known,
        [scores.row_scores],
        evaluated.file.ids,
        default_unit(evaluated),
        options.resample,
        options.seed,
    )
    chosen = chosen_here([evaluated, *alike])
    return Against(tuple(alike), differences, chosen, options.resample, options.seed)


def _of_same_split(
    evaluated: EvaluatedFile, others: Sequence[EvaluatedFile]
) -> list[EvaluatedFile]:
    own = evaluated.dataset, evaluated.split
    alike = [other for other in others if (other.dataset, other.split) == own]
    if alike or evaluated.meta("dataset") is not None:
        return alike
    # the names of files of other programs say nothing of their data set
    return [other for other in others if other.meta("dataset") is None]
