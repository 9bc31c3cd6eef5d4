"""Learning rates over time: curves that multiply every group's own rate, and a plateau's steps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

UNITS = ("epoch", "step")


def cosine(time: float, length: float) -> float:
    """Half a cosine from 1 at time 0 to 0 at `length`, where it stays.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.

    >>> cosine(0, 4), round(cosine(1, 4), 4), cosine(4, 4), cosine(9, 4)
    (1.0, 0.8536, 0.0, 0.0)
    """
    return (1 + math.cos(math.pi * min(time / length, 1.0))) / 2


def steps_down(time: float, milestones: Sequence[int], gamma: float) -> float:
    """`gamma` to the number of milestones that are reached; the milestone itself counts.

    >>> [steps_down(t, [2, 4], 0.01) for t in (0, 2, 3, 4)]
    [1.0, 0.01, 0.01, 0.0001]
    """
    return float(gamma ** sum(time >= m for m in milestones))


def warmup(time: float, length: float, start: float | None) -> float:
    """A line up to 1, which is reached within `length`.

    Args:
        time: whole units gone by, >= 0.
        length: units of warm-up, >= 0.
        start: factor at time 0, on a line that reaches 1 at time `length`; None = the line
            (time + 1) / length, which begins above 0 and reaches 1 with the last unit of warm-up.

    >>> [warmup(t, 5, None) for t in (0, 3, 4, 5)]
    [0.2, 0.8, 1.0, 1.0]
    >>> [round(warmup(t, 5, 1 / 3), 3) for t in (0, 1, 4, 5)]
    [0.333, 0.467, 0.867, 1.0]
    """
    if time >= length:
        return 1.0
    return (time + 1) / length if start is None else start + (1 - start) * time / length


class Schedule(ABC):
    """How the learning rates of an optimizer's groups move; told when steps and epochs begin."""

    needs_length: bool = False
    """Whether other `mode.epochs` make other rates, so that a run cannot go on with more."""

    optimizer: torch.optim.Optimizer

    def attach(self, optimizer: torch.optim.Optimizer, n_epochs: int, n_steps: int) -> None:
        """Takes the optimizer with its groups' own rates, before anything is restored.

        Args:
            optimizer: whose groups' `lr` will be set.
            n_epochs: epochs of the run.
            n_steps: steps of an epoch.
        """
        self.optimizer = optimizer

    def begin_step(self, epoch: int, step: int) -> None:  # noqa: B027 - a plateau needs nothing
        """Told before step `step` of `epoch`, both from 0. Default: nothing."""

    def end_epoch(self, metric: float) -> None:  # noqa: B027 - curves need nothing
        """Told the validation metric after every epoch. Default: nothing."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; curves need nothing, for they are functions of the time."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - as above
        """Goes on from a checkpoint. Default: nothing."""


class Plateau(Schedule):
    """Rates are multiplied by `factor` after `patience` epochs without a better metric.

    Args:
        factor: in (0, 1).
        patience: epochs, >= 0.
    """

    def __init__(self, factor: float, patience: int) -> None:
        if factor is None or not 0 < factor < 1:
            raise ValueError(f"mode.plateau_factor must be between 0 and 1, got {factor}")
        if patience is None or not patience >= 0:
            raise ValueError(f"mode.plateau_patience must be at least 0, got {patience}")
        self.factor, self.patience = factor, patience

    def attach(self, optimizer: torch.optim.Optimizer, n_epochs: int, n_steps: int) -> None:
        """Hands the optimizer to torch's scheduler."""
        super().attach(optimizer, n_epochs, n_steps)
        self.plateau = ReduceLROnPlateau(
            optimizer, mode="max", factor=self.factor, patience=self.patience
        )

    def end_epoch(self, metric: float) -> None:
        """Counts the epoch."""
        self.plateau.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """The count, and the best metric so far."""
        return self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting; torch's own would set any attribute that the state names."""
        known = self.plateau.state_dict().keys()
        self.plateau.load_state_dict({key: state[key] for key in known & state.keys()})


