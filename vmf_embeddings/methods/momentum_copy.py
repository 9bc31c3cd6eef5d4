"""A slowly moving copy of a network, which makes the keys of a contrastive loss.

He, Fan, Wu, Xie, Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation
Learning", equation 2, https://arxiv.org/abs/1911.05722.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call


class MomentumCopy(nn.Module):
    """Weights w <- m w + (1 - m) (weights of the network), and the network's output with them.

    The weights are buffers: a checkpoint has them, and no optimizer. Only weights that learn are
    copied. Batch normalisation uses the statistics of the batch in training mode and those of the
    network itself, which it leaves as they are, in evaluation mode.

    Args:
        network: what is copied; it is not a submodule.
        momentum: m in [0, 1].
    """

    def __init__(self, network: nn.Module, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                self.register_buffer(_key(name), weight.detach().clone())

    @torch.no_grad()
    def output(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """The network's output with the copied weights, without gradient."""
        state = {name: buffer.clone() for name, buffer in network.named_buffers()}
        state |= {n: self._buffers.get(_key(n), w) for n, w in network.named_parameters()}
        return functional_call(network, state, (inputs,))

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Moves the weights towards those of the network by one step."""
        for copied, weight in self._pairs(network):
            copied.lerp_(weight.to(copied), 1 - self.momentum)

    @torch.no_grad()
    def restart(self, network: nn.Module) -> None:
        """Sets the weights to those of the network."""
        for copied, weight in self._pairs(network):
            copied.copy_(weight)

    def _pairs(self, network: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Each copied weight with that of the network."""
        named = ((self._buffers.get(_key(name)), w) for name, w in network.named_parameters())
        return [(copied, weight) for copied, weight in named if copied is not None]


def _key(name: str) -> str:
    return name.replace(".", "/")  # names of buffers have no dots
