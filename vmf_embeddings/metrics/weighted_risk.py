"""Risk against coverage as functions of weights of rows, from which their intervals come.

The scores are those of `metrics.selective`: with whole weights, those of rows that are repeated as
often.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array
from vmf_embeddings.metrics.resampling import WeightedScore
from vmf_embeddings.metrics.selective import WeightedCurves, weighted_curves

_Function = Callable[[WeightedCurves], Tensor]


class LastCurves:
    """The curves of the last draws, which several scores of one confidence need in turn."""

    def __init__(self) -> None:
        self._of: tuple[object, Tensor] | None = None
        self._curves: WeightedCurves | None = None

    def of(self, score: Callable[[Tensor], WeightedCurves], weights: Tensor) -> WeightedCurves:
        """The curves of these very weights, computed where they are not the last ones."""
        if self._curves is None or self._of is None or self._of[0] is not score or (
            self._of[1] is not weights
        ):  # fmt: skip
            self._of, self._curves = (score, weights), score(weights)
        return self._curves


def weighted_risk(
    confidence: Array,
    wrong: Array,
    *,
    rows: Tensor | None = None,
    risks: Sequence[float] = (),
    coverages: Sequence[float] = (),
    last: LastCurves | None = None,
) -> dict[str, WeightedScore]:
    """Every score of `RiskCoverage` as a function of weights; rows are sorted once.

    Args:
        confidence: [M], larger = surer; M >= 1, no NaN.
        wrong: [M], whether a row is wrong, or by how much, in [0, 1].
        rows: int64 [M] which of the N rows that have weights these are; None = all.
        risks: of `coverage_at_risk`.
        coverages: of `risk_at_coverage`.
        last: shared by the scores of a table, which then keep one block of draws between them.

    Returns:
        Name -> function of whole weights [B, N] >= 0.

    >>> scores = weighted_risk([0.9, 0.8, 0.7], [0, 1, 0], coverages=[0.5])
    >>> risk = scores["risk_at_coverage_0.5"]
    >>> risk(torch.tensor([[1.0, 3.0, 0.0]]))
    tensor([0.5000], dtype=torch.float64)
    """
    of_weights = weighted_curves(confidence, wrong)
    last = last or LastCurves()

    def curves(weights: Tensor) -> WeightedCurves:
        return of_weights(weights if rows is None else weights[:, rows])

    functions: dict[str, _Function] = {
        "aurc": lambda found: found.aurc,
        "lowest_aurc": lowest_aurc,
        "e_aurc": lambda found: found.aurc - lowest_aurc(found),
        "normalised_aurc": normalised_aurc,
        "augrc": augrc,
        **{f"coverage_at_risk_{r:g}": lambda found, r=r: coverage_at_risk(found, r) for r in risks},
        **{
            f"risk_at_coverage_{c:g}": lambda found, c=c: risk_at_coverage(found, c)
            for c in coverages
        },
    }
    return {
        name: lambda weights, function=function: function(last.of(curves, weights))
        for name, function in functions.items()
    }


def lowest_aurc(curves: WeightedCurves) -> Tensor:
    """[B], see `RiskCoverage.lowest_aurc`.

    With N rows, r of them right, it is the mean over k of max(0, k - r) / k, in which the sum of
    the m = N - floor(r) last ones is m - r (H(N) - H(N - m)), H the harmonic numbers.
    """
    n = curves.n_kept[:, -1]
    right = n - curves.n_wrong[:, -1]
    m = n - right.floor()
    harmonic = torch.digamma(n + 1) - torch.digamma(n - m + 1)
    return (m - right * harmonic) / n


def normalised_aurc(curves: WeightedCurves) -> Tensor:
    """[B], see `RiskCoverage.normalised_aurc`."""
    lowest, error = lowest_aurc(curves), curves.n_wrong[:, -1] / curves.n_kept[:, -1]
    known = (error > 0) & (error < 1)
    return torch.where(known, (curves.aurc - lowest) / (error - lowest), torch.nan)


def augrc(curves: WeightedCurves) -> Tensor:
    """[B], see `RiskCoverage.augrc`."""
    n = curves.n_kept[:, -1]
    between = curves.n_wrong - curves.wrong / 2  # mean of both ends of every step
    return (between * curves.kept).sum(1) / n.square()


def coverage_at_risk(curves: WeightedCurves, risk: float) -> Tensor:
    """[B], see `RiskCoverage.coverage_at_risk`."""
    # without a row the risk is NaN, which is not allowed
    allowed = curves.n_wrong / curves.n_kept <= risk
    return torch.where(allowed, curves.n_kept, 0.0).amax(1) / curves.n_kept[:, -1]


def risk_at_coverage(curves: WeightedCurves, coverage: float) -> Tensor:
    """[B], see `RiskCoverage.risk_at_coverage`."""
    n_kept, n_wrong = curves.n_kept, curves.n_wrong
    kept = (coverage * n_kept[:, -1:] - 1e-9).ceil().clamp_min(1)
    end = torch.searchsorted(n_kept, kept).clamp_max(n_kept.shape[1] - 1)
    in_group, wrong = (x.gather(1, end) for x in (curves.kept, curves.wrong))
    kept_before, wrong_before = n_kept.gather(1, end) - in_group, n_wrong.gather(1, end) - wrong
    return ((wrong_before + (kept - kept_before) / in_group * wrong) / kept).squeeze(1)
