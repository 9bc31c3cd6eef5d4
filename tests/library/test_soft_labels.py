"""Soft labels are those that the losses take, or refused by name."""

import pytest
import torch
from torch.nn.functional import one_hot

from tests.library.test_objective_contract import B, C, D, F, names
from tests.library.test_objective_extremes import LABELS, made
from tests.methods.laws import normal

CONTEXT = {"features": normal(B, F, seed=3), "teacher_logits": normal(B, C, seed=4)}


def loss(key: str, labels: torch.Tensor) -> torch.Tensor:
    loss_fn = made(key).double()
    torch.manual_seed(1)
    context = {name: CONTEXT[name] for name in CONTEXT if name in loss_fn.needs}
    return loss_fn(normal(B, D, seed=1), labels, **context)


@pytest.mark.parametrize("key", names())
def test_soft_labels_of_one_class_are_its_number_or_refused_by_name(key):
    soft = one_hot(LABELS, C).double()
    if made(key).method.takes_soft_labels:
        torch.testing.assert_close(loss(key, soft), loss(key, LABELS))
    else:
        with pytest.raises(ValueError, match=f"labels: expected .{B}. class numbers, got"):
            loss(key, soft)


@pytest.mark.parametrize("key", ["ce", "vmf_op", "dive", "matryoshka"])
def test_losses_of_a_head_take_soft_labels_also_where_another_method_trains_it(key):
    options = {"objective": "vmf_op"} if key == "matryoshka" else {}
    assert made(key, **options).method.takes_soft_labels
