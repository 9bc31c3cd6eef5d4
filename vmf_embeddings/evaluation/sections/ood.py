"""How well rows of other data are told from the scored ones by numbers that need no labels.

The scored rows are "in", those of every file of `--ood` "out". Hendrycks & Gimpel 2017,
https://arxiv.org/abs/1610.02136; Yang et al. 2022, https://arxiv.org/abs/2210.07242 (OpenOOD).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.embeddings import EmbeddingFile
from vmf_embeddings.evaluation.companions import (
    Companion,
    companion,
    companion_beside,
    companion_of_run,
    refuse_scored_rows,
    training_rows,
)
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.detectors import Detectors
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText, WeightedScore
from vmf_embeddings.metrics.binary import (
    auroc,
    auroc_influence,
    average_precision,
    fpr_at_tpr,
    weighted_auroc,
)
from vmf_embeddings.metrics.standard_errors import error_over_classes, interval_95

MEAN = "mean of the files"
_NETWORK = ("weights", "train_identity")  # what names a network in the meta data of a file
_BINS = 60
_TAIL = 0.002  # of the rows, left out at either end of a histogram
TABLE = TableText(
    title="Other data (out) told from the scored rows (in)",
    head="detector",
    columns={
        "auroc": ("AUROC %", 100, 2),
        "auroc_low": ("from", 100, 1),
        "auroc_high": ("to", 100, 1),
        "fpr95_in_positive": ("FPR95 %, in positive", 100, 1),
        "fpr95_out_positive": ("out positive", 100, 1),
        "aupr_in": ("AUPR in %", 100, 1),
        "aupr_out": ("AUPR out %", 100, 1),
    },
    label=lambda row: row.rpartition("/")[2].replace("_", " "),
    block=lambda row: row.rpartition("/")[0],
    exact=("auroc_low", "auroc_high"),
)


def score(context: Context) -> ScoreTable:
    """Scores every detector against every file of other data, and their means over these files.

    Raises:
        ValueError: there is no such file, or one is not of other rows by the same network.
    """
    options, evaluated = context.options, context.evaluated
    if not options.ood:
        raise ValueError(
            "metrics=ood compares the scored rows with those of other data: add --ood FILE, "
            "embeddings of other images by the same run"
        )
    train = training_rows(evaluated, options.train, "--train")
    table, n_rows = ScoreTable(about={"files": {}}), int(context.kept.sum())
    detectors = _detectors(context, train)
    # an index of all rows would copy them
    rows = None if n_rows == len(context.kept) else context.kept.nonzero()[0]
    inside = detectors.scores(context.file, rows)
    valid = companion_beside(evaluated, "valid")
    held_out = {} if valid is None else detectors.scores(valid.file)
    for name, other in _others(context).items():
        outside = detectors.scores(other.file)
        _describe_file(table, context, name, other, [d for d in inside if d not in outside])
        for detector in (d for d in inside if d in outside):
            row = f"{name}/{detector}"
            _score(table, context, row, inside[detector], outside[detector])
            if detector in held_out:
                both, is_in = _together(held_out[detector], outside[detector])
                table.rows[row]["fpr95_from_valid"] = fpr_at_tpr(both, is_in)
    _add_means(table)
    _describe(table, detectors, train)
    return table


def _describe_file(
    table: ScoreTable, context: Context, name: str, other: Companion, lacking: list[str]
) -> None:
    n_in, n_out = int(context.kept.sum()), len(other.embeddings)
    table.about["files"][name] = {
        "file": other.name,
        "n_in": n_in,
        "n_out": n_out,
        "in_per_out": n_in / n_out,
        "not_offered": lacking,
    }
    if lacking:
        table.notes.append(f"{name} has no logits: no {', '.join(lacking)}")
    if not _same_network(context, other):
        table.notes.append(f"nothing states that {name} is of the network that is scored")


def _detectors(context: Context, train: Companion | None) -> Detectors:
    geometry = context.evaluated.geometry
    if train is None:
        return Detectors(geometry, None, None)
    labels = train.file.ids
    if labels is None or not context.ignored:
        return Detectors(geometry, train.embeddings, labels)
    kept = ~np.isin(labels, context.ignored)
    return Detectors(geometry, train.embeddings[kept], labels[kept])


def _same_data(file: EmbeddingFile, other: EmbeddingFile) -> bool:
    """Whether two files are of one data set; not if it is an open set and they share no class."""
    names = [(part.meta or {}).get("dataset") for part in (file, other)]
    classes = [part.original_ids for part in (file, other)]
    known = classes[0] is not None and classes[1] is not None
    other_classes = known and not np.isin(classes[0], classes[1]).any()
    return names[0] is not None and names[0] == names[1] and not other_classes


def _others(context: Context) -> Mapping[str, Companion]:
    """The files of other data by name, checked."""
    evaluated, found = context.evaluated, {}
    for given_name, given in context.options.ood:
        if isinstance(given, Path):
            other = companion_of_run(evaluated, given, "--ood")
        else:
            other = companion(evaluated, given, "--ood", repr(given_name))
        meta = other.file.meta or {}
        if not len(other.embeddings):
            raise ValueError(f"--ood {other.name}: it has no rows")
        if _same_data(evaluated.file, other.file):
            raise ValueError(
                f"--ood {other.name}: it is of the data set that is scored, {meta['dataset']}: "
                "name embeddings of other data by the same run"
            )
        hashes = (evaluated.meta("train_identity"), meta.get("train_identity"))
        if meta.get("split_hash") is not None and meta["split_hash"] in hashes:
            raise ValueError(f"--ood {other.name}: it holds the rows that the run was trained on")
        refuse_scored_rows(evaluated, other, "--ood")
        name = given_name or meta.get("dataset") or Path(other.name).stem
        found[_unused(name, {*found, MEAN})] = other
    return found


def _same_network(context: Context, other: Companion) -> bool:
    """Whether both files state the network, which then is the same, or the rows came as arrays."""
    meta = other.file.meta or {}
    known = [key for key in _NETWORK if context.evaluated.meta(key) and meta.get(key)]
    return bool(known) or not context.evaluated.meta(_NETWORK[0])


def _unused(name: str, used: set[str]) -> str:
    number = 1
    while (candidate := name if number == 1 else f"{name} {number}") in used:
        number += 1
    return candidate


def _score(table: ScoreTable, context: Context, row: str, inside: Tensor, outside: Tensor) -> None:
    """Adds the scores of one detector against one file."""
    values, is_in = _together(inside, outside)
    area = auroc(values, is_in)
    # new classes of in, new rows of out
    classes = torch.from_numpy(np.unique(context.file.ids[context.kept], return_inverse=True)[1])
    drawn = torch.cat([classes, len(inside) + torch.arange(len(outside))])
    error = error_over_classes(auroc_influence(values, is_in), drawn)
    low, high = interval_95(area, error)
    table.rows[row] = {
        "auroc": area,
        "auroc_low": low,
        "auroc_high": high,
        "fpr95_in_positive": fpr_at_tpr(values, is_in),
        "fpr95_out_positive": fpr_at_tpr(-values, ~is_in),
        "aupr_in": average_precision(values, is_in),
        "aupr_out": average_precision(-values, ~is_in),
    }
    table.weighted[f"{row}/auroc"] = _weighted(values, is_in, context.kept)
    for part, counts in _histogram(inside, outside):
        table.curves[f"{row}/{part}"] = counts


def _together(inside: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """All values, and which are of the first kind."""
    values = torch.cat([inside, outside])
    return values, torch.arange(len(values)) < len(inside)


def _weighted(values: Tensor, is_in: Tensor, kept: np.ndarray) -> WeightedScore:
    """The AUROC under weights of the scored file's rows; rows of the other file weigh 1."""
    of_rows, n_out = weighted_auroc(values, is_in), int((~is_in).sum())
    numbers = torch.from_numpy(kept.nonzero()[0])
    return lambda weights: of_rows(
        torch.cat([weights[:, numbers], weights.new_ones(len(weights), n_out)], 1)
    )


