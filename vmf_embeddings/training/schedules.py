"""Learning rate schedules: functions of time, and reduction on a plateau of the metric."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

UNITS = ("epoch", "step")


def cosine(time: float, length: float) -> float:
    """(1 + cos(pi time / length)) / 2: from 1 at time 0 to 0 at `length`, and 0 afterwards.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.

    >>> cosine(0, 4), round(cosine(1, 4), 4), cosine(4, 4), cosine(9, 4)
    (1.0, 0.8536, 0.0, 0.0)
    """
    return (1 + math.cos(math.pi * min(time / length, 1.0))) / 2


def steps_down(time: float, milestones: Sequence[int], gamma: float) -> float:
    """gamma^n, with n the number of milestones <= time.

    >>> [steps_down(t, [2, 4], 0.01) for t in (0, 2, 3, 4)]
    [1.0, 0.01, 0.01, 0.0001]
    """
    return float(gamma ** sum(time >= m for m in milestones))


def warmup(time: float, length: float, start: float | None) -> float:
    """Linear warm-up: a factor that increases to 1, and stays there from time `length` on.

    Args:
        time: units since the start, >= 0.
        length: units of warm-up, >= 0.
        start: the factor is start + (1 - start) time / length; None = (time + 1) / length, which
            begins above 0 and is 1 in the last unit of the warm-up.

    >>> [warmup(t, 5, None) for t in (0, 3, 4, 5)]
    [0.2, 0.8, 1.0, 1.0]
    >>> [round(warmup(t, 5, 1 / 3), 3) for t in (0, 1, 4, 5)]
    [0.333, 0.467, 0.867, 1.0]
    """
    if time >= length:
        return 1.0
    return (time + 1) / length if start is None else start + (1 - start) * time / length


class Schedule(ABC):
    """Base of schedules; sets the learning rates of an optimizer's parameter groups in place."""

    needs_length: bool = False
    """Whether the rates depend on `mode.epochs`: then a resumed run must have the same."""

    optimizer: torch.optim.Optimizer

    def attach(self, optimizer: torch.optim.Optimizer, n_epochs: int, n_steps: int) -> None:
        """Takes the optimizer, before its state is restored.

        Args:
            optimizer: its groups have their initial learning rates.
            n_epochs: epochs of the run.
            n_steps: steps per epoch.
        """
        self.optimizer = optimizer
        self.set_length(n_epochs, n_steps)

    def set_length(self, n_epochs: int, n_steps: int) -> None:  # noqa: B027 - a plateau needs nothing
        """Takes another length of the run; for the arguments see `attach`. Default: nothing."""

    def begin_step(self, epoch: int, step: int) -> None:  # noqa: B027 - a plateau needs nothing
        """Called before step `step` of `epoch`, both from 0. Default: nothing."""

    def end_epoch(self, metric: float) -> None:  # noqa: B027 - curves need nothing
        """Called with the validation metric after every epoch. Default: nothing."""

    def at_another_length(self, n_epochs: int) -> str:
        """What the rates do if a run resumes with another number of epochs, for the log."""
        return "the learning rates of an epoch do not depend on it"

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint. Default: empty, for a schedule that is a function of time."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - as above
        """Restores the state from a checkpoint. Default: nothing."""


