"""Divergence of a student's softened predictions from a teacher's virtual examples.

He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042, after the knowledge distillation of Hinton, Vinyals, Dean 2015,
https://arxiv.org/abs/1503.02531.
"""

from torch import Tensor
from torch.nn.functional import kl_div

from vmf_embeddings.distillation.virtual_examples import log_virtual_examples


def distillation_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    power: float = 1.0,
    student_temperature: float | None = None,
) -> Tensor:
    """Mean over the batch of KL(T || S), T the teacher's virtual examples, S the student's softmax.

    T = softmax(power * t / temperature), S = softmax(s / student_temperature), for raw logits t and
    s (no class prior is added). The minimum, 0, is at `s = power * student_temperature /
    temperature * t` plus a constant per row: half of the teacher's logits at equal
    temperatures and a power of 0.5.

    Args:
        student_logits: s, [B, C] or [B, S, C].
        teacher_logits: t, [B, C] or [B, S, C]; of S draws the probabilities are averaged, for both.
        temperature: tau > 0 of the teacher.
        power: > 0, exponent of the teacher's probabilities; below 1 flattens them.
        student_temperature: > 0; None = `temperature`.

    Returns:
        Scalar >= 0 in nats. Hinton et al. multiply it by the squared temperature; this does not.

    Example:
        >>> import torch
        >>> t, s = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> distillation_divergence(s, t, temperature=1.0).round(decimals=4)
        tensor(1.5232)
        >>> distillation_divergence(0.5 * t, t, temperature=3.0, power=0.5)
        tensor(0.)
    """
    student = log_virtual_examples(student_logits, student_temperature or temperature)
    teacher = log_virtual_examples(teacher_logits, temperature, power)
    return kl_div(student, teacher, log_target=True, reduction="batchmean")
