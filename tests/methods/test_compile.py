"""Dynamo traces the losses into one graph; two of them break it once."""

import pytest
import torch

from tests.compiler import fresh_compiler
from tests.contracts import test_methods as contract
from vmf_embeddings import directional

COMPARED = ("vmf_softmax", "arcface", "normalized_sce")
# a hook of the backward pass adds to what the method keeps; a library selects pairs by their
# values; a series is chosen by its arguments; a sampler draws until all draws are accepted
BREAK_ONCE = ("nir", "nivmf", "pml", "proco", "vmf_op")


@pytest.fixture(autouse=True)
def without_graphs_of_other_tests():
    with fresh_compiler():
        yield


def batch(method):
    embeddings = method.embed(contract.images()).detach()
    return embeddings.requires_grad_(), contract.labels()


def value_and_gradients(loss, method, z, y):
    torch.manual_seed(0)
    value = loss(z, y)
    parameters = [z, *(p for p in method.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    return [value.detach(), *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("name", COMPARED)
def test_the_loss_is_one_graph_with_the_same_value_and_gradients(name):
    method = contract.build(name)
    z, y = batch(method)
    compiled = torch.compile(method.loss, fullgraph=True, backend="aot_eager")
    expected = value_and_gradients(method.loss, method, z, y)
    found = value_and_gradients(compiled, method, z, y)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@contract.every_method
def test_the_loss_breaks_its_graph_once_at_most_and_most_never(name):
    method = contract.build(name)
    explained = torch._dynamo.explain(method.loss)(*batch(method))
    assert explained.graph_break_count <= (name in BREAK_ONCE), explained.break_reasons


def test_two_calls_in_one_graph_are_two_draws():
    z, w, y = 9 * torch.eye(4)[:2], 9 * torch.eye(4), torch.tensor([0, 1])
    beta = torch.tensor(2.0)

    def twice():
        return [directional.softmax_bound(z, w, y, beta, 2) for _ in range(2)]

    first, second = torch.compile(twice, fullgraph=True, backend="aot_eager")()
    assert first != second
