"""Second derivatives of objectives are those of finite differences, or refused in words."""

import pytest
import torch

from tests.library.test_objective_contract import B, C, D, F, names
from tests.library.test_objective_extremes import LABELS, made
from tests.methods.laws import normal

CONTEXT = {"features": normal(B, F, seed=3), "teacher_logits": normal(B, C, seed=4)}


def slope(key: str, options: dict, rows: torch.Tensor) -> torch.Tensor:
    """Gradient of the loss of a new objective, with a graph of its own."""
    loss_fn = made(key, **options).double()
    torch.manual_seed(1)
    context = {name: CONTEXT[name] for name in CONTEXT if name in loss_fn.needs}
    return torch.autograd.grad(loss_fn(rows, LABELS, **context), rows, create_graph=True)[0]


@pytest.mark.parametrize("key", names())
def test_second_derivatives_are_right_or_refused(key):
    if key == "cider":
        pytest.skip("its prototypes follow the rows without a gradient")
    rows, step = normal(B, D, seed=1), 1e-5 * normal(B, D, seed=2)
    rows.requires_grad_()
    try:
        gradient = slope(key, {}, rows)
    except RuntimeError as refused:
        assert "leave out create_graph=True" in str(refused)
        return
    if not gradient.requires_grad:  # autograd refuses it
        return
    try:
        found = torch.autograd.grad(gradient, rows, step, allow_unused=True)[0]
    except NotImplementedError:  # of PyTorch's distances
        return
    ends = [slope(key, {}, rows + t * step).detach() for t in (1, -1)]
    expected = (ends[0] - ends[1]) / 2
    found = torch.zeros_like(rows) if found is None else found
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("key", ["elk", "nivmf", "vmf_softmax"])
def test_second_derivatives_of_learned_concentrations_are_refused(key):
    with pytest.raises(RuntimeError, match="leave out create_graph=True"):
        slope(key, {"kappa_learning_rate": 0.01}, normal(B, D, seed=1).requires_grad_())
