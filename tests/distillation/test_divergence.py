"""The distillation term: golden numbers, its direction, its optimum and its gradient."""

import re

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.conftest import cases
from vmf_embeddings.distillation import (
    distillation_divergence,
    log_virtual_examples,
    virtual_counts,
)

B, C = 6, 5


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def settings(data, case: str) -> list[str]:
    return sorted({key.split("/")[1] for key in data if key.startswith(case) and "tau" in key})


def test_loss_gradient_and_counts_equal_the_formula(golden):
    data = golden("dive_from_formula")
    for case in cases(data):
        teacher = torch.tensor(data[f"{case}/teacher_logits"]).double()
        labels = torch.tensor(data[f"{case}/targets"])
        prior = torch.tensor(data[f"{case}/class_counts"]).double().log()
        for setting in settings(data, case):
            given = {k.split("/")[-1]: data[k] for k in data if f"{case}/{setting}/" in k}
            tau, power = float(given["tau"]), float(given["power"])
            student = torch.tensor(data[f"{case}/student_logits"]).double().requires_grad_()
            kl = distillation_divergence(student, teacher, tau, power)
            assert kl.item() == pytest.approx(float(given["kl_ts_mean"]), rel=1e-9)
            supervised = cross_entropy(student + prior, labels)
            weighted = {k: v for k, v in given.items() if re.fullmatch(r"loss_alpha.*_tau2", k)}
            assert weighted
            for name, expected in weighted.items():
                alpha = float(name.removeprefix("loss_alpha").removesuffix("_tau2"))
                loss = (1 - alpha) * supervised + alpha * tau**2 * kl
                assert loss.item() == pytest.approx(float(expected), rel=1e-9)
            loss = 0.5 * supervised + 0.5 * tau**2 * kl
            (gradient,) = torch.autograd.grad(loss, student)
            expected = torch.tensor(given["grad_student_alpha0.5_tau2"])
            torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
            counts = torch.tensor(given["virtual_example_distribution"])
            torch.testing.assert_close(
                virtual_counts(teacher, tau, power), counts, rtol=1e-9, atol=0
            )


def test_it_is_the_divergence_of_the_teacher_from_the_student_not_the_reverse():
    student, teacher = normal(B, C), normal(B, C, seed=1)
    t, s = (teacher / 2).softmax(-1), student.softmax(-1)
    forward = (t * (t / s).log()).sum(-1).mean()
    ours = distillation_divergence(student, teacher, temperature=1.0, power=0.5)
    assert ours.item() == pytest.approx(forward.item(), rel=1e-12)
    backward = (s * (s / t).log()).sum(-1).mean()
    assert abs(ours - backward) > 0.1


def test_a_copy_of_the_teacher_has_no_divergence_and_no_gradient():
    student = normal(B, C).requires_grad_()
    kl = distillation_divergence(student, student.detach(), temperature=3.0)
    kl.backward()
    assert kl.item() == 0
    assert student.grad.abs().max() < 1e-16


@pytest.mark.parametrize("power", (0.3, 0.5, 1.0))
@pytest.mark.parametrize("student_temperature", (None, 2.0, 9.0))
def test_the_optimum_has_the_power_as_its_slope(power, student_temperature):
    """Any other logits are worse; these, shifted by a constant per row, have no gradient."""
    teacher, tau = normal(B, C), 3.0
    slope = power * (student_temperature or tau) / tau
    best = (slope * teacher + normal(B, 1, seed=2)).requires_grad_()
    kl = distillation_divergence(best, teacher, tau, power, student_temperature)
    kl.backward()
    assert abs(kl.item()) < 1e-15
    assert best.grad.abs().max() < 1e-16
    for other in (0.8 * slope, 1.2 * slope):
        worse = distillation_divergence(other * teacher, teacher, tau, power, student_temperature)
        assert worse > 1e-4


def test_gradient_is_the_difference_of_the_two_predictions():
    student, teacher = normal(B, C).requires_grad_(), normal(B, C, seed=1)
    distillation_divergence(student, teacher, 3.0, 0.5, student_temperature=4.0).backward()
    difference = (student / 4).softmax(-1) - (teacher / 6).softmax(-1)
    torch.testing.assert_close(student.grad, difference / 4 / B)


def test_draws_of_either_side_count_by_their_mean_probability():
    student, teacher = normal(B, 3, C), normal(B, 4, C, seed=1)
    mean_t, mean_s = (teacher / 3).softmax(-1).mean(1), (student / 3).softmax(-1).mean(1)
    expected = distillation_divergence(3 * mean_s.log(), 3 * mean_t.log(), 3.0)
    torch.testing.assert_close(distillation_divergence(student, teacher, 3.0), expected)


def test_extreme_logits_stay_finite_in_float32():
    teacher = torch.tensor([[0.0, 5e3, -5e3]])
    student = torch.tensor([[4e3, -4e3, 0.0]]).requires_grad_()
    kl = distillation_divergence(student, teacher, temperature=1.0)
    kl.backward()
    assert torch.isfinite(log_virtual_examples(student, 1.0)).all()
    assert kl.item() == pytest.approx(8e3)
    assert torch.isfinite(student.grad).all()
