"""Class weights and temperature: what a method puts on top of a backbone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import ClassSpec


class ClassParameters(nn.Module):
    """One weight vector per class [C, D] and, where the method has one, a log temperature tau.

    tau is a parameter if `spec.learn_temp`, otherwise a buffer that stays at `spec.init_temp`; its
    name in a state dict is the same, so that a checkpoint fits both.
    """

    def __init__(
        self, spec: ClassSpec, init_weights: Callable[[Tensor], None], *, has_temperature: bool
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(known_classes(spec), spec.embedding_dim))
        init_weights(self.weight)
        tau = torch.tensor(float(spec.init_temp))
        self.tau: Tensor | None
        if not has_temperature:
            self.tau = None
        elif spec.learn_temp:
            self.tau = nn.Parameter(tau)
        else:
            self.register_buffer("tau", tau)

    @property
    def temperature(self) -> Tensor:
        """exp(tau) = 1/beta, scalar; 1 where the method has no temperature."""
        return self.weight.new_ones(()) if self.tau is None else self.tau.exp()

    @property
    def beta(self) -> Tensor:
        """exp(-tau), what logits are multiplied by, scalar."""
        return self.weight.new_ones(()) if self.tau is None else (-self.tau).exp()


def known_classes(spec: ClassSpec) -> int:
    """The number of classes, or a ValueError where nobody has said it yet."""
    if spec.n_classes is None:
        raise ValueError(
            "The number of training classes is not known: add arch.params.n_classes=N "
            "to the command, or build the method together with a data set."
        )
    return spec.n_classes
