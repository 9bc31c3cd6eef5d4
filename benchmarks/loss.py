"""The vMF softmax loss: whole steps (L1-L5), the loss part alone (L6), a million classes (L9)."""

from functools import partial
from typing import Any

import torch

from benchmarks import ours, peers, reference_2021
from benchmarks.measure import Case, peak_memory
from benchmarks.results import Entry, Setting, peaks, quotient, versus, why_not
from benchmarks.workloads import SHAPES, TINY, Shape, shape_of, vmf_state

STEPS = {"iNat": ("L1", "L2"), "SOP": (None, "L3"), "Cars": (None, "L4 Cars"),
         "CIFAR100": (None, "L4 CIFAR100"), "MNIST": (None, "L5")}  # fmt: skip
WITH_DRAWS = "ours iid with draws"
OURS = ("ours iid", "ours iid approx", "ours antithetic")


def step(who: str, shape: Any, device: str = "cpu", trained: bool = False) -> Case:
    """Draws, loss and gradients of z, W and tau: what a training step does after the backbone."""
    shape = shape if isinstance(shape, Shape) else Shape(**shape)
    state = vmf_state(shape, device=device, trained=trained)
    if who == "2021":
        leaves = [state.z, state.weights, state.tau]

        def run() -> tuple[torch.Tensor, ...]:
            loss = reference_2021.vmf_step_loss(
                state.z, state.weights, state.labels, state.tau, shape.S
            )
            return torch.autograd.grad(loss, leaves)

        return run
    _, estimator, *normalizer = who.split()
    changes = {"normalizer": normalizer[0]} if normalizer else {}
    method = ours.vmf_method(state.weights, state.tau, shape.S, estimator, **changes)
    parameters = [state.z, *ours.vmf_parameters(method)]
    return lambda: torch.autograd.grad(method.loss(state.z, state.labels), parameters)


def loss_part(who: str, shape: Any, device: str = "cpu") -> Case:
    """Loss and gradients for the same given draws; `WITH_DRAWS` does more: it draws as well."""
    if who == WITH_DRAWS:
        return step("ours iid", shape, device)
    shape = shape if isinstance(shape, Shape) else Shape(**shape)
    state = vmf_state(shape, device=device)
    kappa, mu = ours.split(state.z.detach())
    draws = ours.sample(mu, kappa, shape.S).transpose(0, 1).contiguous().requires_grad_()
    leaves = [state.z, state.weights, state.tau, draws]
    function = reference_2021.vmf_loss
    if who.startswith("ours"):
        normalizer = who.split()[1]

        def function(z, weights, labels, beta, given):
            return ours.vmf_loss(z, weights, labels, beta, given, normalizer)

    elif who == "compiled 2021":
        function = peers.compiled(reference_2021.vmf_loss)

    def run() -> tuple[torch.Tensor, ...]:
        loss = function(state.z, state.weights, state.labels, (-state.tau).exp(), draws)
        return torch.autograd.grad(loss, leaves)

    return run


def steps(setting: Setting) -> list[Entry]:
    """One entry per shape."""
    entries = []
    for name, (iid_key, key) in STEPS.items():
        shape = shape_of(name, setting.smoke)
        entry = Entry(f"step {name}", f"draws, loss, gradients, B,S,C,D = {shape}")
        makers = {who: partial(step, who, shape, setting.device) for who in ("2021", *OURS)}
        result = versus(entry, setting, makers)
        if iid_key is not None:
            entry.check(setting, iid_key, result.ratio("2021", "ours iid"))
        found = result.ratio("2021", "ours antithetic")
        reason = why_not(entry, "ours antithetic")
        if found is None and (iid := result.ratio("2021", "ours iid")):
            reason += f" (iid: {iid.median:.2f}x)"
        entry.check(setting, key, found, reason)
        entries.append(entry)
    return entries


def parts(setting: Setting) -> list[Entry]:
    """Loss part against the compiled formula, time and memory."""
    entries = []
    for name in ("iNat", "SOP"):
        shape = shape_of(name, setting.smoke)
        entry = Entry(f"loss part {name}", f"same draws, loss and gradients, B,S,C,D = {shape}")
        names = ("2021", "compiled 2021", "ours exact", "ours approx", WITH_DRAWS)
        if setting.smoke:
            names = ("2021", "ours exact", "ours approx", WITH_DRAWS)
            entry.notes.append("the compiled peer is left out of smoke runs: compiling takes long")
        makers = {who: partial(loss_part, who, shape, setting.device) for who in names}
        result = versus(entry, setting, makers)
        reason = why_not(entry, "compiled 2021") or "not compiled in a smoke run"
        both = [result.ratio("compiled 2021", who) for who in ("ours exact", WITH_DRAWS)]
        best = max((r.median for r in both if r), default=None)
        entry.check(setting, f"L6 {name} time", best, reason)
        entry.notes.append(f"checked: the better of ours exact and {WITH_DRAWS}")
        memory = None
        if not setting.smoke and setting.device == "cpu":
            case = {who: {"who": who, "shape": vars(shape)} for who in names}
            # no tiny first call: a compiled function is compiled for the shape it is first given
            warm = {"shape": vars(shape)}
            found = peaks(entry, setting, "loss", "loss_part", case, warm)
            shares = [
                quotient(found[w], found["compiled 2021"]) for w in ("ours exact", WITH_DRAWS)
            ]
            memory = min((s for s in shares if s), default=None)
            reason = why_not(entry, "compiled 2021") or "no figure of both"
        entry.check(setting, f"L6 {name} memory", memory, reason)
        entries.append(entry)
    return entries


def million(setting: Setting) -> Entry:
    """A step with a million classes in a process that may allocate 4 GB."""
    shape = SHAPES["C=1e6"] if not setting.smoke else TINY
    entry = Entry("a million classes", f"step in 4 GB, W and dW included, B,S,C,D = {shape}")
    if setting.device != "cpu":
        entry.check(setting, "L9", None, "a goal of the processor")
        return entry
    seconds = []
    for who in ("ours iid", "ours antithetic") if not setting.smoke else ("ours iid",):
        case = {"who": who, "shape": vars(shape)}
        peak = peak_memory("benchmarks.loss", "step", case, warm=case | {"shape": vars(TINY)},
                           budget_gb=4.0, repeats=3)  # fmt: skip
        entry.figures[who] = {k: v for k, v in vars(peak).items() if v is not None}
        if peak.seconds is not None:
            entry.figures[who]["median_ms"] = 1e3 * peak.seconds
            entry.figures[who]["peak_mb"] = peak.extra_mb
            seconds.append(peak.seconds)
    value = min(seconds) if seconds else None
    entry.check(setting, "L9", value, why_not(entry, *OURS) or "not run")
    if value is None and not setting.smoke and "ours iid" in entry.figures:
        entry.notes.append("does not run on 4 GB: counted as missed")
        entry.checks.clear()
        entry.check(setting, "L9", float("inf"))
    return entry


def main(setting: Setting) -> list[Entry]:
    """Everything of this family."""
    return [*steps(setting), *parts(setting), million(setting)]
