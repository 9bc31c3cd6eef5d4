"""The ROC of all pairs of rows: exact where scores of verification are read off it.

Up to `MOST_HELD` pairs are scored and sorted. Of more, rounded scores are counted in 65,536 bins,
and only the pairs around the wanted points (FARs, equal error rate) are scored in float64 and
sorted. Where these points lie is foretold by a random sample of pairs, so that one pass over all
pairs is enough; if a point was missed, another pass takes it in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.binary import Roc, roc
from vmf_embeddings.search.pair_counts import N_BINS, PairCounter, PairCounts, PairSet
from vmf_embeddings.search.ranks import Progress

MOST_HELD = 4_000_000
SAMPLE = 1_500_000
SIGMAS = 4  # of the sample, within which a point is expected
MOST_PASSES = 4
# scores of the same two directions may differ in the last bits
_DIGITS = 2.0**40


@dataclass(frozen=True)
class PairRoc:
    """The ROC of all pairs.

    Args:
        curve: positive = of one class. Its steps are single scores, or where no wanted point lies,
            whole bins.
        auc: area under it, steps counted half.
        auc_error: largest error of the area by steps that are bins; 0 where all pairs were held.
        accuracy_error: largest amount by which a threshold inside a bin could be more accurate,
            balanced, than the best one of `curve`.
        n_passes: over all pairs.
        exact: whether the wanted points are; they are not where so many pairs have nearly the same
            score that they cannot be held.
    """

    curve: Roc
    auc: float
    auc_error: float = 0.0
    accuracy_error: float = 0.0
    n_passes: int = 1
    exact: bool = True


def pair_roc(
    pairs: PairSet,
    fars: Sequence[float],
    *,
    seed: int = 1234,
    progress: Progress | None = None,
) -> PairRoc:
    """Scores all pairs of a set.

    Args:
        pairs: what is compared.
        fars: at which the curve is exact, as it is at the equal error rate.
        seed: of the sample of pairs.
        progress: called with the fraction of a pass that is done.

    Raises:
        ValueError: there is no pair of one class, or none of different classes.
    """
    n_same, n_different = pairs.n_pairs()
    if not (n_same and n_different):
        raise ValueError(
            f"verification needs pairs of one class and of different classes: there are {n_same:,} "
            f"and {n_different:,}"
        )
    if n_same + n_different <= MOST_HELD:
        curve = roc(*_every_pair(pairs))
        return PairRoc(curve, area(curve)[0])
    scores, same = _sample(pairs, torch.Generator().manual_seed(seed))
    counter = PairCounter(pairs, *_range(pairs, scores))
    counts = counter.count(_expected(scores, same, counter, fars, n_different), progress)
    n_passes, chosen = 1, torch.zeros(N_BINS, dtype=torch.bool)
    while True:
        steps = _Steps(pairs, counts, chosen)
        missed = steps.missed(fars)
        if not (len(missed) and counts.complete):
            break
        chosen[missed] = True
        if not bool(counts.flagged[chosen].all()):
            if n_passes == MOST_PASSES:
                break
            counts, n_passes = counter.count(counts.flagged | chosen, progress), n_passes + 1
    auc, error = area(steps.curve, steps.exact)
    return PairRoc(steps.curve, auc, error, steps.accuracy_error(), n_passes, not len(missed))


class _Steps:
    """Steps of a ROC: exact scores of the pairs of chosen bins, lower edges of the others.

    Args:
        pairs: what was compared.
        counts: of all pairs.
        chosen: bool [B]; none is, where not all pairs of these bins are listed.
    """

    def __init__(self, pairs: PairSet, counts: PairCounts, chosen: Tensor) -> None:
        self.counts = counts
        self.chosen = chosen & counts.flagged if counts.complete else torch.zeros_like(chosen)
        self.margin = math.ceil(counts.error / counts.width) + 1
        left, right, _ = counts.listed[self.chosen[counts.listed[:, 2]]].T
        listed = None
        if len(left):
            same = pairs.codes[left] == pairs.codes[right]
            listed = roc(rounded(pairs.scores(left, right)), same)
        of_bins = counts.counts.clone()
        of_bins[:, self.chosen] = 0
        filled = (of_bins.sum(0) > 0).nonzero().squeeze(1)
        edges = counts.low + filled.double() * counts.width
        thresholds, true, false = [edges], [of_bins[1, filled]], [of_bins[0, filled]]
        if listed is not None:
            thresholds.append(listed.thresholds)
            for parts, cumulated in (
                (true, listed.true_positives),
                (false, listed.false_positives),
            ):
                parts.append(cumulated.diff(prepend=cumulated.new_zeros(1)))
        every = torch.cat(thresholds)
        order = every.argsort(descending=True, stable=True)
        self.exact = (torch.arange(len(every)) >= len(filled))[order]
        self.curve = Roc(
            every[order], torch.cat(true)[order].cumsum(0), torch.cat(false)[order].cumsum(0)
        )

    def missed(self, fars: Sequence[float]) -> Tensor:
        """Bins to list so that the curve is exact at the wanted points; none if it is."""
        curve, wanted = self.curve, []
        for far in fars:
            allowed = math.floor(far * curve.n_negative + 1e-9)
            beyond = (curve.false_positives > allowed).nonzero().squeeze(1)
            if allowed >= 1 and len(beyond):
                wanted += [int(beyond[0]), max(0, int(beyond[0]) - 1)]
        crossed = (curve.fpr >= 1 - curve.tpr).nonzero()
        wanted += [int(crossed[0, 0]), max(0, int(crossed[0, 0]) - 1)]
        missed = set()
        for step in wanted:
            around = self._around(float(curve.thresholds[step]))
            if not (bool(self.exact[step]) and bool(self.chosen[around].all())):
                missed.update(around.tolist())
        return torch.tensor(sorted(missed), dtype=torch.int64)

    def _around(self, score: float) -> Tensor:
        """The bin of a score, and those in which a pair of a rounded score next to it may be."""
        place = int((score - self.counts.low) / self.counts.width)
        first, last = place - self.margin, place + self.margin
        return torch.arange(max(0, first), min(N_BINS - 1, last) + 1).clamp(0, N_BINS - 1)

    def accuracy_error(self) -> float:
        """See `PairRoc`: all pairs of one class of a bin accepted, and all others of it not."""
        curve = self.curve
        balanced = (curve.tpr + 1 - curve.fpr) / 2
        false = curve.false_positives.diff(prepend=curve.false_positives.new_zeros(1))
        upper = balanced + false.double() / curve.n_negative / 2
        upper = torch.where(self.exact, balanced, upper)
        return max(0.0, float(upper.max()) - max(0.5, float(balanced.max())))


def rounded(scores: Tensor) -> Tensor:
    """Scores to 2^-40 of the power of two above the largest, so that equal ones are equal.

    Scores more than 1024 times the median are not that largest: one row far away must not make all
    others alike.
    """
    size = scores.abs()
    largest, middle = (float(size.max()), float(size.median())) if len(size) else (0.0, 0.0)
    largest = min(largest, 1024 * middle) if middle > 0 else largest
    unit = 2.0 ** math.ceil(math.log2(largest)) / _DIGITS if largest > 0 else 1.0
    return (scores / unit).round() * unit


def _every_pair(pairs: PairSet) -> tuple[Tensor, Tensor]:
    """Scores of all pairs, and whether each is of one class."""
    scores, same = [], []
    left, right = pairs.sides()
    step = max(1, MOST_HELD // max(1, len(right)))
    for start in range(0, len(left), step):
        rows = left[start : start + step]
        taken = pairs.images[rows][:, None] != pairs.images[right]
        if pairs.once:
            taken &= rows[:, None] < right
        i, j = taken.nonzero(as_tuple=True)
        scores.append(pairs.scores(rows[i], right[j]))
        same.append(pairs.codes[rows[i]] == pairs.codes[right[j]])
    return rounded(torch.cat(scores)), torch.cat(same)


def _sample(pairs: PairSet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores of random pairs of both kinds, drawn with replacement, `SAMPLE` of each at most."""
    left, right = pairs.sides()
    i, j = (
        side[torch.randint(len(side), (SAMPLE,), generator=generator)] for side in (left, right)
    )
    drawn = [(i, j, pairs.codes[i] != pairs.codes[j])]
    # of one class: a row on the left by how many it has on the right, then one of these
    order = right[pairs.codes[right].argsort(stable=True)]
    sizes = torch.bincount(pairs.codes[right], minlength=int(pairs.codes.max()) + 1)
    begin = sizes.cumsum(0) - sizes
    up_to = sizes[pairs.codes[left]].double().cumsum(0)
    draws = torch.rand(2, SAMPLE, generator=generator, dtype=torch.float64)
    i = left[torch.searchsorted(up_to, draws[0] * up_to[-1], right=True).clamp_max(len(left) - 1)]
    of_class = sizes[pairs.codes[i]]
    place = (draws[1] * of_class).long().minimum(of_class - 1)
    j = order[begin[pairs.codes[i]] + place]
    drawn.append((i, j, torch.ones_like(i, dtype=torch.bool)))
    scores, kinds = [], []
    for kind, (x, y, wanted) in enumerate(drawn):
        kept = wanted & (pairs.images[x] != pairs.images[y])
        scores.append(pairs.scores(x[kept], y[kept]))
        kinds.append(torch.full((len(scores[-1]),), bool(kind)))
    return torch.cat(scores), torch.cat(kinds)


