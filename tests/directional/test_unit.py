"""`unit_vectors` is `normalize`, in value and derivatives."""

import pytest
import torch
from torch.nn.functional import normalize

from tests.methods.laws import normal
from vmf_embeddings.directional.unit import unit_vectors


@pytest.mark.parametrize("shape", ((3,), (5, 4), (2, 3, 7), (4, 1)))
def test_value_and_gradient_equal_normalize(shape):
    x = normal(*shape).requires_grad_()
    (upstream,) = normal(1, *shape, seed=1)
    for one, other in zip(
        *([f(x), *torch.autograd.grad(f(x), x, upstream)] for f in (unit_vectors, normalize_last)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)


def normalize_last(x):
    return normalize(x, dim=-1)


def test_derivatives_of_both_orders_equal_finite_differences():
    x = normal(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(unit_vectors, x)
    assert torch.autograd.gradgradcheck(unit_vectors, x)


def test_a_zero_vector_stays_zero_with_the_gradient_of_normalize():
    x = torch.zeros(1, 3, requires_grad=True)
    grads = [torch.autograd.grad(f(x).sum(), x)[0] for f in (unit_vectors, normalize_last)]
    torch.testing.assert_close(*grads)
    assert not unit_vectors(x).any()
