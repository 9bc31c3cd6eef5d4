"""How much is wrong among the rows that one is surest of: risk against coverage.

Coverage is the share of rows that are kept, the surest first; risk is the share of those that are
wrong (El-Yaniv & Wiener 2010, Geifman & El-Yaniv 2017, https://arxiv.org/abs/1705.08500). Rows of
equal confidence are kept in random order: every score is the expectation over these orders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64
from vmf_embeddings.metrics.ordered import Ordered


@dataclass(frozen=True)
class RiskCoverage:
    """Rows kept and wrong at every distinct confidence, the surest first.

    Args:
        confidence: float64 [T], falling.
        n_kept: float64 [T], rows at least as sure.
        n_wrong: float64 [T], how many of them are wrong.
    """

    confidence: Tensor
    n_kept: Tensor
    n_wrong: Tensor

    @property
    def coverage(self) -> Tensor:
        """[T] share of rows that are kept, in (0, 1]."""
        return self.n_kept / self.n_kept[-1]

    @property
    def risk(self) -> Tensor:
        """[T] share of the kept rows that are wrong, in [0, 1]."""
        return self.n_wrong / self.n_kept

    @cached_property
    def error(self) -> float:
        """Share of all rows that are wrong; what a constant confidence has as AURC."""
        return float(self.risk[-1])

    @cached_property
    def aurc(self) -> float:
        """Mean over k = 1..N of the risk among the k surest rows (Geifman & El-Yaniv 2017)."""
        counts = (self.n_kept.diff(prepend=_zero(self.n_kept)),
                  self.n_wrong.diff(prepend=_zero(self.n_wrong)))  # fmt: skip
        return float(mean_risk(counts[0][None], counts[1][None])[0])

    @cached_property
    def lowest_aurc(self) -> float:
        """The AURC if every row that is right were surer than every one that is wrong."""
        n, wrong = self.n_kept[-1], self.n_wrong[-1]
        kept = torch.arange(1, int(n) + 1, dtype=torch.float64)
        return float(((kept - n + wrong).clamp_min(0) / kept).mean())

    @property
    def e_aurc(self) -> float:
        """AURC minus the lowest one (Geifman et al. 2019, https://arxiv.org/abs/1805.08206)."""
        return self.aurc - self.lowest_aurc

    @property
    def normalised_aurc(self) -> float:
        """0 for the lowest AURC, 1 for that of a constant; NaN if all rows are right or wrong."""
        span = self.error - self.lowest_aurc
        return self.e_aurc / span if 0 < self.error < 1 else float("nan")

    @cached_property
    def augrc(self) -> float:
        """Area under the share of all rows that is kept and wrong (Traub et al. 2024).

        https://arxiv.org/abs/2407.01032. With A the AUROC of right against wrong and r the error
        it is (1 - A) r (1 - r) + r^2 / 2.
        """
        n = self.n_kept[-1]
        coverage, share = (_from_zero(x / n) for x in (self.n_kept, self.n_wrong))
        return float(torch.trapezoid(share, coverage))

    def coverage_at_risk(self, risk: float) -> float:
        """The largest coverage at a distinct confidence with a risk of at most `risk`, else 0."""
        allowed = (self.risk <= risk).nonzero()
        return float(self.coverage[allowed[-1, 0]]) if len(allowed) else 0.0

    def risk_at_coverage(self, coverage: float) -> float:
        """Risk among the ceil(coverage N) surest rows.

        Args:
            coverage: in (0, 1].
        """
        # 1e-9: a product such as 0.07 * 100 lies a rounding error above the whole number
        kept = (coverage * self.n_kept[-1] - 1e-9).ceil().clamp_min(1)
        end = int(torch.searchsorted(self.n_kept, kept))
        kept_before, wrong_before = (
            x[end - 1] if end else torch.zeros_like(x[0]) for x in (self.n_kept, self.n_wrong)
        )
        share = (kept - kept_before) / (self.n_kept[end] - kept_before)
        return float((wrong_before + share * (self.n_wrong[end] - wrong_before)) / kept)


def risk_coverage(confidence: Array, wrong: Array) -> RiskCoverage:
    """The curve of risk against coverage, from which every score here comes.

    Args:
        confidence: [N], larger = surer; N >= 1, no NaN.
        wrong: [N], whether a row is wrong.

    >>> round(risk_coverage([0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1]).aurc, 4)
    0.2083
    """
    ordered, of_wrong = _ordered(confidence, wrong)
    counts = ordered.sums(torch.stack([torch.ones_like(of_wrong), of_wrong])).flip(1).cumsum(1)
    return RiskCoverage(ordered.scores.flip(0), *counts)


@dataclass(frozen=True)
class WeightedCurves:
    """Rows kept and wrong in every group of equal confidence, the surest first, of B draws.

    Args:
        kept: float64 [B, T] rows of each group.
        wrong: float64 [B, T] how many of them are wrong.
    """

    kept: Tensor
    wrong: Tensor

    @cached_property
    def n_kept(self) -> Tensor:
        """[B, T] rows at least as sure."""
        return self.kept.cumsum(1)

    @cached_property
    def n_wrong(self) -> Tensor:
        """[B, T] how many of them are wrong."""
        return self.wrong.cumsum(1)

    @cached_property
    def aurc(self) -> Tensor:
        """[B], see `RiskCoverage.aurc`."""
        return mean_risk(self.kept, self.wrong)


def weighted_curves(confidence: Array, wrong: Array) -> Callable[[Tensor], WeightedCurves]:
    """The curves as a function of whole weights [B, N] >= 0; rows are sorted once.

    Args:
        confidence: [N], larger = surer; N >= 1, no NaN.
        wrong: [N], whether a row is wrong.
    """
    ordered, of_wrong = _ordered(confidence, wrong)
    wrong_in_order = ordered.in_order(of_wrong[None])

    def curves(weights: Tensor) -> WeightedCurves:
        in_order = ordered.in_order(weights.double())
        both = (ordered.sums_in_order(one) for one in (in_order, in_order * wrong_in_order))
        return WeightedCurves(*(sums.flip(1) for sums in both))

    return curves


def weighted_aurc(confidence: Array, wrong: Array) -> Callable[[Tensor], Tensor]:
    """The AURC as a function of weights of rows.

    Args:
        confidence: [N], larger = surer; N >= 1, no NaN.
        wrong: [N], whether a row is wrong.

    Returns:
        Whole weights [B, N] >= 0, how often each row counts -> AURC float64 [B].
    """
    curves = weighted_curves(confidence, wrong)
    return lambda weights: curves(weights).aurc


def mean_risk(kept: Tensor, wrong: Tensor) -> Tensor:
    """Mean over k of the expected risk among the k surest [B].

    Args:
        kept: [B, T] rows in each group of equal confidence, the surest first.
        wrong: [B, T] how many of them are wrong.

    Inside a group with n rows before it, of which e are wrong, w wrong in m, the k surest have
    e + (k - n) w / m wrong ones; with H the harmonic numbers the group adds
    w + (e - n w / m) (H(n + m) - H(n)).
    """
    end, lost = kept.cumsum(1), wrong.cumsum(1)
    begin, lost_before = end - kept, lost - wrong
    rate = wrong / kept.clamp_min(1)  # an empty group adds nothing
    # a table of H is looked up several times as fast as digamma is computed
    inverse = 1 / torch.arange(1, int(end.max()) + 1, dtype=torch.float64)
    table = _from_zero(inverse.cumsum(0))
    harmonic = table[end.long()].diff(dim=1, prepend=end.new_zeros(len(end), 1))
    return (wrong + (lost_before - begin * rate) * harmonic).sum(1) / end[:, -1]


def _ordered(confidence: Array, wrong: Array) -> tuple[Ordered, Tensor]:
    ordered, of_wrong = Ordered(confidence), as_float64(wrong)
    if of_wrong.shape != torch.as_tensor(confidence).shape:
        raise ValueError(
            "confidence and wrong must both be [N], got "
            f"{list(torch.as_tensor(confidence).shape)} and {list(of_wrong.shape)}"
        )
    return ordered, of_wrong


def _zero(values: Tensor) -> Tensor:
    return values.new_zeros(1)


def _from_zero(values: Tensor) -> Tensor:
    return torch.cat([_zero(values), values])
