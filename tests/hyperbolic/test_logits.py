"""Properties of hyperbolic logits."""

import pytest
import torch

from tests.hyperbolic.test_ball import normal, points
from vmf_embeddings.hyperbolic import conformal_factor, hyperbolic_logits, mobius_add


@pytest.mark.parametrize("c", (1e-5, 0.1, 1.0))
def test_logits_equal_the_formula_with_mobius_vectors(c):
    x, p = points(6, 4, c, 1), points(5, 4, c, 2)
    a = normal(5, 4)
    logits = hyperbolic_logits(x, p, a, c)
    for i in range(6):
        for j in range(5):
            m, length = mobius_add(-p[j], x[i], c, 1e-5), a[j].norm()
            signed = 2 * c**0.5 * (m @ a[j]) / (length * (1 - c * m @ m))
            expected = conformal_factor(p[j], c) * length / c**0.5 * signed.asinh()
            torch.testing.assert_close(logits[i, j], expected, rtol=1e-9, atol=1e-9)


def test_logits_change_sign_with_the_normal_and_vanish_at_the_offset():
    x, p, a = points(6, 4, 1.0, 1), points(5, 4, 1.0, 2), points(5, 4, 1.0, 3)
    torch.testing.assert_close(hyperbolic_logits(x, p, -a, 1.0), -hyperbolic_logits(x, p, a, 1.0))
    at_offset = hyperbolic_logits(p, p, a, 1.0).diagonal()
    torch.testing.assert_close(at_offset, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-9)


def test_logits_are_linear_in_flat_space():
    x, p, a = normal(3, 5, 4)
    expected = 4 * (x[:, None] - p) @ a.T
    expected = torch.stack([expected[:, j, j] for j in range(5)], dim=1)
    # 1e-4: the 1e-5 added to the denominator does not vanish with c
    torch.testing.assert_close(hyperbolic_logits(x, p, a, 1e-14), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tile", (1, 2**15))
@pytest.mark.parametrize("c", (0.01, 1.0))
def test_gradients_equal_finite_differences(c, tile, monkeypatch):
    monkeypatch.setattr("vmf_embeddings.hyperbolic.logits.CPU_TILE", tile)
    x, p, a = (points(rows, 4, c, rows).requires_grad_() for rows in (3, 5, 5))
    a = a.detach().flip(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda *v: hyperbolic_logits(*v, c), (x, p, a))


def test_float32_gradients_are_those_of_float64():
    leaves = [points(20, 8, 0.1, seed) for seed in (1, 2, 3)]

    def gradients(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        inputs = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        logits = hyperbolic_logits(*inputs, 0.1)
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(20))
        return torch.autograd.grad(loss, inputs)

    for single, exact in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert (single - exact).abs().max() < 1e-4 * exact.abs().max()


def test_float32_near_the_border_stays_close_to_float64():
    """The form of 1 - c|m|^2 without cancellation; float32 in 2021 had errors up to 10 here."""
    x, p, a = points(40, 8, 1.0, 1), points(20, 8, 1.0, 2), points(20, 8, 1.0, 3)
    x = 0.999 * x / x.norm(dim=-1, keepdim=True)
    exact = hyperbolic_logits(x, p, a, 1.0)
    single = hyperbolic_logits(x.float(), p.float(), a.float(), 1.0)
    assert (single - exact).abs().max() < 2e-3 * exact.abs().max()
