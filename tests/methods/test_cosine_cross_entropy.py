"""The shared loss of the cosine heads: equal to the plain formula, whatever the blocks."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.methods.laws import normal
from vmf_embeddings.criteria.angular_margin import add_angular_margin
from vmf_embeddings.geometry import cosines
from vmf_embeddings.methods import cosine_cross_entropy as module
from vmf_embeddings.methods.cosine_cross_entropy import cosine_cross_entropy

SHIFTS = {"none": None, "margin": partial(add_angular_margin, margin=0.4, monotone=False)}


@pytest.fixture(params=[1, 2**20], ids=["row by row", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(module, "CPU_CLASSES", request.param)
    monkeypatch.setattr(module, "CPU_TILE", request.param)


def plain(x, w, y, beta, shift=None):
    """The formula by autograd, with all that it costs."""
    similarities = cosines(x, w)
    if shift is not None:
        own = shift(similarities.gather(1, y[:, None]))[0]
        similarities = similarities.scatter(1, y[:, None], own)
    return cross_entropy(beta * similarities, y)


def inputs(seed: int = 0, scale: float = 1.0):
    x, w = normal(7, 5, seed=seed), scale * normal(4, 5, seed=seed + 1)
    beta = torch.tensor(9.0).double()
    leaves = [t.requires_grad_() for t in (x, w, beta)]
    return leaves, torch.arange(7) % 4


@pytest.mark.parametrize("name", SHIFTS)
def test_value_and_gradient_equal_the_plain_formula(blocks, name):
    for seed, scale in ((0, 1.0), (1, 1e-3), (2, 1e3)):
        (x, w, beta), y = inputs(seed, scale)
        ours = cosine_cross_entropy(x, w, y, beta, SHIFTS[name])
        wanted = plain(x, w, y, beta, SHIFTS[name])
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=0)
        found = torch.autograd.grad(2.5 * ours, (x, w, beta))
        expected = torch.autograd.grad(2.5 * wanted, (x, w, beta))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(
                one, other, rtol=1e-10, atol=1e-12 * float(other.abs().max())
            )


@pytest.mark.parametrize("name", SHIFTS)
def test_gradient_equals_finite_differences(name):
    (x, w, beta), y = inputs()
    assert torch.autograd.gradcheck(
        lambda x, w, beta: cosine_cross_entropy(x, w, y, beta, SHIFTS[name]), (x, w, beta)
    )


def test_lengths_of_both_sides_do_not_matter():
    (x, w, beta), y = inputs()
    torch.testing.assert_close(
        cosine_cross_entropy(3 * x, w * torch.tensor([[0.1], [1], [10], [5]]), y, beta),
        cosine_cross_entropy(x, w, y, beta),
    )


def test_vectors_of_no_length_mean_what_they_do_in_the_plain_formula(blocks):
    """Shorter than 1e-12 they are divided by 1e-12, and have no gradient through their length."""
    for length in (0.0, 1e-13, 2e-12):
        x, w = normal(3, 5), normal(4, 5, seed=1)
        x[0], w[2] = (length * torch.nn.functional.normalize(v, dim=-1) for v in (x[0], w[2]))
        y, beta = torch.tensor([2, 2, 0]), torch.tensor(9.0).double()
        x.requires_grad_(), w.requires_grad_()
        found = torch.autograd.grad(cosine_cross_entropy(x, w, y, beta), (x, w))
        expected = torch.autograd.grad(plain(x, w, y, beta), (x, w))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_backward_twice_gives_the_same():
    (x, w, beta), y = inputs()
    loss = cosine_cross_entropy(x, w, y, beta)
    first = torch.autograd.grad(loss, (x, w, beta), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, (x, w, beta)), first, rtol=0, atol=0)


def test_a_sure_mistake_is_finite_in_float32():
    w = torch.eye(3)
    loss = cosine_cross_entropy(w, w, torch.tensor([1, 2, 0]), torch.tensor(1e4))
    assert loss.item() == pytest.approx(1e4)


def test_labels_out_of_range_are_refused():
    (x, w, beta), y = inputs()
    with pytest.raises((IndexError, RuntimeError)):
        cosine_cross_entropy(x, w, y + 2, beta)
