"""Optimizers whose torch constructor refuses what a sweep over its arguments would ask for."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from vmf_embeddings.training.stored_state import refuse_other_kinds, restore_part


def sgd(
    params: Iterable[Any],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    fused: bool | None,
) -> torch.optim.SGD:
    """Stochastic gradient descent, in Nesterov's form where there is momentum, as in 2021.

    Args:
        params: parameters, or groups of them with values of their own.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        nesterov: whether to look ahead; without effect where `momentum` is 0.
        weight_decay: >= 0.
        fused: True = one pass over each tensor; False = one per term; None = as torch sees fit.

    Returns:
        The optimizer.

    Raises:
        ValueError: if a value is out of its range.
    """
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"mode.momentum must be in [0, 1), got {momentum}")
    return torch.optim.SGD(
        params,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov and 0.0 < momentum < 1.0,
        fused=fused,
    )


def sharpness_aware(
    params: Iterable[Any],
    *,
    base: str,
    rho: float | list[list[float]],
    adaptive: bool,
    batch_statistics: str,
    lr: float,
    momentum: float,
    nesterov: bool,
    betas: tuple[float, float],
    weight_decay: float,
    fused: bool | None,
) -> torch.optim.Optimizer:
    """SAM or ASAM (`sharpness.py`) around `sgd` or AdamW.

    Args:
        params: parameters, or groups of them with values of their own.
        base: "sgd" or "adamw".
        rho: radius, >= 0, or pairs [from epoch, radius].
        adaptive: whether the radius scales with the weights (ASAM).
        batch_statistics: "once" or "twice".
        lr: learning rate of `base`, > 0.
        momentum: of sgd, in [0, 1).
        nesterov: of sgd.
        betas: of adamw.
        weight_decay: of `base`, >= 0; it acts on the weights themselves, not on the perturbed ones.
        fused: of `base`.

    Raises:
        ValueError: if a value is out of its range, or pytorch-optimizer is not installed.
    """
    if base not in ("sgd", "adamw"):
        raise ValueError(f"optimizer.params.base is one of sgd, adamw; got {base!r}")
    try:
        from vmf_embeddings.training.sharpness import SharpnessAware
    except ModuleNotFoundError as error:
        if error.name != "pytorch_optimizer":
            raise
        raise ValueError(
            "a sharpness-aware optimizer needs pytorch-optimizer, which is not installed: "
            "pip install 'pytorch-optimizer>=4.1,<5'"
        ) from error
    if base == "sgd":
        plain: torch.optim.Optimizer = sgd(
            params,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            fused=fused,
        )
    else:
        plain = torch.optim.AdamW(
            params, lr=lr, betas=tuple(betas), weight_decay=weight_decay, fused=fused
        )
    return SharpnessAware(plain, rho, adaptive=adaptive, batch_statistics=batch_statistics)


def grouped(
    make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
    groups: list[dict[str, Any]],
) -> torch.optim.Optimizer:
    """An optimizer whose groups learn at the rates that a method asks for.

    Args:
        make_optimizer: from groups to an optimizer with the run's learning rate.
        groups: by `Method.param_groups`; an `lr_factor`, >= 0, multiplies the run's rate.

    Returns:
        The optimizer; its groups know their rates as `lr` alone.

    Example:
        >>> groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr_factor": 50}]
        >>> optimizer = grouped(lambda g: torch.optim.Adam(g, lr=0.5), groups)
        >>> optimizer.param_groups[0]["lr"]
        25.0
    """
    optimizer = make_optimizer(groups)
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_factor", 1.0)
    return optimizer


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads what a checkpoint holds, and keeps today's way of working: fused or not, memory layout.

    A fused step walks through parameter and momentum side by side in memory: where one has its
    channels last and the other has not, it would silently pair wrong numbers.

    Args:
        optimizer: as the run's configuration builds it today.
        state: its `state_dict` when the checkpoint was written.

    Raises:
        Refused: it is the state of another optimizer.
    """
    complaint = "the last checkpoint's optimizer does not fit"

    def put_in() -> None:
        pairs = list(zip(state["param_groups"], optimizer.param_groups, strict=True))
        for then, now in pairs:
            refuse_other_kinds(then, now, complaint)
        groups = [{**then, "fused": now["fused"]} for then, now in pairs]
        optimizer.load_state_dict({**state, "param_groups": groups})
        _arrange(optimizer)

    restore_part(put_in, complaint)


def _arrange(optimizer: torch.optim.Optimizer) -> None:
    """Gives momenta the memory layout of their parameters."""
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value is not None and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
