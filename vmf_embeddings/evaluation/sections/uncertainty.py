"""Which confidence of a file tells right rows from wrong ones: R-AUROC, risk and coverage.

Kirchhof et al. 2023, https://arxiv.org/abs/2307.03810 (R-AUROC: a row is right if its nearest other
row is of its class).
"""

import math

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.confidences import confidences
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.evaluation.nearest_hits import wrong_nearest
from vmf_embeddings.evaluation.score_table import ScoreTable, TableText, WeightedScore, thinned
from vmf_embeddings.metrics.binary import auroc, auroc_influence, weighted_auroc
from vmf_embeddings.metrics.multiple_comparisons import holm
from vmf_embeddings.metrics.selective import risk_coverage
from vmf_embeddings.metrics.standard_errors import error_over_classes, interval_95, p_of_zero
from vmf_embeddings.metrics.weighted_risk import LastCurves, weighted_risk

RISKS = (0.01, 0.05, 0.1, 0.2)
COVERAGES = (0.5, 0.8, 0.9, 0.95)
TABLE = TableText(
    title="Confidence: how well it tells right rows from wrong ones",
    head="confidence, right by",
    columns={
        "auroc": ("AUROC %", 100, 2),
        "auroc_low": ("from", 100, 1),
        "auroc_high": ("to", 100, 1),
        "aurc": ("AURC", 1, 4),
        "e_aurc": ("E-AURC", 1, 4),
        "normalised_aurc": ("normalised", 1, 3),
        "coverage_at_risk_0.05": ("coverage % at 5 % wrong", 100, 1),
    },
    label=lambda row: row.replace("/", ", ").replace("_", " "),
    exact=("auroc_low", "auroc_high"),
)


def score(context: Context) -> ScoreTable:
    """Scores every confidence of a file by retrieval, and by classification where it has logits.

    Raises:
        ValueError: no query has another row of its class, and the file has no logits.
    """
    table, given = ScoreTable(), confidences(context)
    for kind, wrong in _wrong(context).items():
        _score_kind(table, context, kind, wrong, given)
    if not table.rows:
        raise ValueError(
            "metrics=uncertainty needs logits, or queries with another row of their class: this "
            "file has neither"
        )
    return table


def _wrong(context: Context) -> dict[str, Tensor]:
    """By what rows are right -> float64 [N]: 1 = wrong, 0 = right, NaN = left out.

    By retrieval, the share of wrong rows among those that tie as the nearest.
    """
    found = {}
    unknown = torch.full((len(context.file.ids),), torch.nan, dtype=torch.float64)
    answerable = context.n_relevant > 0
    if bool(answerable.any()):
        found["retrieval"] = unknown.clone()
        queries = context.pairs.queries[answerable]
        found["retrieval"][queries] = wrong_nearest(context)[answerable]
    classified = context.classified
    if classified is not None:
        found["classification"] = unknown.clone()
        found["classification"][torch.from_numpy(classified.rows)] = (~classified.correct).double()
    return found


def _score_kind(
    table: ScoreTable, context: Context, kind: str, wrong: Tensor, given: dict[str, Tensor]
) -> None:
    """Adds the scores of every confidence for one meaning of right, and which is the best."""
    rows = (~wrong.isnan()).nonzero().squeeze(1)
    of_wrong, classes = wrong[rows], context.file.ids[rows.numpy()]
    offered = {name: c[rows] for name, c in given.items() if not bool(c[rows].isnan().any())}
    last = LastCurves()
    influences = {name: auroc_influence(c, 1 - of_wrong) for name, c in offered.items()}
    for name, confidence in offered.items():
        row, curve = f"{name}/{kind}", risk_coverage(confidence, of_wrong)
        area = auroc(confidence, 1 - of_wrong)
        low, high = interval_95(area, error_over_classes(influences[name], classes))
        table.rows[row] = {
            "auroc": area,
            "auroc_low": low,
            "auroc_high": high,
            "aurc": curve.aurc,
            "lowest_aurc": curve.lowest_aurc,
            "e_aurc": curve.e_aurc,
            "normalised_aurc": curve.normalised_aurc,
            "augrc": curve.augrc,
            **{f"coverage_at_risk_{risk:g}": curve.coverage_at_risk(risk) for risk in RISKS},
            **{f"risk_at_coverage_{kept:g}": curve.risk_at_coverage(kept) for kept in COVERAGES},
        }
        table.weighted[f"{row}/auroc"] = _of(rows, weighted_auroc(confidence, 1 - of_wrong))
        drawn = weighted_risk(
            confidence, of_wrong, rows=rows, risks=RISKS, coverages=COVERAGES, last=last
        )
        table.weighted[f"{row}/aurc"] = drawn.pop("aurc")
        table.drawn |= {f"{row}/{name}": own for name, own in drawn.items()}
        for part in ("confidence", "coverage", "risk"):
            table.curves[f"{row}/{part}"] = thinned(getattr(curve, part))
    table.about[kind] = {
        "n_rows": len(rows),
        "n_left_out": len(wrong) - len(rows),
        "error": float(of_wrong.mean()),
        "auroc_interval": "95 %, normal, over classes",
        "not_offered": sorted(given.keys() - offered.keys()),
    }
    areas = {name: table.rows[f"{name}/{kind}"]["auroc"] for name in offered}
    _name_best(table, kind, areas, influences, classes)


def _of(rows: Tensor, score: WeightedScore) -> WeightedScore:
    """A score of some rows as one of weights of all rows."""
    return lambda weights: score(weights[:, rows])


def _name_best(
    table: ScoreTable,
    kind: str,
    areas: dict[str, float],
    influences: dict[str, Tensor],
    classes: np.ndarray,
) -> None:
    """Notes the confidence of the largest AUROC, and those that differ from it by chance alone."""
    if not areas or any(math.isnan(area) for area in areas.values()):
        table.notes.append(f"by {kind} all rows are right or all are wrong: there is no AUROC")
        return
    best = max(areas, key=areas.__getitem__)
    others = [name for name in areas if name != best]
    p_values = [
        p_of_zero(
            areas[best] - areas[name],
            error_over_classes(influences[best] - influences[name], classes),
        )
        for name in others
    ]
    # over a single class there is no error: nothing is told apart
    adjusted = p_values if any(map(math.isnan, p_values)) else holm(p_values).tolist()
    alike = [name for name, p in zip(others, adjusted, strict=True) if not p <= 0.05]
    table.about[kind] |= {"best": best, "not_worse_at_5_percent": alike}
    rest = f"; {', '.join(alike)} may be as good (95 %, over classes, Holm)" if alike else ""
    table.notes.append(f"by {kind}, {best} tells right from wrong best on these rows{rest}")
