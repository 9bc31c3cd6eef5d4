"""The arguments of `vmf_embeddings.evaluate`, checked and in the form that an evaluation takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from vmf_embeddings.embeddings import EmbeddingFile, as_flags, check_values, integer_labels

_RERANK_FIELDS = {
    "k1": "rerank_k1",
    "k2": "rerank_k2",
    "lambda": "rerank_lambda",
    "n": "expand_n",
    "alpha": "expand_alpha",
}


def label_text(label: object) -> str:
    """A label as class names have it: whole numbers without a point."""
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label)


def labelled_file(embeddings: ArrayLike | EmbeddingFile, labels: ArrayLike | None) -> EmbeddingFile:
    """The rows to score, as a file with one class number for each."""
    if isinstance(embeddings, EmbeddingFile):
        if embeddings.ids is None and labels is not None:
            embeddings = replace(embeddings, ids=np.asarray(without_torch(labels)))
        elif labels is not None:
            raise ValueError("labels: an EmbeddingFile has its own; leave them out")
        if embeddings.ids is None:
            raise ValueError("labels: the EmbeddingFile has none; give one class per embedding")
        check_values(embeddings)
        return embeddings
    if labels is None:
        raise ValueError("labels: expected one class per embedding")
    rows = embedding_rows(embeddings)
    numbers, names = integer_labels(without_torch(labels))
    meta = None if names is None else {"class_names": names}
    file = EmbeddingFile(embeddings=rows, ids=numbers, meta=meta)
    check_values(file)
    return file


def with_roles(
    file: EmbeddingFile,
    is_query: ArrayLike | None,
    is_gallery: ArrayLike | None,
    paths: ArrayLike | None,
) -> EmbeddingFile:
    """The file with these queries, gallery rows and names of images, where they are given."""
    given: dict[str, np.ndarray] = {}
    for name, flags in (("is_query", is_query), ("is_gallery", is_gallery)):
        if flags is not None:
            given[name] = as_flags(flags, name)
    if paths is not None:
        given["paths"] = np.asarray(paths, dtype=np.str_)
    return replace(file, **given) if given else file  # type: ignore[arg-type]


def given_rows(rows: ArrayLike | EmbeddingFile, argument: str) -> np.ndarray | EmbeddingFile:
    """Rows of an argument, or a file of them, whose numbers are finite."""
    if isinstance(rows, EmbeddingFile):
        check_values(rows)
        return rows
    found = embedding_rows(rows, argument)
    check_values(EmbeddingFile(embeddings=found))
    return found


def named_rows(ood: Mapping[str, ArrayLike | EmbeddingFile] | None) -> tuple[tuple[str, Any], ...]:
    """Names and rows of other data."""
    if ood is not None and not isinstance(ood, Mapping):
        raise ValueError(
            f'ood: expected {{"name": embeddings of other data, ...}}, got {type(ood).__name__}'
        )
    return tuple((name, given_rows(rows, f"ood[{name!r}]")) for name, rows in (ood or {}).items())


def embedding_rows(embeddings: ArrayLike, argument: str = "embeddings") -> np.ndarray:
    """Numbers [N, D], with at least one row."""
    rows = np.asarray(without_torch(embeddings))
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.size:
        raise ValueError(
            f"{argument}: expected finite numbers [N, D], got {list(rows.shape)} of {rows.dtype}"
        )
    return rows


def checked_queries(queries: int | str | None) -> int | str | None:
    """How many queries are ranked: >= 1, "all" or None."""
    is_number = isinstance(queries, int) and not isinstance(queries, bool) and queries >= 1
    if queries is None or queries == "all" or is_number:
        return queries
    raise ValueError(f'queries: expected a whole number >= 1 or "all", got {queries!r}')


def check_corrupted(corrupted: object) -> None:
    """Refuses what holds no corrupted images, or numbers that are not finite."""
    if not isinstance(corrupted, EmbeddingFile):
        raise ValueError(
            "corrupted: expected an EmbeddingFile of corrupted images, as mode=corrupt writes it, "
            f"got {type(corrupted).__name__}"
        )
    check_values(corrupted)


def check_draws(resample: int) -> None:
    """Refuses what is no number of draws."""
    whole = isinstance(resample, Integral) and not isinstance(resample, bool)
    if not whole or resample < 0 or resample == 1:
        raise ValueError(f"resample: expected 0 or a whole number >= 2, got {resample!r}")


def check_lists(**given: object) -> None:
    """Refuses single values, and texts, where an argument takes several."""
    for argument, values in given.items():
        if isinstance(values, str | EmbeddingFile) or not isinstance(values, Iterable):
            raise ValueError(f"{argument}: expected a list, got {str(values)[:60]!r}")


def check_whole(**given: Sequence[object]) -> None:
    """Refuses what is no whole number of 1 or more."""
    for argument, values in given.items():
        if any(not isinstance(one, Integral) or isinstance(one, bool) or one < 1 for one in values):
            raise ValueError(f"{argument}: expected whole numbers >= 1, got {list(values)}")


def check_names(**given: tuple[Sequence[str], Sequence[str]]) -> None:
    """Refuses names that an argument does not know."""
    for argument, (names, known) in given.items():
        if isinstance(names, str) or any(name not in known for name in names):
            raise ValueError(f"{argument}: expected some of {', '.join(known)}, got {names!r}")


def rerank_fields(options: Mapping[str, float]) -> dict[str, Any]:
    """The fields of `EvaluationOptions` for parameters of re-ranking."""
    unknown = options.keys() - _RERANK_FIELDS.keys()
    if unknown:
        raise ValueError(
            f"rerank_options: expected some of {', '.join(_RERANK_FIELDS)}, got {sorted(unknown)}"
        )
    return {_RERANK_FIELDS[name]: value for name, value in options.items()}


def without_torch(values: ArrayLike) -> ArrayLike:
    """An array of a tensor, wherever it is and whatever float it holds; else the values."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()
