"""Are two rows of one class? Scores of all pairs of rows, or of the pairs of a file.

All pairs: those of two rows, or of queries with gallery rows where the file tells them apart. Pairs
of a file: besides, the accuracy by cross-validation of LFW's protocol (Huang et al. 2007).
"""

import math

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.pairs_file import read_pairs
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText, thinned
from vmf_embeddings.metrics.arrays import as_codes
from vmf_embeddings.metrics.binary import Roc, roc
from vmf_embeddings.metrics.opis import opis
from vmf_embeddings.metrics.pair_roc import PairRoc, area, pair_roc, rounded
from vmf_embeddings.metrics.standard_errors import error_of_ratio, interval_95
from vmf_embeddings.metrics.verification import (
    FARS,
    TarAtFar,
    best_threshold,
    equal_error_rate,
    fold_accuracy,
    similarity_histogram,
    tar_at_far,
)
from vmf_embeddings.progress import LARGE_JOB, Progress
from vmf_embeddings.search.pair_counts import PairSet

N_BARS = 60  # of the histogram
N_FOLDS = 10
_BLOCK_PAIRS, _BLOCK_ROWS = 2**22, 8192
_MOST_ROWS_OPIS = 45_000  # of which all pairs are compared once more
_OPIS_FROM, _OPIS_TO = 1e-2, 1e-1  # FARs of its least and its largest distance
TABLE = TableText(
    title="Verification: pairs of rows",
    head="pairs",
    columns={
        "auc": ("AUC %", 100, 3),
        "eer": ("EER %", 100, 2),
        "best_balanced_accuracy": ("balanced accuracy %", 100, 2),
        "opis": ("OPIS", 1, 4),
        "fold_accuracy": ("ten folds %", 100, 2),
        "fold_standard_error": ("error", 100, 2),
        "tar": ("TAR %", 100, 2),
        "tar_low": ("from", 100, 1),
        "tar_high": ("to", 100, 1),
        "far": ("FAR reached %", 100, 4),
        "threshold": ("threshold", 1, 4),
    },
    label=lambda row: row.replace("far=", "FAR "),
    exact=("tar_low", "tar_high", "fold_standard_error"),
)


def score(context: Context) -> ScoreTable:
    """Scores of verification by the file's geometry.

    Raises:
        ValueError: pairs of one kind are missing, or the file of pairs is of no use.
    """
    if context.options.pairs is not None:
        return _of_file(context)
    pairs = _pair_set(context)
    n_pairs = pairs.n_pairs()
    with Progress(
        f"Similarities of {sum(n_pairs):,} pairs", at_once=len(pairs.rows) > LARGE_JOB
    ) as progress:
        found = pair_roc(pairs, FARS, seed=context.options.seed, progress=progress)
    at = {far: tar_at_far(found.curve, far) for far in FARS}
    errors = _errors_over_classes(pairs, list(at.values()))
    table = _table(found, at, errors)
    _add_opis(table, pairs, at)
    table.about |= {
        "pairs": "every two rows once" if pairs.once else "queries with gallery rows",
        "exact": found.exact,
        "auc_error": found.auc_error,
        "best_balanced_accuracy_error": found.accuracy_error,
        "tar_interval": "95 %, over classes, threshold fixed",
    }
    if not found.exact:
        table.notes.append(
            "so many pairs have nearly the same similarity that TAR and EER are of thresholds a "
            "65,536th of the range of similarities apart"
        )
    return table


def _add_opis(table: ScoreTable, pairs: PairSet, at: dict[float, TarAtFar]) -> None:
    """Adds how far classes are from sharing a threshold, or why that is not known."""
    least, most = (
        math.sqrt(max(0.0, 2 - 2 * at[far].threshold)) if at[far].n_accepted else math.nan
        for far in (_OPIS_FROM, _OPIS_TO)
    )
    found, reason = None, _without_opis(pairs, least, most)
    if reason is None:
        with Progress(f"OPIS of {len(pairs.rows):,} rows", at_once=len(pairs.rows) > LARGE_JOB):
            found = opis(pairs.rows, pairs.codes, least, most, pairs.images)
    table.rows["all"]["opis"] = math.nan if found is None else found.mean
    table.rows["all"]["opis_worst_tenth"] = math.nan if found is None else found.worst_tenth
    table.about["opis"] = reason or {"distances": [least, most]}


def _without_opis(pairs: PairSet, least: float, most: float) -> str | None:
    lengths = torch.cat([part.double().norm(dim=1) for part in pairs.rows.split(_BLOCK_ROWS)])
    if not pairs.once:
        return "needs every two rows as a pair: there are queries and a gallery"
    if bool(((lengths - 1).abs() > 1e-6).logical_and(lengths > 0).any()):
        return "needs rows of length 1, as cosine compares them"
    if len(pairs.rows) > _MOST_ROWS_OPIS:
        return f"more than {_MOST_ROWS_OPIS:,} rows"
    if not least < most:
        return f"no distances at FARs of {_OPIS_FROM:g} and {_OPIS_TO:g} that differ"
    return None


