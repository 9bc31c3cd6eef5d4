"""DiVE: a method trained on its labels and on the softened predictions of a frozen teacher.

He, Wu, Wei 2021, "Distilling Virtual Examples for Long-tailed Recognition", ICCV,
https://arxiv.org/abs/2103.15042.
"""

import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.distillation import distillation_divergence
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.precision import full_precision
from vmf_embeddings.methods.wrapping import WrappingMethod


class Teacher:
    """A trained method in evaluation mode, without gradients.

    It is not an nn.Module, so that it is in no state dict, parameter group or training mode.
    """

    def __init__(self, method: Method) -> None:
        self.method = method.eval().requires_grad_(False)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Images [B, ch, H, W] -> raw logits [B, C] or [B, S, C]."""
        return self.method.unadjusted_logits(self.method.embed(images))


class DiVE(WrappingMethod):
    """Loss (1 - a) L_student + a tau^2 KL(softened teacher || softened student).

    The divergence compares unadjusted logits, without what the student's loss adds to them, such as
    log class frequencies. Embeddings, logits and checkpoints are those of the student and need no
    teacher. The backbone has two names in a state dict, `arch` and `student.arch`; it is the same.

    Args:
        arch: the student's backbone.
        student: called with the backbone, returns the student.
        teacher: folder of the teacher's run, for messages; its method is set by `set_teacher`.
        temperature: tau > 0, of teacher and student.
        power: exponent of the teacher's probabilities, > 0; 0.5 doubles its temperature, 1 = off.
        weight: a in [0, 1]; 0 = only the student's own loss, 1 = only the divergence.
        student_temperature: > 0, of the student only; None = `temperature`. The factor tau^2 is
            always the square of `temperature`.
    """

    def __init__(
        self,
        arch: Arch,
        student: Callable[[Arch], Method],
        teacher: str | None,
        temperature: float,
        power: float,
        weight: float,
        student_temperature: float | None,
    ) -> None:
        _check(temperature, power, weight, student_temperature)
        own = student(arch)
        super().__init__(arch, own)
        self.student = own
        if type(own).training_step is not Method.training_step or own.needs_global_batch:
            raise ValueError(
                f"method=dive cannot train method={own.name}, which has a training step of its own "
                "or compares the images of a batch; choose a student that learns from single "
                "images and their labels, as in method.params.student=classifier."
            )
        self.tau, self.power, self.weight = temperature, power, weight
        self.student_tau = student_temperature
        self.teacher_run = teacher
        self._teacher: Teacher | None = None

    def set_teacher(self, teacher: Method) -> None:
        """Sets the teacher, which is frozen; called before training.

        Raises:
            ValueError: the teacher has another number of classes.
        """
        mine, its = (method.arch.class_spec.n_classes for method in (self.student, teacher))
        if mine != its:
            raise ValueError(
                f"the teacher {self.teacher_run} has {its} classes, this student {mine}; "
                "choose a teacher of the same data set, or the same arch.params.n_classes."
            )
        teacher.to(next(self.parameters()).device)
        self._teacher = Teacher(teacher)

    def loss_inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Arguments of `loss`, with the teacher's logits for the same images.

        Raises:
            ValueError: `set_teacher` was not called.
        """
        inputs = super().loss_inputs(batch)
        if self.weight == 0:
            return inputs
        if self._teacher is None:
            raise ValueError("method=dive trains with a teacher: call set_teacher before.")
        return inputs | {"teacher_logits": self._teacher.logits(batch["examples"])}

    def embedding_loss(self, embeddings: Tensor, labels: Tensor, **context: Any) -> Tensor:
        """See `Method.embedding_loss`; needs `teacher_logits` [B, C] or [B, S, C], raw."""
        if self.weight and "teacher_logits" not in context:
            raise ValueError("method=dive needs teacher_logits=[B, C], the teacher's raw logits.")
        return super().embedding_loss(embeddings, labels, **context)

    def loss(
        self, embeddings: Tensor, labels: Tensor, teacher_logits: Tensor | None = None
    ) -> Tensor:
        """(1 - a) * supervised + a * distilled.

        Args:
            embeddings: [B, D].
            labels: [B].
            teacher_logits: raw [B, C] or [B, S, C]; None = the student's own loss alone.

        Returns:
            Scalar in nats.
        """
        supervised = self.student.loss(embeddings, labels)
        if teacher_logits is None:
            return supervised
        distilled = self.distillation(embeddings, teacher_logits)
        return (1 - self.weight) * supervised + self.weight * distilled

    @full_precision
    def distillation(self, embeddings: Tensor, teacher_logits: Tensor) -> Tensor:
        """tau^2 times the mean divergence of the student from the teacher, scalar.

        Args:
            embeddings: the student's [B, D].
            teacher_logits: raw [B, C] or [B, S, C].
        """
        own = self.student.unadjusted_logits(embeddings)
        tau, student_tau = self.tau, self.student_tau
        return tau**2 * distillation_divergence(own, teacher_logits, tau, self.power, student_tau)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves the teacher to another device or dtype too, although it is not a submodule."""
        if self._teacher is not None:
            self._teacher.method._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @property
    def wrapped(self) -> Method:
        """The student: embeddings, logits, parameters and checkpoints are its own."""
        return self.student

    @property
    def backbones(self) -> list[Arch]:
        """Backbone of the student, and that of the teacher if it is set."""
        return [self.arch, *(self._teacher.method.backbones if self._teacher else [])]


def _check(
    temperature: float, power: float, weight: float, student_temperature: float | None
) -> None:
    """Refuses parameters out of their range."""
    positive = {"temperature": temperature, "power": power}
    if student_temperature is not None:
        positive["student_temperature"] = student_temperature
    for key, value in positive.items():
        if not 0 < value < math.inf:
            raise ValueError(f"method.params.{key} must be a number > 0, got {value}")
    if not 0 <= weight <= 1:
        raise ValueError(f"method.params.weight must be in [0, 1], got {weight}")
