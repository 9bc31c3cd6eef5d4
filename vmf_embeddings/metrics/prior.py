"""What class frequencies do to predictions: taken out of logits, put in, and estimated.

A network trained on classes of frequencies pi learns log p(y | x) = z_y with pi in it. Menon et al.
2021, https://arxiv.org/abs/2007.07314 (z - tau log pi, after training); Hong et al. 2021,
https://arxiv.org/abs/2012.00321, and Zhang et al. 2022, https://arxiv.org/abs/2107.09249 (test sets
of other frequencies); Saerens et al. 2002, https://doi.org/10.1162/089976602753284446 (estimating
them from rows without labels).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64, as_labels
from vmf_embeddings.metrics.classification import probabilities

TAUS = tuple(step / 4 for step in range(11))  # 0, 0.25, …, 2.5
_BLOCK_ELEMENTS = 2**21
_MOST_STEPS = 2000


def log_frequencies(counts: Array) -> Tensor:
    """Logarithm of the class frequencies, float64 [C].

    A class without images gets the count of the smallest that has some: its own would be -inf.

    Args:
        counts: [C] images, >= 0, not all 0.

    >>> log_frequencies([3, 1, 0]).exp()
    tensor([0.6000, 0.2000, 0.2000], dtype=torch.float64)
    """
    given = as_float64(counts)
    if given.ndim != 1 or bool((given < 0).any()) or not bool((given > 0).any()):
        raise ValueError(f"counts must be [C], >= 0, and not all 0, got {given.tolist()[:10]}")
    filled = torch.where(given > 0, given, given[given > 0].min())
    return (filled / filled.sum()).log()


@dataclass(frozen=True)
class Predictions:
    """Predictions from logits with an offset for each class.

    Args:
        guess: int64 [N], the class of largest probability, of equal ones the lowest.
        log_p: float64 [N], log probability of the label in nats.
    """

    guess: Tensor
    log_p: Tensor


def predictions(logits: Array, labels: Array, offset: Array) -> Predictions:
    """Predictions from z + offset; with draws the offset is added to each, probabilities averaged.

    Args:
        logits: [N, C], or [N, S, C] with S draws each.
        labels: [N] in 0..C-1.
        offset: [C], such as -tau log pi.

    >>> predictions([[1.0, 0.0]], [1], [0.0, 2.0]).guess
    tensor([1])
    """
    rows, own, moved = torch.as_tensor(logits), as_labels(labels), as_float64(offset)
    step = max(1, _BLOCK_ELEMENTS // rows[0].numel())
    guess, log_p = [], []
    for part, label in zip(rows.split(step), own.split(step), strict=True):
        predicted = probabilities(part.double() + moved)
        guess.append(predicted.argmax(1))
        log_p.append(predicted.gather(1, label[:, None]).squeeze(1).log())
    return Predictions(torch.cat(guess), torch.cat(log_p))


@dataclass(frozen=True)
class TauChoice:
    """The strength of the prior that is best on some rows.

    Args:
        tau: the one of largest macro accuracy; of equal ones the nearest to 1.
        macro_accuracy: of each of TAUS.
    """

    tau: float
    macro_accuracy: tuple[float, ...]


def choose_tau(logits: Array, labels: Array, log_prior: Array) -> TauChoice:
    """Chooses tau of z - tau log pi on rows that are not scored, from TAUS.

    Args:
        logits: [N, C], or [N, S, C] with S draws each.
        labels: [N] in 0..C-1.
        log_prior: [C], of `log_frequencies`.

    >>> choose_tau([[1.0, 0.0], [1.0, 0.0]], [0, 1], log_frequencies([1, 1])).tau
    1.0
    """
    prior = as_float64(log_prior)
    found = [
        float(class_recall(predictions(logits, labels, -tau * prior).guess, labels, len(prior))
              .nanmean())
        for tau in TAUS
    ]  # fmt: skip
    best = max(range(len(TAUS)), key=lambda place: (found[place], -abs(TAUS[place] - 1)))
    return TauChoice(TAUS[best], tuple(found))


def class_recall(guess: Array, labels: Array, n_classes: int) -> Tensor:
    """Share of the rows of each class that are predicted as it, float64 [C]; NaN without rows.

    Args:
        guess: [N] predicted classes in 0..C-1.
        labels: [N] in 0..C-1.
        n_classes: C.

    >>> class_recall([0, 1, 0], [0, 0, 1], 3)
    tensor([0.5000, 0.0000,    nan], dtype=torch.float64)
    """
    own, predicted = as_labels(labels), as_labels(guess)
    right = torch.bincount(own[predicted == own], minlength=n_classes).double()
    return right / torch.bincount(own, minlength=n_classes)


def recall_means(recall: Array) -> dict[str, float]:
    """Means over classes of their recalls, those without rows left out.

    Du & Wu 2023, https://arxiv.org/abs/2305.08661, on the harmonic mean and the worst class.

    Args:
        recall: [C] in [0, 1], NaN for classes without rows; at least one is known.

    Returns:
        `macro_accuracy` (arithmetic), `geometric_mean`, `harmonic_mean` (both 0 where a class is
        never right), `worst_class`, `worst_tenth` (mean of the worst tenth of the classes, at least
        one), and `classes_never_right`, a number.

    >>> recall_means([1.0, 0.25])["geometric_mean"], recall_means([1.0, 0.25])["harmonic_mean"]
    (0.5, 0.4)
    """
    known = as_float64(recall)
    known = known[~known.isnan()].sort().values
    if not len(known):
        raise ValueError("no class has rows")
    worst = known[: max(1, len(known) // 10)]
    return {
        "macro_accuracy": float(known.mean()),
        "geometric_mean": float(known.log().mean().exp()),
        "harmonic_mean": float(len(known) / known.reciprocal().sum()),
        "worst_class": float(known[0]),
        "worst_tenth": float(worst.mean()),
        "classes_never_right": float((known == 0).sum()),
    }


def long_tailed_counts(train_counts: Array, rho: float, n_rows: int, *, backward: bool) -> Tensor:
    """Rows of each class of a long-tailed test set, int64 [C].

    int(n (1/rho)^(i / (C - 1))) with i the place of the class by falling training images (equal
    ones by class number), or by rising ones.

    Args:
        train_counts: [C] training images.
        rho: >= 1, rows of the largest class over those of the smallest; 1 = all equal.
        n_rows: n, of the largest class.
        backward: whether the classes of fewest training images are the largest.

    >>> long_tailed_counts([50, 5, 10], 4, 8, backward=False).tolist()
    [8, 2, 4]
    """
    if not rho >= 1:
        raise ValueError(f"rho must be at least 1, got {rho}")
    order = as_float64(train_counts).argsort(descending=True, stable=True)
    if backward:
        order = order.flip(0)
    last = max(1, len(order) - 1)
    counts = torch.empty(len(order), dtype=torch.int64)
    for place, number in enumerate(order.tolist()):
        counts[number] = int(n_rows * (1 / rho) ** (place / last))
    return counts


def first_rows(labels: Array, counts: Array) -> Tensor:
    """Numbers of the first counts[c] rows of each class c, in the order of the rows.

    Args:
        labels: [N] in 0..C-1.
        counts: [C]; a class of fewer rows keeps all of them.

    >>> first_rows([1, 0, 1, 1], [5, 2])
    tensor([0, 1, 2])
    """
    own, most = as_labels(labels), as_labels(counts)
    order = own.argsort(stable=True)
    before = torch.bincount(own, minlength=len(most)).cumsum(0).roll(1)
    before[0] = 0
    kept = torch.arange(len(own)) - before[own[order]] < most[own[order]]
    return order[kept].sort().values


def estimated_prior(
    logits: Array, log_prior: Array, weights: Array | None = None, smallest_change: float = 1e-12
) -> Tensor:
    """Class frequencies of rows without labels, by expectation maximisation, float64 [C].

    It assumes calibrated probabilities, and collapses where there are few rows for each class.

    Args:
        logits: [N, C], or [N, S, C] with S draws each.
        log_prior: [C], the frequencies that the logits have in them; zeros for none.
        weights: [N] >= 0 of the rows; None = all alike.
        smallest_change: of any frequency in one step; smaller ones, or 2,000 steps, end it.

    >>> z = torch.tensor([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    >>> estimated_prior(z, [0.0, 0.0])
    tensor([0.7502, 0.2498], dtype=torch.float64)
    """
    posterior = probabilities(logits)
    share = torch.ones(len(posterior), dtype=torch.float64) if weights is None else weights
    share = as_float64(share) / as_float64(share).sum()
    inside = as_float64(log_prior).softmax(0)
    prior = inside.clone()
    for _ in range(_MOST_STEPS):
        ratio = prior / inside
        # mean_i r_c p_ic / sum_j r_j p_ij
        found = ratio * (posterior.T @ (share / (posterior @ ratio)))
        change = float((found - prior).abs().max())
        prior = found
        if change < smallest_change:
            break
    return prior


def weighted_share(correct: Array, weights: Sequence[float] | Array) -> float:
    """Share of the weight that rows which are right have.

    >>> weighted_share([1, 0], [3, 1])
    0.75
    """
    of_rows = as_float64(weights)
    return float((as_float64(correct) * of_rows).sum() / of_rows.sum())
