"""The coupling in one function equals the two networks and affine maps one after the other."""

import pytest
import torch

from tests.methods.laws import normal
from vmf_embeddings.flows import AffineCoupling
from vmf_embeddings.flows.coupled import coupled
from vmf_embeddings.flows.coupling import NEARLY_TWO_OVER_PI

B, CLAMP = 6, 1.5


def both_ways(dim: int, condition_dim: int, depth: int):
    """Outputs and gradients by `coupled`, and by the modules."""
    torch.manual_seed(0)
    made = AffineCoupling(dim, condition_dim, depth, 5, CLAMP, "default").double()
    nets = [
        [(layer.weight, layer.bias) for layer in net[::2]] for net in (made.by_tail, made.by_head)
    ]
    for way in (
        lambda x, c: coupled(x, c, *nets, made.n_first, CLAMP * NEARLY_TWO_OVER_PI),
        made.forward,
    ):
        x = normal(B, dim).requires_grad_()
        condition = normal(B, condition_dim, seed=1).requires_grad_() if condition_dim else None
        z, log_det = way(x, condition)
        inputs = [x, *([] if condition is None else [condition]), *made.parameters()]
        value = (normal(B, dim, seed=2) * z).sum() + (normal(B, seed=3) * log_det).sum()
        yield [z, log_det, *torch.autograd.grad(value, inputs)]


@pytest.mark.parametrize("dim", (2, 7, 8))
@pytest.mark.parametrize("condition_dim", (0, 3))
@pytest.mark.parametrize("depth", (2, 4))
def test_value_and_gradients_are_those_of_the_modules(dim, condition_dim, depth):
    one, other = both_ways(dim, condition_dim, depth)
    for got, wanted in zip(one, other, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-13)