class Plateau(Schedule):
    """Multiplies the rates by `factor` after `patience` epochs without a better metric.

    Args:
        factor: in (0, 1).
        patience: epochs, >= 0.

    Raises:
        ValueError: a value is outside its range.
    """

    def __init__(self, factor: float | None, patience: int | None) -> None:
        if factor is None or not 0 < factor < 1:
            raise ValueError(f"mode.plateau_factor must be between 0 and 1, got {factor}")
        if patience is None or not patience >= 0:
            raise ValueError(f"mode.plateau_patience must be at least 0, got {patience}")
        self.factor, self.patience = factor, patience

    def attach(self, optimizer: torch.optim.Optimizer, n_epochs: int, n_steps: int) -> None:
        """Creates torch's `ReduceLROnPlateau` for the optimizer."""
        super().attach(optimizer, n_epochs, n_steps)
        self.plateau = ReduceLROnPlateau(
            optimizer, mode="max", factor=self.factor, patience=self.patience
        )

    def at_another_length(self, n_epochs: int) -> str:
        """Says that the rates go on where they are."""
        return "the learning rates go on from where the plateau schedule has reduced them to"

    def end_epoch(self, metric: float) -> None:
        """Passes the metric to torch's scheduler, which may reduce the rates."""
        self.plateau.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """Best metric so far, and the epochs since."""
        return self.plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the known keys only: torch would set any attribute that the state names."""
        known = self.plateau.state_dict().keys()
        self.plateau.load_state_dict({key: state[key] for key in known & state.keys()})


class Curve(Schedule):
    """Rate of a group at a time = its initial rate times a factor, a function of time alone.

    Args:
        unit: unit of time: "epoch" (rates are constant within an epoch) or "step".
        warmup: units of warm-up, >= 0.
        warmup_start: `start` of the function `warmup`; >= 0 or None.
        length: units until the end of the curve, > `warmup`; None = the length of the run.

    Raises:
        ValueError: a value is outside its range.
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
        """The factor after the warm-up.

        Args:
            time: units since the end of the warm-up, >= 0.
            length: units from the end of the warm-up to the end of the curve, >= 1.
        """

    def warmup_peak(self) -> float:
        """The factor that the warm-up leads to. Default: that of the curve at its beginning."""
        return self.after_warmup(0, 1)

    def attach(self, optimizer: torch.optim.Optimizer, n_epochs: int, n_steps: int) -> None:
        """Stores the groups' initial rates."""
        super().attach(optimizer, n_epochs, n_steps)
        self.rates = [group["lr"] for group in optimizer.param_groups]

    def set_length(self, n_epochs: int, n_steps: int) -> None:
        """Moves the end of the curve, unless its length was given."""
        self.steps_per_epoch = n_steps
        self.end = self.length or n_epochs * (n_steps if self.unit == "step" else 1)

    def factor(self, epoch: int, step: int) -> float:
        """The factor of all groups at step `step` of `epoch`, both from 0."""
        time = epoch if self.unit == "epoch" else epoch * self.steps_per_epoch + step
        if time < self.warmup:
            return warmup(time, self.warmup, self.warmup_start) * self.warmup_peak()
        # if the run is not longer than its warm-up, the curve after it has one unit
        return self.after_warmup(time - self.warmup, max(self.end - self.warmup, 1))

    def begin_step(self, epoch: int, step: int) -> None:
        """Sets the rates; with unit "epoch" at the first step only."""
        if step and self.unit == "epoch":
            return
        factor = self.factor(epoch, step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor


class Constant(Curve):
    """The groups' initial rates, after the warm-up if there is one."""

    def after_warmup(self, time: int, length: int) -> float:
        """1."""
        return 1.0


class Cosine(Curve):
    """Half a cosine from `peak` to 0 after the warm-up.

    Args:
        unit: see `Curve`.
        warmup: see `Curve`.
        warmup_start: see `Curve`.
        length: see `Curve`.
        peak: factor at the end of the warm-up, > 0.
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

    def at_another_length(self, n_epochs: int) -> str:
        """Says where the curve ends, after which the rates are 0."""
        return (
            f"the cosine still ends after {self.length} {self.unit}s (schedule.params.length), and "
            "the learning rates are 0 from there on"
        )

    def after_warmup(self, time: int, length: int) -> float:
        """The factor peak (1 + cos(pi time / length)) / 2."""
        return self.peak * cosine(time, length)


class MultiStep(Curve):
    """Multiplies the rates by `gamma` at every milestone.

    Args:
        unit: see `Curve`.
        warmup: see `Curve`.
        warmup_start: see `Curve`.
        milestones: units since the start of the run, increasing, none within the warm-up; one at
            its end scales what follows, not the warm-up.
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
                "schedule.params.milestones must increase and none may lie within the warm-up of "
                f"{warmup} {unit}s, got {milestones}"
            )
        if not 0 < gamma <= 1:
            raise ValueError(f"schedule.params.gamma must be in (0, 1], got {gamma}")
        self.milestones, self.gamma = tuple(milestones), gamma

    def at_another_length(self, n_epochs: int) -> str:
        """Says that milestones stay where they are."""
        return f"the milestones stay at {self.unit}s {list(self.milestones)}"

    def warmup_peak(self) -> float:
        """1, also where a milestone lies at the end of the warm-up."""
        return 1.0

    def after_warmup(self, time: int, length: int) -> float:
        """gamma^n, with n the number of milestones reached since the start of the run."""
        return steps_down(time + self.warmup, self.milestones, self.gamma)
