"""A fused step is the same step; what it remembers survives a change of switch or layout."""

import copy

import pytest
import torch
from torch import nn

from vmf_embeddings.training.optimizers import restore, sgd

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
