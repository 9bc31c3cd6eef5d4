"""Class weights and temperature, the parameters of a method besides its backbone."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vmf_embeddings.archs.base import ClassSpec

LONGEST = 1e6  # of separate lengths: Adam would lengthen for ever what a loss hardly sees


class ClassParameters(nn.Module):
    """One weight vector per class [C, D] and, with `has_temperature`, a log temperature tau.

    tau is a parameter if `spec.learn_temp`, otherwise a buffer with the value `spec.init_temp`.
    Its name in a state dict is the same, so checkpoints load in either case.

    With `separate_lengths`, `log_length` [C] is a parameter too, and of `weight` only the direction
    counts: an optimizer whose steps do not depend on the size of gradients, such as Adam, turns a
    vector of length 1000 a thousand times slower than one of length 1, and lengthens neither.
    Lengths are at most 1e6.
    """

    def __init__(
        self,
        spec: ClassSpec,
        init_weights: Callable[[Tensor], None],
        *,
        has_temperature: bool,
        separate_lengths: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(known_classes(spec), spec.embedding_dim))
        init_weights(self.weight)
        self.log_length: nn.Parameter | None = None
        if separate_lengths:
            self.log_length = nn.Parameter(torch.empty(len(self.weight)))
            self.set_vectors(self.weight)
        tau = torch.tensor(float(spec.init_temp))
        self.tau: Tensor | None
        if not has_temperature:
            self.tau = None
        elif spec.learn_temp:
            self.tau = nn.Parameter(tau)
        else:
            self.register_buffer("tau", tau)

    @property
    def vectors(self) -> Tensor:
        """The weight vectors [C, D], of which `weight` may have the direction only."""
        if self.log_length is None:
            return self.weight
        lengths = self.log_length.clamp_max(math.log(LONGEST)).exp()
        return normalize(self.weight, dim=-1) * lengths[:, None]

    @torch.no_grad()
    def set_vectors(self, vectors: Tensor) -> None:
        """Makes `vectors` these [C, D]; with `separate_lengths`, lengths become 1e-30 to 1e6."""
        if self.log_length is None:
            self.weight.copy_(vectors)
            return
        wide = vectors.double()  # float32 has no square of a length above 1.8e19
        lengths = torch.linalg.vector_norm(wide, dim=-1).clamp_min(1e-30)
        self.log_length.copy_(lengths.clamp_max(LONGEST).log())
        self.weight.copy_(wide / lengths[:, None])

    @property
    def rows_of_classes(self) -> list[str]:
        """Names of the parameters with one row per class."""
        return ["weight"] if self.log_length is None else ["weight", "log_length"]

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
