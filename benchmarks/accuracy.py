"""Accuracy of the vMF loss in float32 against float64 on the same draws (L10)."""

import torch
from torch import Tensor

from benchmarks import ours, reference_2021
from benchmarks.results import Entry, Setting
from benchmarks.workloads import Shape, vmf_state

CARS = Shape(128, 10, 83, 512, 0.7, -2.773)
TINY = Shape(4, 3, 7, 16, 0.7, -2.773)


def logits(who: str, weights: Tensor, beta: Tensor, draws: Tensor) -> Tensor:
    if who == "2021":
        return reference_2021.class_logits(weights, beta, draws)
    return ours.class_logits(weights, beta, draws, who.split()[1])


def value_and_gradients(
    who: str, z: Tensor, weights: Tensor, labels: Tensor, beta: Tensor, draws: Tensor
) -> tuple[Tensor, ...]:
    """Loss and its gradients for z, W, beta and the draws."""
    leaves = [t.detach().requires_grad_() for t in (z, weights, beta, draws)]
    z, weights, beta, draws = leaves
    if who == "2021":
        loss = reference_2021.vmf_loss(z, weights, labels, beta, draws)
    else:
        loss = ours.vmf_loss(z, weights, labels, beta, draws, who.split()[1])
    return (loss.detach(), *torch.autograd.grad(loss, leaves))


def errors(who: str, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """Largest logit error, relative error of the loss, relative error (norms) of gradients."""
    z, weights, labels, beta, draws = inputs
    wide = (z.double(), weights.double(), labels, beta.double(), draws.double())
    exact_logits = logits(who, wide[1], wide[3], wide[4])
    exact = value_and_gradients(who, *wide)
    found = value_and_gradients(who, *inputs)
    relative = [
        float((f.double() - e).norm() / e.norm()) for f, e in zip(found, exact, strict=True)
    ]
    difference = (logits(who, weights, beta, draws).double() - exact_logits).abs().max()
    return {
        "logits": float(difference),
        "loss": relative[0],
        "gradients": max(relative[1:]),
    }


def finite(who: str, dim: int) -> bool:
    """Loss and gradients at kappa = 5000, beta = 134, where exp overflows."""
    generator = torch.Generator().manual_seed(0)
    mu = torch.nn.functional.normalize(torch.randn(8, dim, generator=generator), dim=-1)
    inputs = (5000 * mu[:4], 5000 * mu, torch.arange(4), torch.tensor(134.0), mu[:4, None])
    return all(bool(t.isfinite().all()) for t in value_and_gradients(who, *inputs))


def main(setting: Setting) -> list[Entry]:
    """One entry: ours with both normalisers, and 2021's formula in float32."""
    shape = setting.size(CARS, TINY)
    state = vmf_state(shape)
    kappa, mu = ours.split(state.z.detach())
    draws = ours.sample(mu, kappa, shape.S).transpose(0, 1).contiguous()
    beta = (-state.tau).exp().detach()
    inputs = (state.z.detach(), state.weights.detach(), state.labels, beta, draws)
    entry = Entry("accuracy", f"float32 against float64, same draws, B,S,C,D = {shape}")
    for who in ("ours exact", "ours approx", "2021"):
        entry.figures[who] = errors(who, inputs) | {"finite": finite(who, shape.D)}
    mine = entry.figures["ours exact"]
    for what in ("logits", "loss", "gradients"):
        entry.check(setting, f"L10 {what}", mine[what])
    entry.check(setting, "L10 finite", float(mine["finite"]))
    return [entry]
