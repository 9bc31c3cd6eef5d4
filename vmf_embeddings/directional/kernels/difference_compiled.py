"""Differences of log normalisers over tables by compiled code: prepares its arguments."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from vmf_embeddings import threads
from vmf_embeddings.directional.alignment import check_labels
from vmf_embeddings.directional.bessel import Expansion, widen
from vmf_embeddings.directional.kernels import difference as table_kernel
from vmf_embeddings.directional.kernels import distributions as class_kernel
from vmf_embeddings.directional.kernels.polynomials import fitted, horner

VALUE_DEGREE, SLOPE_DEGREE = 9, 9  # errors below 6e-8 and, relative to A / kappa, 6e-7
ENTRIES_PER_PART = 2**17  # of the work that a thread takes at a time
WIDTH = 2**13  # columns whose constants are in the cache with a row of results


@lru_cache(maxsize=64)
def polynomials(plan: Expansion) -> tuple[tuple[np.float32, ...], tuple[np.float32, ...]]:
    """U(p) and 1/2 + p V'(p) as polynomials in 2 p - 1, highest power first."""
    value, slope = Polynomial([0.0, *plan.value]), Polynomial([0.5, *plan.slope])

    def smooth(t: np.ndarray) -> np.ndarray:
        p = (1 + t) / 2
        return value(p) + np.log1p(p) / 2

    values = horner(fitted(smooth, VALUE_DEGREE, -1, 1), VALUE_DEGREE)
    slopes = horner(fitted(lambda t: slope((1 + t) / 2), SLOPE_DEGREE, -1, 1), SLOPE_DEGREE)
    return values, slopes


def normalizer_arguments(squared: Tensor, plan: Expansion | None, columns: int) -> tuple[Any, ...]:
    """What kernels need of the normaliser and of the concentrations of the classes.

    Args:
        squared: kappa^2 >= 0 in float64 [C].
        plan: without recurrence; None in three dimensions.
        columns: >= C; those beyond C are padding.

    Returns:
        is_3d, order, values, slopes, terms [6, columns] and class_ratio [columns]; see
        `kernels.distributions`.
    """
    terms = np.empty((6, columns), np.float32)
    class_ratio = np.empty(columns, np.float32)
    given = squared.detach().contiguous().numpy()
    if plan is None:
        values, slopes = (
            (np.float32(0),) * (VALUE_DEGREE + 1),
            (np.float32(0),) * (SLOPE_DEGREE + 1),
        )
        class_kernel.three_terms(given, terms, class_ratio)
    else:
        values, slopes = polynomials(plan)
        class_kernel.debye_terms(given, plan.order, values, slopes, terms, class_ratio)
    order = np.float32(plan.order if plan else 0)
    return plan is None, order, values, slopes, terms, class_ratio


def differences(plan: Expansion, row: Tensor, delta: Tensor) -> Tensor:
    """F(q, delta) of `difference` for the row q [N] and the table delta [R, N], both float32."""
    out = torch.empty(delta.shape)
    arrays = delta.detach().contiguous().numpy(), out.numpy()

    def work(normalizer: tuple, left: int, first: int, end: int) -> None:
        table_kernel.fill_differences(*arrays, *normalizer, left, first, end)

    _over_blocks(plan, row, delta, work)
    return out


def difference_gradients(
    plan: Expansion, row: Tensor, delta: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of F with respect to delta [R, N] and q [N], from that of F [R, N]."""
    out, of_row = torch.empty(delta.shape), torch.zeros(len(row))
    arrays = *(t.detach().contiguous().numpy() for t in (delta, grad)), out.numpy()

    def work(normalizer: tuple, left: int, first: int, end: int) -> tuple[int, Tensor]:
        found = table_kernel.fill_gradients(*arrays, *normalizer, left, first, end)
        return left, torch.from_numpy(found)

    for left, of_part in _over_blocks(plan, row, delta, work):
        of_row[left : left + len(of_part)] += of_part
    return out, of_row


class CrossEntropy(NamedTuple):
    """Sums over the images that a backward pass needs, see `cross_entropy`.

    Attributes:
        loss: of all images, in nats, [] in float64.
        grad_beta: sum of G F, [] in float64.
        of_images: sums over the classes of G h(kappa_2^2) [B].
        of_classes: sums over the images of G (h(kappa_2^2) - h(kappa_1^2)) [C].
    """

    loss: Tensor
    grad_beta: Tensor
    of_images: Tensor
    of_classes: Tensor


def cross_entropy(
    plan: Expansion,
    table: Tensor,
    lengths: Tensor,
    squared: Tensor,
    labels: Tensor,
    beta: Tensor,
    log_prior: Tensor | None,
) -> CrossEntropy:
    """Cross-entropy of beta F + log_prior, kappa_1^2 = squared, kappa_2^2 = that + delta.

    Args:
        plan: see `normalizer_arguments`.
        table: dot products [B, C], delta = lengths + 2 table; overwritten by G h(kappa_2^2), G the
            gradient of the summed loss with respect to the logits.
        lengths: [B].
        squared: [C].
        labels: [B], 0..C-1.
        beta: [].
        log_prior: [C]; None = 0.

    Raises:
        IndexError: a label outside 0..C-1, which compiled code would not notice.
    """
    n_rows, n_classes = table.shape
    check_labels(labels, n_classes)
    prior = torch.zeros(n_classes) if log_prior is None else log_prior
    of_images, of_classes = torch.empty(n_rows), torch.zeros(n_classes)
    rows = (t.detach().contiguous() for t in (table, lengths, labels.long()))
    arrays = *(t.numpy() for t in rows), np.float32(beta.item()), prior.contiguous().numpy()
    normalizer = normalizer_arguments(widen(squared), plan, n_classes)[1:]
    arguments = (*arrays, of_images.numpy(), *normalizer)
    height = max(1, ENTRIES_PER_PART // n_classes)
    parts = [(top, min(top + height, n_rows)) for top in range(0, n_rows, height)]
    found = threads.each(lambda part: table_kernel.cross_entropy_rows(*arguments, *part), parts)
    losses, slopes, changes = zip(*found, strict=True)
    sums = torch.tensor([sum(losses), sum(slopes)], dtype=torch.float64)
    for change in changes:
        of_classes += torch.from_numpy(change)
    return CrossEntropy(*sums, of_images, of_classes)


def _over_blocks(
    plan: Expansion, row: Tensor, table: Tensor, work: Callable[..., Any]
) -> list[Any]:
    """Calls work(normalizer, left, first, end) for blocks, which do not depend on threads."""
    blocks = row.split(WIDTH)
    width = min(len(row), WIDTH)
    height = max(1, ENTRIES_PER_PART // max(1, width))
    tops = [(top, min(top + height, len(table))) for top in range(0, len(table), height)]

    def of_columns(number: int) -> list[Any]:
        squared = widen(blocks[number])
        normalizer = normalizer_arguments(squared, plan, len(squared))[1:]
        left = number * WIDTH
        return threads.each(lambda rows: work(normalizer, left, *rows), tops)

    numbers = range(len(blocks) if table.numel() else 0)
    # one long row is divided by its columns, else rows are divided
    found = threads.each(of_columns, numbers) if len(tops) == 1 else map(of_columns, numbers)
    return [part for parts in found for part in parts]