class Curve(Schedule):
    """Every group's rate is its own one times `factor(time)`, a function of the time alone.

    Args:
        unit: what time is counted in: "epoch" (rates stay the same within one) or "step".
        warmup: units of warm-up, >= 0.
        warmup_start: see `warmup`; >= 0 or None.
        length: units until the end of the curve, > `warmup`; None = all of the run's.
    """

    def __init__(
        self, unit: str, warmup: int, warmup_start: float | None, length: int | None = None
    ) -> None:
        if unit not in UNITS:
            raise ValueError(f"schedule.params.unit is one of {', '.join(UNITS)}; got {unit!r}")
        if warmup < 0 or (warmup_start is not None and warmup_start < 0):
            raise ValueError(
                "schedule.params.warmup and warmup_start must be at least 0, got "
                f"{warmup} and {warmup_start}"
            )
        if length is not None and length <= warmup:
            raise ValueError(
                f"schedule.params.length must be more than the warm-up of {warmup} {unit}s, got "
                f"{length}"
            )
        self.unit, self.warmup, self.warmup_start, self.length = unit, warmup, warmup_start, length

    @abstractmethod
    def after_warmup(self, time: int, length: int) -> float:
        """The factor `time` units after the end of the warm-up, `length` units before the end."""

    def attach(self, optimizer: torch.optim.Optimizer, n_epochs: int, n_steps: int) -> None:
        """Remembers the groups' own rates and how long the run is."""
        super().attach(optimizer, n_epochs, n_steps)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.steps_per_epoch = n_steps
        self.end = self.length or n_epochs * (n_steps if self.unit == "step" else 1)

    def factor(self, epoch: int, step: int) -> float:
        """What every group's own rate is multiplied by at step `step` of `epoch`, both from 0."""
        time = epoch if self.unit == "epoch" else epoch * self.steps_per_epoch + step
        if time < self.warmup:
            return warmup(time, self.warmup, self.warmup_start) * self.after_warmup(0, 1)
        # a run no longer than its warm-up has a curve of one unit
        return self.after_warmup(time - self.warmup, max(self.end - self.warmup, 1))

    def begin_step(self, epoch: int, step: int) -> None:
        """Sets the rates, where they may have changed."""
        if step and self.unit == "epoch":
            return
        factor = self.factor(epoch, step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor


class Constant(Curve):
    """The groups' own rates, after a warm-up where one is asked for."""

    def after_warmup(self, time: int, length: int) -> float:
        """1."""
        return 1.0


class Cosine(Curve):
    """Half a cosine from `peak` down to 0.

    Args:
        unit: see `Curve`.
        warmup: see `Curve`.
        warmup_start: see `Curve`.
        length: see `Curve`.
        peak: factor at the top, > 0.
    """

    def __init__(
        self,
        unit: str,
        warmup: int,
        warmup_start: float | None,
        length: int | None,
        peak: float,
    ) -> None:
        super().__init__(unit, warmup, warmup_start, length)
        self.needs_length = length is None
        if not peak > 0:
            raise ValueError(f"schedule.params.peak must be more than 0, got {peak}")
        self.peak = peak

    def after_warmup(self, time: int, length: int) -> float:
        """`peak` times `cosine`."""
        return self.peak * cosine(time, length)


class MultiStep(Curve):
    """Rates fall by `gamma` at every milestone.

    Args:
        unit: see `Curve`.
        warmup: see `Curve`.
        warmup_start: see `Curve`.
        milestones: units since the beginning of the run, growing, none within the warm-up.
        gamma: factor at each, in (0, 1].
    """

    def __init__(
        self,
        unit: str,
        warmup: int,
        warmup_start: float | None,
        milestones: list[int],
        gamma: float,
    ) -> None:
        super().__init__(unit, warmup, warmup_start)
        if sorted(set(milestones)) != list(milestones) or min(milestones, default=warmup) < warmup:
            raise ValueError(
                "schedule.params.milestones must grow and none may lie within the warm-up of "
                f"{warmup} {unit}s, got {milestones}"
            )
        if not 0 < gamma <= 1:
            raise ValueError(f"schedule.params.gamma must be in (0, 1], got {gamma}")
        self.milestones, self.gamma = tuple(milestones), gamma

    def after_warmup(self, time: int, length: int) -> float:
        """`steps_down`, counted from the beginning of the run."""
        return steps_down(time + self.warmup, self.milestones, self.gamma)
