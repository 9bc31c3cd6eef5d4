"""Differences over tables: compiled code and PyTorch's equal those in float64."""

import pytest
import torch

from vmf_embeddings import native
from vmf_embeddings.directional import log_normalizer_difference

DIMS = (2, 3, 5, 16, 17, 128, 512, 2048)
KAPPAS = (0.0, 1e-3, 0.5, 1.0, 7.0, 60.0, 1e3, 3e4, 1e6)


def table(dim):
    """Squared concentrations [N] and changes [R, N] from -q to 1e7, in float32."""
    rng = torch.Generator().manual_seed(dim)
    squared = torch.tensor(KAPPAS).square()
    beta = torch.tensor([0.01, 0.3, 2.0, 40.0, 3000.0])[:, None, None]
    cosine = torch.linspace(-1, 1, 9)[:, None] * torch.rand(9, len(KAPPAS), generator=rng)
    cosine[[0, -1]] = torch.tensor([-1.0, 1.0])[:, None]
    delta = (beta.square() + 2 * beta * squared.sqrt() * cosine).flatten(0, 1)
    return squared, torch.cat([torch.maximum(delta, -squared), -squared[None]])


def value_and_gradients(squared, delta, dim, outer, dtype):
    leaves = [t.to(dtype).requires_grad_() for t in (squared, delta)]
    value = log_normalizer_difference(*leaves, dim)
    return value, *torch.autograd.grad(value, leaves, outer.to(dtype))


@pytest.mark.parametrize("dim", DIMS)
def test_float32_equals_float64_with_gradients(dim, code):
    squared, delta = table(dim)
    outer = torch.randn(delta.shape, generator=torch.Generator().manual_seed(0))
    found = value_and_gradients(squared, delta, dim, outer, torch.float32)
    wanted = value_and_gradients(squared, delta, dim, outer, torch.float64)
    error, size = (found[0] - wanted[0]).abs(), wanted[0].abs()
    assert error[size <= 100].max() <= 2e-5
    assert (error / size)[size > 100].max() <= 3e-7  # five units in the last place
    torch.testing.assert_close(found[2].double(), wanted[2], rtol=2e-6, atol=0)
    # sums over rows of grad (h(q + delta) - h(q)), whose terms are at most 1 / (2 dim) each
    scale = outer.double().abs().sum(0) / (2 * dim)
    assert ((found[1] - wanted[1]).abs() / scale).max() <= 2e-6


@pytest.mark.parametrize("dim", (16, 64))
@pytest.mark.parametrize(
    "shapes", (((11,), (3, 7, 11)), ((5, 1), (5, 11)), ((), (4, 3)), ((9,),) * 2)
)
def test_blocks_and_threads_do_not_change_compiled_results(dim, shapes, monkeypatch):
    monkeypatch.setenv(native.SWITCH, "1")
    if not native.enabled():
        pytest.skip("Numba is not installed")
    from vmf_embeddings.directional.kernels import difference_compiled

    rng = torch.Generator().manual_seed(dim)
    squared, delta = (40 * torch.rand(shape, generator=rng) for shape in shapes)
    outer = torch.randn(torch.broadcast_shapes(*shapes), generator=rng)
    arguments = (squared, delta, dim, outer, torch.float32)
    whole = value_and_gradients(*arguments)
    monkeypatch.setattr(difference_compiled, "WIDTH", 4)
    monkeypatch.setattr(difference_compiled, "ENTRIES_PER_PART", 9)
    before, results = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            results.append(value_and_gradients(*arguments))
    finally:
        torch.set_num_threads(before)
    for one, *others in zip(*results, strict=True):
        assert all(torch.equal(one, other) for other in others)
    for one, other in zip(whole, results[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_second_derivative_is_that_of_pytorch(code):
    squared, delta = torch.tensor([4.0, 90.0]).requires_grad_(), torch.ones(3, 2).requires_grad_()
    value = log_normalizer_difference(squared, delta, 32).square().sum()
    (slope,) = torch.autograd.grad(value, delta, create_graph=True)
    (found,) = torch.autograd.grad(slope.sum(), squared)
    wide = [t.detach().double().requires_grad_() for t in (squared, delta)]
    value = log_normalizer_difference(*wide, 32).square().sum()
    (slope,) = torch.autograd.grad(value, wide[1], create_graph=True)
    (wanted,) = torch.autograd.grad(slope.sum(), wide[0])
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=0)
