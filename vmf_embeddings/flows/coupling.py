"""Affine coupling: each half of a vector is scaled and shifted by networks of the other half.

Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using Real NVP", section 3.3,
https://arxiv.org/abs/1605.08803; both halves in one block as in Ardizzone et al. 2018,
https://arxiv.org/abs/1808.04730; the condition as an input of the networks as in Ardizzone et al.
2019, https://arxiv.org/abs/1907.02392.
"""

import torch
from torch import Tensor, nn

from vmf_embeddings.flows.coupled import coupled
from vmf_embeddings.flows.subnet import mlp

NEARLY_TWO_OVER_PI = 0.636  # as in the published code: |log scale| < 0.99903 clamp


def log_scale(raw: Tensor, clamp: float) -> Tensor:
    """Soft clamp of the output of a network to a log scale between -clamp and clamp.

    Args:
        raw: any shape.
        clamp: > 0; a scale lies between exp(-clamp) and exp(clamp).

    Returns:
        clamp * 0.636 * atan(raw), of the shape of `raw`.

    Example:
        >>> log_scale(torch.tensor([0.0, 1.0, 1e9]), 2.0)
        tensor([0.0000, 0.9990, 1.9981])
    """
    return clamp * NEARLY_TWO_OVER_PI * torch.atan(raw)


def affine(x: Tensor, raw: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
    """Scales and shifts: x * exp(s) + t, with s and t from the output of a network.

    Args:
        x: [B, n].
        raw: [B, 2 n]; s is `log_scale` of the first half, t the second half.
        clamp: > 0, bound of |s|.

    Returns:
        [B, n], and the log-determinant sum of s [B].

    Example:
        >>> y, log_det = affine(torch.ones(1, 2), torch.tensor([[0.0, 1.0, 5.0, 0.0]]), 1.0)
        >>> y, log_det
        (tensor([[6.0000, 1.6479]]), tensor([0.4995]))
    """
    s, t = raw.chunk(2, dim=-1)
    s = log_scale(s, clamp)
    return x * s.exp() + t, s.sum(-1)


def inverse_affine(y: Tensor, raw: Tensor, clamp: float) -> tuple[Tensor, Tensor]:
    """The inverse of `affine` with the same `raw`: (y - t) * exp(-s).

    Args:
        y: [B, n].
        raw: [B, 2 n].
        clamp: > 0.

    Returns:
        x [B, n], and its log-determinant, minus that of `affine` [B].

    Example:
        >>> x, raw = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.3, 1.0, 5.0, 0.0]])
        >>> y, log_det = affine(x, raw, 2.0)
        >>> inverse_affine(y, raw, 2.0)[0], log_det + inverse_affine(y, raw, 2.0)[1]
        (tensor([[ 1., -2.]]), tensor([0.]))
    """
    s, t = raw.chunk(2, dim=-1)
    s = log_scale(s, clamp)
    return (y - t) * (-s).exp(), -s.sum(-1)


class AffineCoupling(nn.Module):
    """Transforms the first half of a vector given the second, then the second given the new first.

    Args:
        dim: D >= 2; the first half has round(D / 2) entries (Python rounds 0.5 to even).
        condition_dim: width of the condition, an input of both networks; 0 = no condition.
        depth: linear layers of each network, >= 2.
        width: width of their hidden layers, >= 1.
        clamp: > 0, bound of the log scales.
        init: initialisation of the networks, see `mlp`.

    Attributes:
        by_tail: network that takes the second half (the tail) and transforms the first.
        by_head: network that takes the first half (the head) and transforms the second.

    Example:
        >>> coupling = AffineCoupling(4, 0, depth=2, width=8, clamp=2.0, init="default")
        >>> x = torch.ones(3, 4)
        >>> z, log_det = coupling(x, None)
        >>> torch.allclose(coupling.inverse(z, None)[0], x, atol=1e-5)
        True
    """

    def __init__(
        self, dim: int, condition_dim: int, depth: int, width: int, clamp: float, init: str
    ) -> None:
        super().__init__()
        self.n_first = round(dim / 2)
        self.n_second = dim - self.n_first
        self.clamp = clamp
        # these two names are keys of checkpoints
        self.by_tail = mlp(self.n_second + condition_dim, 2 * self.n_first, depth, width, init)
        self.by_head = mlp(self.n_first + condition_dim, 2 * self.n_second, depth, width, init)

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Transforms x [B, D] given a condition [B, condition_dim] or None.

        Returns:
            z [B, D] and log |det dz/dx| [B].
        """
        if self._in_one_function(x):
            nets = ([(layer.weight, layer.bias) for layer in net[::2]] for net in self._networks)
            return coupled(x, condition, *nets, self.n_first, self.clamp * NEARLY_TWO_OVER_PI)
        first, second = x.split([self.n_first, self.n_second], dim=-1)
        first, log_det_1 = affine(first, self.by_tail(_concat(second, condition)), self.clamp)
        second, log_det_2 = affine(second, self.by_head(_concat(first, condition)), self.clamp)
        return torch.cat([first, second], dim=-1), log_det_1 + log_det_2

    @property
    def _networks(self) -> tuple[nn.Sequential, nn.Sequential]:
        return self.by_tail, self.by_head

    def _in_one_function(self, x: Tensor) -> bool:
        """Whether `forward` is that of `coupled`: not on the CPU, where that is 5 % slower.

        Nor where a compiler fuses what it can, or autocast chooses the dtype of every layer.
        """
        if x.device.type == "cpu" or torch.compiler.is_compiling():
            return False
        return not torch.is_autocast_enabled(x.device.type)

    def inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """The inverse of `forward` with the same condition.

        Returns:
            x [B, D] and log |det dx/dz| [B].
        """
        first, second = z.split([self.n_first, self.n_second], dim=-1)
        raw = self.by_head(_concat(first, condition))
        second, log_det_2 = inverse_affine(second, raw, self.clamp)
        raw = self.by_tail(_concat(second, condition))
        first, log_det_1 = inverse_affine(first, raw, self.clamp)
        return torch.cat([first, second], dim=-1), log_det_2 + log_det_1


def _concat(x: Tensor, condition: Tensor | None) -> Tensor:
    """Input of a network: x [B, n], followed by the condition if there is one."""
    return x if condition is None else torch.cat([x, condition], dim=-1)