def _histogram(inside: Tensor, outside: Tensor) -> Iterator[tuple[str, np.ndarray]]:
    """Edges of bins, and how many rows of either kind lie in them, without the longest tails."""
    ends = [np.quantile(values.numpy(), (_TAIL, 1 - _TAIL)) for values in (inside, outside)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    edges = np.histogram_bin_edges([low, high], _BINS)
    yield "edges", edges
    for name, values in (("n_in", inside), ("n_out", outside)):
        yield name, np.histogram(values.numpy(), edges)[0]


def _add_means(table: ScoreTable) -> None:
    """Adds the means over the files, of detectors that all of them have."""
    of_detectors: dict[str, list[dict[str, float]]] = {}
    for row, scores in table.rows.items():
        of_detectors.setdefault(row.rpartition("/")[2], []).append(scores)
    n_files = len(table.about["files"])
    for detector, found in of_detectors.items():
        if len(found) == n_files > 1:
            names = [n for n in found[0] if n not in TABLE.exact]
            means = {name: fmean(scores[name] for scores in found) for name in names}
            table.rows[f"{MEAN}/{detector}"] = means


def _describe(table: ScoreTable, detectors: Detectors, train: Companion | None) -> None:
    table.about["training_rows"] = None if train is None else train.name
    table.about["rank_of_covariance"] = detectors.rank
    table.about["not_offered"] = detectors.missing
    table.about["interval"] = "95 %, normal, over classes of in and rows of out"
    table.about["fpr95_in_positive"] = "share of out above the threshold that keeps 95 % of in"
    table.about["fpr95_out_positive"] = "share of in below the threshold that finds 95 % of out"
    for names, reason in detectors.missing.items():
        table.notes.append(f"no {names}: {reason}")
    if train is None:
        table.notes.append(
            "training rows are those of the training file beside the scored one "
            "(mode=get_embeddings split=all), or of --train FILE"
        )
