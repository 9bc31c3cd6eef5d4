"""A small network that predicts the loss of a row from its embedding, and what it learns by.

Yoo and Kweon 2019, "Learning Loss for Active Learning", https://arxiv.org/abs/1905.03677.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

FORMS = ("value", "order")
CONFIDENCE = "inverse_predicted_loss"
_LEAST = 1e-30  # of a predicted loss, whose inverse is finite in float32


def order_loss(predicted: Tensor, losses: Tensor, margin: float) -> Tensor:
    """Mean over pairs of rows of max(0, margin - sign(l_i - l_j) (u_i - u_j)).

    Args:
        predicted: u [B].
        losses: l [B].
        margin: >= 0.

    Returns:
        Scalar >= 0; 0 if all differ in the right order by the margin, and for one row.

    Example:
        >>> order_loss(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 5.0]), 0.1)
        tensor(0.)
    """
    first, second = torch.triu_indices(*[len(losses)] * 2, offset=1, device=losses.device)
    sign = (losses[first] - losses[second]).sign()
    hinge = (margin - sign * (predicted[first] - predicted[second])).relu()
    return hinge.sum() / max(1, len(first))


def prediction_loss(predicted: Tensor, losses: Tensor, form: str, margin: float) -> Tensor:
    """How far predicted losses are from the losses.

    Args:
        predicted: u [B].
        losses: l [B], without gradient.
        form: "value", the mean of (u - l)^2, or "order", `order_loss` of all pairs of rows.
        margin: of "order", >= 0.

    Returns:
        Scalar >= 0.
    """
    if form == "order":
        return order_loss(predicted, losses, margin)
    return (predicted - losses).square().mean()


class LossPredictor(nn.Sequential):
    """Embeddings [B, D] -> predicted losses u [B] in nats, > 0: an MLP with a softplus at its end.

    Args:
        dim: D.
        hidden: widths of the hidden layers, each >= 1.
    """

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        widths = [dim, *hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU()]
        super().__init__(*layers, nn.Linear(widths[-1], 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> u [B]."""
        return softplus(super().forward(embeddings).squeeze(-1))


def inverse_loss(predicted: Tensor) -> Tensor:
    """One over predicted losses u [B], finite however small they are: the confidence [B]."""
    return 1 / predicted.clamp_min(_LEAST)


def refuse_unusable(place: str, form: str, margin: float, hidden: Sequence[int]) -> None:
    """Refuses what no loss predictor can be made or trained with.

    Args:
        place: where the options are typed, such as `method.params`.
        form: see `prediction_loss`.
        margin: see `prediction_loss`.
        hidden: see `LossPredictor`.

    Raises:
        ValueError: names the option.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"{place}.margin must be >= 0 and finite, got {margin}.")
    if form not in FORMS:
        raise ValueError(f"{place}.form is one of {', '.join(FORMS)}; got {form!r}.")
    if any(type(width) is not int or width < 1 for width in hidden):
        raise ValueError(f"{place}.hidden expects widths such as [256,256], got {list(hidden)}.")
