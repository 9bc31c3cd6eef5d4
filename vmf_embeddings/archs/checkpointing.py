"""Activation checkpointing: blocks keep their inputs only, and compute the rest again when needed.

Chen, Xu, Zhang, Guestrin 2016, "Training Deep Nets with Sublinear Memory Cost",
https://arxiv.org/abs/1604.06174.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.archs.batch_norm_statistics import kept_statistics
from vmf_embeddings.archs.blocks import blocks
from vmf_embeddings.untrusted.refused import Refused


def checkpoint_blocks(arch: Arch) -> int:
    """Makes every block of a network forget its activations until the backward pass, in place.

    The second forward pass of a block draws the random numbers of the first (dropout), and leaves
    running statistics as they are. Names and values in the network's state stay. Each block becomes
    an instance of a subclass of its class.

    Args:
        arch: a network whose layers stand in `blocks`.

    Returns:
        The number of blocks.

    Raises:
        Refused: it has no blocks.
    """
    found = blocks(arch)
    if not found:
        raise Refused(
            "trainer.activation_checkpointing=true: this network has no residual or transformer "
            "blocks to compute again; use arch=resnet50, resnet32, timm or others of their kind, "
            "or trainer.micro_batches=N, or leave trainer.activation_checkpointing=false"
        )
    for block in found:
        if not getattr(block, "is_checkpointed", False):
            block.__class__ = _checkpointed(type(block))
    return len(found)


@functools.cache
def _checkpointed(cls: type[nn.Module]) -> type[nn.Module]:
    """A subclass of a block's class that keeps no activations inside."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return cls.forward(self, *args, **kwargs)

        def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
            return nullcontext(), kept_statistics(self)

        return checkpoint(
            functools.partial(cls.forward, self),
            *args,
            use_reentrant=False,
            context_fn=contexts,
            **kwargs,
        )

    names = {"forward": forward, "is_checkpointed": True, "__module__": __name__}
    return type(cls.__name__, (cls,), names)