def _range(pairs: PairSet, scores: Tensor) -> tuple[float, float]:
    """Scores at which bins begin and end: scores beyond count in the last bin there."""
    low, high = float(scores.min()), float(scores.max())
    reach = 0.02 * (high - low) + 1e-12 * max(abs(low), abs(high)) + 1e-30
    return low - reach, high + reach


def _expected(
    scores: Tensor, same: Tensor, counter: PairCounter, fars: Sequence[float], n_different: int
) -> Tensor:
    """Bins [B] in which the wanted points are expected, by the sample."""
    margin = math.ceil(counter.error / counter.width) + 2
    flagged = torch.zeros(N_BINS, dtype=torch.bool)
    different = scores[~same].sort(descending=True).values
    n = len(different)

    def flag(low: float, high: float) -> None:
        first, last = (int((x - counter.low) / counter.width) for x in (low, high))
        flagged[max(0, first - margin) : min(N_BINS, last + margin + 1)] = True

    for far in fars:
        if far * n_different < 1:
            continue
        reach = SIGMAS * math.sqrt(far * n) + 3
        first, last = math.floor(far * n - reach), math.ceil(far * n + reach)
        top = counter.low + N_BINS * counter.width
        flag(float(different[min(last, n - 1)]), float(different[first]) if first >= 0 else top)
    curve = roc(scores, same)
    if not (curve.n_positive and curve.n_negative):
        return flagged
    gap, rate = curve.fpr - (1 - curve.tpr), curve.fpr.clamp(1e-6, 1)
    error = (rate * (1 - rate).clamp_min(1e-6) * (1 / n + 1 / max(1, curve.n_positive))).sqrt()
    near = (gap.abs() <= SIGMAS * error + 3 / n).nonzero().squeeze(1)
    crossed = int((gap >= 0).nonzero()[0, 0])
    places = curve.thresholds[torch.cat([near, torch.tensor([crossed, max(0, crossed - 1)])])]
    flag(float(places.min()), float(places.max()))
    return flagged


def area(curve: Roc, exact: Tensor | None = None) -> tuple[float, float]:
    """Area under a ROC, and the largest error by steps that are bins."""
    true = curve.true_positives.diff(prepend=curve.true_positives.new_zeros(1)).double()
    false = curve.false_positives.diff(prepend=curve.false_positives.new_zeros(1)).double()
    below = curve.n_negative - curve.false_positives.double()
    scale = curve.n_positive * curve.n_negative
    area = float((true * (below + false / 2)).sum() / scale)
    half = true * false / 2
    error = 0.0 if exact is None else float(half[~exact].sum() / scale)
    return area, error
