"""Ranks of positives with a smooth step in place of the comparison, for losses on rankings.

The rank of row i in the list of query q is R(i) = 1 + sum over j != i of [s_qj > s_qi]. With a step
H(s_qj - s_qi) in place of the bracket it has a gradient: Brown et al. 2020, "Smooth-AP",
https://arxiv.org/abs/2007.12163, equation 5. A query is compared with its positives only, and
queries are taken in blocks, so that memory grows with B^2, not with B^3.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vmf_embeddings.criteria.comparisons import MOST_MASKED
from vmf_embeddings.miners.base import others

BLOCK = 2**22  # comparisons at a time: 16 MB in float32 for each of a few temporaries
Step = Callable[[Tensor], Tensor]


class Rankings(NamedTuple):
    """The lists of some queries.

    Attributes:
        similarity: of R queries and all rows of the batch [R, B].
        positive: columns of the positives of each query [R, M].
        valid: bool, which of them there are [R, M].
        compared: bool, the rows besides the positives that are in the list [R, B].
    """

    similarity: Tensor
    positive: Tensor
    valid: Tensor
    compared: Tensor


def rankings(
    similarity: Tensor,
    labels: Tensor,
    *,
    query_is_positive: bool = False,
    query_is_compared: bool = False,
) -> Rankings:
    """The lists of all rows of a batch, or of the first of them.

    M is the largest number of positives. On a device, which would have to be waited for, it is B up
    to 256 rows.

    Args:
        similarity: of the first R rows with all [R, B]; R = B for all.
        labels: [B].
        query_is_positive: whether a query is one of its own positives.
        query_is_compared: whether it is in its own list without being a positive.

    Example:
        >>> rankings(torch.eye(3), torch.tensor([5, 5, 7])).positive[:2, 0].tolist()
        [1, 0]
    """
    same = labels[: len(similarity), None] == labels
    is_positive = same if query_is_positive else others(same)
    compared = ~same
    if query_is_compared:
        compared = compared | torch.eye(*same.shape, dtype=torch.bool, device=labels.device)
    if labels.device.type != "cpu" and len(labels) ** 3 <= MOST_MASKED:
        columns = torch.arange(len(labels), device=labels.device).expand_as(same)
        return Rankings(similarity, columns, is_positive, compared)
    valid, columns = is_positive.sort(dim=1, descending=True, stable=True)
    most = max(1, int(valid.sum(1).max()))
    return Rankings(similarity, columns[:, :most], valid[:, :most], compared)


def soft_ranks(lists: Rankings, among_positives: Step, among_others: Step) -> tuple[Tensor, Tensor]:
    """Ranks of the positives among the positives, and among all rows.

    Args:
        lists: of R queries.
        among_positives: H between two positives, of s_j - s_i, elementwise.
        among_others: H between a positive i and another row j.

    Returns:
        R_P(i) = 1 + sum over positives j, and R(i) = R_P(i) + sum over the others, [R, M] each,
        >= 1; of no meaning where `valid` is false.

    Example:
        >>> similarity = torch.tensor([[1.0, 0.5, 0.2, 0.9, 0.4]])
        >>> rows = torch.tensor([[1, 2]]), torch.tensor([[True, True]])
        >>> step = lambda d: (d > 0).float()
        >>> soft_ranks(Rankings(similarity, *rows, torch.arange(5)[None] > 2), step, step)
        (tensor([[1., 2.]]), tensor([[2., 4.]]))
    """
    own = lists.similarity.gather(1, lists.positive)
    itself = torch.eye(own.shape[1], dtype=torch.bool, device=own.device)
    counts = lists.valid[:, None] & ~itself
    steps = among_positives(own[:, None] - own[:, :, None])  # [query, i, j]
    first = 1 + steps.masked_fill(~counts, 0).sum(-1)
    steps = among_others(lists.similarity[:, None] - own[:, :, None])
    return first, first + steps.masked_fill(~lists.compared[:, None], 0).sum(-1)


def mean_over_queries(loss_of: Callable[[Rankings], Tensor], lists: Rankings) -> Tensor:
    """Mean loss of the queries that have a positive, scalar; 0 with gradient 0 if none has.

    Queries are taken in blocks of at most `BLOCK` comparisons. The steps of a block are computed
    again in the backward pass, unless one block holds all queries.

    Args:
        loss_of: the losses [R] of some queries.
        lists: of all queries.
    """
    rows = max(1, BLOCK // (lists.similarity.shape[1] * lists.positive.shape[1]))
    if rows >= len(lists.similarity):
        losses = loss_of(lists)
    else:
        blocks = zip(*(table.split(rows) for table in lists), strict=True)
        losses = torch.cat([_checkpointed(loss_of, *block) for block in blocks])
    has_positive = lists.valid.any(1)
    return losses.masked_fill(~has_positive, 0).sum() / has_positive.sum().clamp_min(1)


def _checkpointed(loss_of: Callable[[Rankings], Tensor], *block: Tensor) -> Tensor:
    def losses(*tables: Tensor) -> Tensor:
        return loss_of(Rankings(*tables))

    return checkpoint(losses, *block, use_reentrant=False, preserve_rng_state=False)


def sigmoid_step(temperature: float) -> Step:
    """H(d) = 1 / (1 + exp(-d / temperature)).

    Example:
        >>> sigmoid_step(0.5)(torch.tensor([0.0, 1.0]))
        tensor([0.5000, 0.8808])
    """
    return lambda difference: torch.sigmoid(difference / temperature)


def average_precision_loss(lists: Rankings, among_positives: Step, among_others: Step) -> Tensor:
    """1 - mean over the positives i of R_P(i) / R(i), for every query.

    Args:
        lists: of R queries.
        among_positives: see `soft_ranks`.
        among_others: see `soft_ranks`.

    Returns:
        [R], < 1; 1 without a positive.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
        >>> step = sigmoid_step(0.01)
        >>> average_precision_loss(rankings(x @ x.T, torch.tensor([0, 0, 1])), step, step)
        tensor([0.5000, 0.5000, 1.0000])
    """
    first, ranks = soft_ranks(lists, among_positives, among_others)
    precision = (first / ranks).masked_fill(~lists.valid, 0).sum(1)
    return 1 - precision / lists.valid.sum(1).clamp_min(1)
