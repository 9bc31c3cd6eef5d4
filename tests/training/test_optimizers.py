"""A fused step is the same step; what it remembers survives a change of switch or layout."""

import copy

import pytest
import torch
from torch import nn

from tests.test_configs import composed
from vmf_embeddings.training.optimizers import grouped, restore, sgd

SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}


def parameters(layout):
    draw = torch.Generator().manual_seed(0)
    values = [torch.randn(4, 3, 2, 2, generator=draw), torch.randn(5, generator=draw)]
    kept = [v.to(memory_format=layout) if v.ndim == 4 else v for v in values]
    return [nn.Parameter(v.double()) for v in kept]


def optimizer(kind, own, fused):
    if kind == "sgd":
        return sgd(own, **SGD, fused=fused)
    return torch.optim.AdamW(own, lr=0.1, fused=fused)


def step(own, optim, seed):
    draw = torch.Generator().manual_seed(seed)
    for p in own:
        grad = torch.randn(p.shape, generator=draw, dtype=p.dtype)
        p.grad = torch.empty_like(p).copy_(grad)  # laid out as autograd lays out gradients
    optim.step()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("fused_then, fused_now", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("layout_now", [torch.contiguous_format, torch.channels_last])
def test_continued_steps_are_those_of_an_unbroken_run(kind, fused_then, fused_now, layout_now):
    other = {torch.contiguous_format: torch.channels_last}.get(layout_now, torch.contiguous_format)
    unbroken = parameters(other)
    straight = optimizer(kind, unbroken, fused=False)
    first = parameters(other)
    before = optimizer(kind, first, fused_then)
    for own, optim in ((unbroken, straight), (first, before)):
        step(own, optim, 1)
    second = parameters(layout_now)
    for p, q in zip(second, first, strict=True):
        p.data.copy_(q.data)
    after = optimizer(kind, second, fused_now)
    restore(after, copy.deepcopy(before.state_dict()))
    assert all(group["fused"] is fused_now for group in after.param_groups)
    for seed in (2, 3):
        step(unbroken, straight, seed)
        step(second, after, seed)
    for got, expected in zip(second, unbroken, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def adam_by_hand(weights, gradients, *, rate, decay):
    """Kingma and Ba's algorithm 1 on the gradient of loss + decay / 2 |w|^2."""
    w, mean, square = weights, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        g = gradient + decay * w
        mean = 0.9 * mean + 0.1 * g
        square = 0.999 * square + 0.001 * g * g
        w = w - rate * (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)) ** 0.5 + 1e-8)
    return w


@pytest.mark.parametrize("fused", [True, False])
def test_adam_decays_through_the_gradient_and_gives_every_group_its_rate(fused):
    from vmf_embeddings.cli.assembly import instantiate

    node = composed(["optimizer=adam", "mode.learning_rate=0.01", "mode.weight_decay=0.1"])
    make = instantiate("optimizer", node.optimizer, _partial_=True, fused=fused)
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    backbone, proxies, flow, still = (nn.Parameter(start.clone()) for _ in range(4))
    groups = [
        {"params": [backbone]},
        {"params": [proxies], "lr_factor": 20, "weight_decay": 0.0},
        {"params": [flow], "lr": 0.3, "weight_decay": 0.0},
        {"params": [still], "lr_factor": 0},
    ]
    optimizer = grouped(make, groups)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.2, 0.3, 0])
    assert not any("lr_factor" in group for group in optimizer.param_groups)
    draw = torch.Generator().manual_seed(0)
    gradients = [torch.randn(2, generator=draw, dtype=torch.float64) for _ in range(3)]
    for gradient in gradients:
        for parameter in (backbone, proxies, flow, still):
            parameter.grad = gradient.clone()
        optimizer.step()
    expected = [
        adam_by_hand(start, gradients, rate=rate, decay=decay)
        for rate, decay in ((0.01, 0.1), (0.2, 0.0), (0.3, 0.0), (0.0, 0.1))
    ]
    for got, wanted in zip((backbone, proxies, flow, still), expected, strict=True):
        torch.testing.assert_close(got.data, wanted, rtol=1e-12, atol=1e-12)


def test_rates_of_groups_survive_a_restart():
    own = parameters(torch.contiguous_format)
    groups = [{"params": own[:1]}, {"params": own[1:], "lr_factor": 50, "weight_decay": 0.0}]
    first = grouped(lambda g: torch.optim.Adam(g, lr=0.1, fused=False), groups)
    again = grouped(lambda g: torch.optim.Adam(g, lr=0.1, fused=False), groups)
    restore(again, first.state_dict())
    assert [group["lr"] for group in again.param_groups] == pytest.approx([0.1, 5.0])
