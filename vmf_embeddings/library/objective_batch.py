"""What an objective checks of a batch before it computes a loss."""

import torch
from torch import Tensor


def check_batch(
    embeddings: Tensor, labels: Tensor, dim: int, n_classes: int | None, *, soft: bool
) -> None:
    """Refuses embeddings and labels that do not fit one another or the objective.

    Args:
        embeddings: [B, D], or [B, …, D].
        labels: [B] class numbers, or [B, C] or [B, …, C] soft labels.
        dim: D.
        n_classes: C; None = the objective has nothing per class, and any numbers are classes.
            Numbers are checked where that does not wait for a device.
        soft: whether labels may be soft.

    Raises:
        TypeError: one of them is not a tensor.
        ValueError: shapes, types or class numbers do not fit, or there are no rows.
    """
    for name, value in {"embeddings": embeddings, "labels": labels}.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")
    if embeddings.ndim < 2 or embeddings.shape[-1] != dim or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings: expected floating-point numbers [B, {dim}], got "
            f"{list(embeddings.shape)} of {embeddings.dtype}"
        )
    if not len(embeddings):
        raise ValueError("embeddings: expected at least one row, got none")
    if labels.shape[:1] != embeddings.shape[:1]:
        raise ValueError(
            f"labels: expected {len(embeddings)}, one per embedding, got {list(labels.shape)}"
        )
    if labels.ndim == 1:
        _check_numbers(labels, n_classes)
    elif not soft or not labels.is_floating_point() or labels.shape[-1] != (n_classes or 0):
        wanted = f"[{len(embeddings)}] class numbers"
        wanted += f", or soft labels [B, {n_classes}] as floating-point numbers" if soft else ""
        raise ValueError(f"labels: expected {wanted}, got {list(labels.shape)} of {labels.dtype}")


def check_precision(embeddings: Tensor, weights: Tensor | None) -> None:
    """Refuses embeddings [B, D], float32 or float64, whose type is not that of the weights.

    Raises:
        ValueError: says how to make them alike.
    """
    own, given = None if weights is None else weights.dtype, embeddings.dtype
    if own in (None, given) or not embeddings.is_floating_point():
        return
    other = f"pass embeddings.to({own}), or " if own in (torch.float32, torch.float64) else ""
    raise ValueError(
        f"embeddings: expected {own}, as the objective's weights, got {given}: {other}call "
        f"loss_fn.to({given})"
    )


def _check_numbers(labels: Tensor, n_classes: int | None) -> None:
    if labels.dtype != torch.int64:
        raise ValueError(f"labels: expected int64 class numbers, got {labels.dtype}")
    if n_classes is None or labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    least, largest = int(labels.min()), int(labels.max())
    if least < 0 or largest >= n_classes:
        raise ValueError(
            f"labels: expected class numbers 0 to {n_classes - 1}, got {least} to {largest}"
        )
