"""Class weights and temperature, the parameters of a method besides its backbone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vmf_embeddings.archs.base import ClassSpec


class ClassParameters(nn.Module):
    """One weight vector per class [C, D] and, with `has_temperature`, a log temperature tau.

    tau is a parameter if `spec.learn_temp`, otherwise a buffer with the value `spec.init_temp`.
    Its name in a state dict is the same, so checkpoints load in either case.
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
        """exp(tau) = 1/beta, scalar; 1 without a temperature."""
        return self.weight.new_ones(()) if self.tau is None else self.tau.exp()

    @property
    def beta(self) -> Tensor:
        """exp(-tau), the factor of the logits, scalar; 1 without a temperature."""
        return self.weight.new_ones(()) if self.tau is None else (-self.tau).exp()


def known_classes(spec: ClassSpec) -> int:
    """Number of training classes C.

    Raises:
        ValueError: `spec.n_classes` is None.
    """
    if spec.n_classes is None:
        raise ValueError(
            "The number of training classes is not known: add arch.params.n_classes=N "
            "to the command, or build the method together with a data set."
        )
    return spec.n_classes