def _of_file(context: Context) -> ScoreTable:
    """Scores of the pairs that a file names, and the accuracy of ten folds in its order."""
    path = context.options.pairs
    assert path is not None
    given = read_pairs(path, len(context.file.ids))
    every = torch.arange(len(context.file.ids))
    geometry = context.evaluated.geometry
    pairs = PairSet(context.rows, every, every, geometry.faiss_metric, geometry.similarity)
    scores = rounded(pairs.scores(given.left, given.right))
    curve = roc(scores, given.same)
    if not (curve.n_positive and curve.n_negative):
        raise ValueError(f"--pairs {path}: all {len(scores)} pairs are of one kind")
    at = {far: tar_at_far(curve, far) for far in FARS}
    table = _table(PairRoc(curve, area(curve)[0]), at, dict.fromkeys(at.values(), math.nan))
    table.about["pairs"] = str(path)
    if len(scores) >= N_FOLDS:
        folds = fold_accuracy(scores, given.same, N_FOLDS)
        table.rows["all"] |= {
            "fold_accuracy": folds.mean,
            "fold_standard_error": folds.standard_error,
        }
        table.about["folds"] = {
            "accuracy": folds.accuracy.tolist(),
            "threshold": folds.thresholds.tolist(),
            "candidates": "midpoints of the other folds' similarities",
        }
    return table


def _pair_set(context: Context) -> PairSet:
    """The pairs that a file's queries and gallery make, without rows that have no class."""
    file, geometry = context.file, context.evaluated.geometry
    kept = torch.from_numpy(context.kept)
    sides = {}
    if file.is_query is not None or file.is_gallery is not None:
        queries, gallery = context.pairs.queries, context.pairs.gallery
        sides = {"queries": queries[kept[queries]], "gallery": gallery[kept[gallery]]}
    rows, codes, images = context.rows, as_codes(file.ids), context.images
    if not sides and not bool(kept.all()):
        rows, codes, images = rows[kept.to(rows.device)], codes[kept], images[kept]
    return PairSet(rows, codes, images, geometry.faiss_metric, geometry.similarity, **sides)


def _table(found: PairRoc, at: dict[float, TarAtFar], errors: dict[TarAtFar, float]) -> ScoreTable:
    curve = found.curve
    best = best_threshold(curve)
    table = ScoreTable()
    table.rows["all"] = {
        "auc": found.auc,
        "eer": equal_error_rate(curve),
        "best_balanced_accuracy": best.accuracy,
        "threshold": best.threshold,
        "best_accuracy": best_threshold(curve, balanced=False).accuracy,
    }
    few = []
    for far, one in at.items():
        low, high = interval_95(one.tar, errors[one])
        table.rows[f"far={far:g}"] = {
            "tar": one.tar,
            "fnmr": 1 - one.tar,
            "far": one.far,
            "threshold": one.threshold,
            "tar_low": low,
            "tar_high": high,
        }
        if one.few and not math.isnan(one.tar):
            few.append(f"{far:g}")
    table.about = {"n_same": curve.n_positive, "n_different": curve.n_negative}
    if few:
        table.notes.append(
            f"fewer than 30 pairs of different classes are accepted at a FAR of {', '.join(few)}: "
            "its TAR may be far off"
        )
    _add_curves(table, curve)
    return table


def _add_curves(table: ScoreTable, curve: Roc) -> None:
    """The ROC, denser at low FAR, and the similarities of both kinds of pairs."""
    places = _spread_by_far(curve)
    table.curves["far"], table.curves["tar"] = (
        rate[places].numpy() for rate in (curve.fpr, curve.tpr)
    )
    table.curves["threshold"] = curve.thresholds[places].numpy()
    low, high = float(curve.thresholds[-1]), float(curve.thresholds[0])
    edges = np.linspace(low, high if high > low else low + 1, N_BARS + 1)
    same, different = similarity_histogram(curve, edges.tolist())
    table.curves["similarity_edges"] = edges
    table.curves["same"], table.curves["different"] = same.numpy(), different.numpy()


def _spread_by_far(curve: Roc) -> Tensor:
    """Places of at most 2000 points: half even by place, half even by the logarithm of FAR."""
    every = torch.arange(len(curve.thresholds))
    wanted = torch.logspace(-math.log10(max(2, curve.n_negative)), 0, 1000, dtype=torch.float64)
    by_far = torch.searchsorted(curve.fpr, wanted).clamp_max(len(every) - 1)
    return torch.cat([torch.from_numpy(thinned(every, 1000)), by_far]).unique()


def _errors_over_classes(pairs: PairSet, at: list[TarAtFar]) -> dict[TarAtFar, float]:
    """Standard error of each TAR if other classes were drawn, at its threshold.

    Pairs of one class are counted by class; the threshold, of pairs of different classes, is taken
    as given.
    """
    thresholds = torch.tensor([one.threshold for one in at], dtype=torch.float64)
    # similarities of a product and of a pair by itself may differ in the last bits
    thresholds = thresholds - 1e-12 * thresholds.abs().nan_to_num(0, 0, 0)
    accepted, counts = [], []
    for rows, columns in zip(*_by_class(pairs), strict=True):
        of_class, n = torch.zeros(len(at), dtype=torch.int64), 0
        for part in rows.split(max(1, _BLOCK_PAIRS // max(1, len(columns)))):
            taken = pairs.images[part][:, None] != pairs.images[columns]
            if pairs.once:
                taken &= part[:, None] < columns
            similarity = pairs.similarity(*(
                pairs.rows[side.to(pairs.rows.device)].double() for side in (part, columns)
            )).cpu()[taken]  # fmt: skip
            of_class += (similarity[:, None] >= thresholds).sum(0)
            n += len(similarity)
        accepted.append(of_class)
        counts.append(n)
    every = torch.stack(accepted)
    return {one: error_of_ratio(every[:, i], counts) if math.isfinite(one.threshold) else math.nan
            for i, one in enumerate(at)}  # fmt: skip


def _by_class(pairs: PairSet) -> list[tuple[Tensor, ...]]:
    """For each side of the pairs, the row numbers of every class."""
    n_classes = int(pairs.codes.max()) + 1
    return [
        side[pairs.codes[side].argsort(stable=True)].split(
            torch.bincount(pairs.codes[side], minlength=n_classes).tolist()
        )
        for side in pairs.sides()
    ]
