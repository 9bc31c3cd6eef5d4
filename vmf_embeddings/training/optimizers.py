"""SGD as in 2021, sharpness-aware optimizers, learning rates per group, and restored states."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from vmf_embeddings.methods.parameter_groups import take_rate
from vmf_embeddings.training.stored_state import refuse_other_types, restore_part
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

# from parameter groups, dicts with `params`, to an optimizer over them
OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


def sgd(
    params: Iterable[Any],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    fused: bool | None,
) -> torch.optim.SGD:
    """Stochastic gradient descent, with Nesterov momentum if `momentum` > 0, as in 2021.

    torch refuses nesterov=True with momentum=0, a combination that a sweep over momenta contains.

    Args:
        params: parameters, or parameter groups.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        nesterov: whether to use Nesterov momentum; no effect if `momentum` is 0.
        weight_decay: >= 0.
        fused: True = one fused kernel per update; False = separate operations; None = torch's
            default.

    Raises:
        ValueError: a value is outside its range.
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
        params: parameters, or parameter groups.
        base: "sgd" or "adamw".
        rho: radius, >= 0, or pairs [from epoch, radius].
        adaptive: whether the radius scales with the weights (ASAM).
        batch_statistics: "once" or "twice", see `SharpnessAware`.
        lr: learning rate of `base`, > 0.
        momentum: momentum if base is sgd, in [0, 1).
        nesterov: Nesterov momentum if base is sgd.
        betas: decay rates of the moments if base is adamw, in [0, 1).
        weight_decay: weight decay of `base`, >= 0; computed from w, not from the perturbed w + eps.
        fused: see `sgd`.

    Raises:
        ValueError: a value is outside its range, or pytorch-optimizer is not installed.
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
    make_optimizer: OptimizerFactory, groups: list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """An optimizer over parameter groups, some with their own learning rates.

    Args:
        make_optimizer: builds an optimizer with the run's learning rate from groups.
        groups: from `Method.param_groups`; an `lr_factor`, >= 0, multiplies the run's rate, up
            to `lr_at_most`.

    Returns:
        The optimizer; its groups have the result as `lr`, and none of these keys.

    Example:
        >>> groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr_factor": 50}]
        >>> optimizer = grouped(lambda g: torch.optim.Adam(g, lr=0.5), groups)
        >>> optimizer.param_groups[0]["lr"]
        25.0
    """
    optimizer = make_optimizer(groups)
    for group in optimizer.param_groups:
        group["lr"] = take_rate(group, group["lr"])
    return optimizer


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads an optimizer's state, but keeps today's `fused` and the parameters' memory format.

    A fused step reads parameter and momentum in memory order: if one were channels_last and the
    other not, it would silently combine wrong elements.

    Args:
        optimizer: built from the run's configuration today.
        state: its `state_dict` when the checkpoint was written.

    Raises:
        Refused: it is the state of another optimizer.
    """
    message = "the last checkpoint's optimizer does not fit"

    def load() -> None:
        pairs = list(zip(state["param_groups"], optimizer.param_groups, strict=True))
        for then, now in pairs:
            refuse_other_types(then, now, message)
            _refuse_unusable(then, now, message)
        groups = [{**now, **then, "fused": now["fused"]} for then, now in pairs]
        optimizer.load_state_dict({**state, "param_groups": groups})
        _refuse_other_shapes(optimizer, message)
        _match_memory_formats(optimizer)

    restore_part(load, message)


def _refuse_unusable(then: dict[str, Any], now: dict[str, Any], message: str) -> None:
    """Refuses None in place of a number, and whole numbers beyond what a float can be."""
    for key, value in then.items():
        huge = isinstance(value, int) and abs(value) >= 2**63
        if huge or (value is None and now.get(key) is not None):
            raise Refused(f"{message}: the stored {printable(key)[:80]} is no usable number")


def _refuse_other_shapes(optimizer: torch.optim.Optimizer, message: str) -> None:
    """Refuses tensors that are neither one number nor, up to axes of 1, as their parameter."""
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if not isinstance(value, torch.Tensor) or value.numel() == 1:
                continue
            sizes = list(value.shape), list(parameter.shape)
            if len(sizes[0]) != len(sizes[1]) or any(
                a not in (1, b) for a, b in zip(*sizes, strict=True)
            ):
                raise Refused(
                    f"{message}: the stored {printable(key)[:80]} is {sizes[0]}, its parameter "
                    f"{sizes[1]}"
                )


def _match_memory_formats(optimizer: torch.optim.Optimizer) -> None:
    """Copies momenta into the memory format of their parameters."""
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value is not None and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
