"""Partial freezing: the first layers of a backbone keep their weights, the others learn.

Yosinski et al. 2014, "How transferable are features in deep neural networks?",
https://arxiv.org/abs/1411.1792.
"""

import difflib

from torch import nn


def freeze_before(trunk: nn.Module, layer: str | int) -> list[nn.Module]:
    """Freezes the parameters of all layers that stand before one layer of a network.

    Layers stand in the order in which the network created them, which in the nets of torchvision
    and timm is the order in which images go through them. Parameters that belong to no layer, such
    as position embeddings and class tokens, come first.

    Args:
        trunk: changed in place.
        layer: name of a module of `trunk`, such as "layer4" or "blocks.10"; or the index of one of
            its `blocks`, counted from the end if it is negative.

    Returns:
        The frozen layers. They must stay in evaluation mode, or their statistics would change.

    Raises:
        ValueError: there is no such layer; names those that there are.
    """
    name = _named(trunk, layer)
    order = [key for key, _ in trunk.named_modules() if key]
    before = order[: order.index(name)]
    frozen = [key for key in before if not name.startswith(f"{key}.")]
    for key, parameter in trunk.named_parameters():
        owner = key.rpartition(".")[0]
        if owner in frozen or owner == "" or name.startswith(f"{owner}."):
            parameter.requires_grad_(False)
    return [trunk.get_submodule(key) for key in frozen]


def _named(trunk: nn.Module, layer: str | int) -> str:
    """The module's name; an index is that of a block."""
    names = [key for key, _ in trunk.named_modules() if key]
    text = str(layer)
    if text.lstrip("-").isdecimal():
        n_blocks = len(list(getattr(trunk, "blocks", nn.Sequential()).children()))
        number = int(text)
        if not n_blocks:
            raise ValueError(
                f"arch.params.trainable_from={text}: this net has no `blocks` to count; name a "
                f"layer: {_listed(names)}."
            )
        if not -n_blocks <= number < n_blocks:
            raise ValueError(
                f"arch.params.trainable_from={text}: this net has {n_blocks} blocks, 0 to "
                f"{n_blocks - 1}, or -1 to -{n_blocks} counted from the end."
            )
        return f"blocks.{number % n_blocks}"
    if text in names:
        return text
    close = difflib.get_close_matches(text, names, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(
        f"arch.params.trainable_from={text}: this net has no such layer; {hint}It has "
        f"{_listed(names)}."
    )


def _listed(names: list[str]) -> str:
    """The outer layers, and those one level below them in lists of blocks."""
    outer = [name for name in names if "." not in name]
    blocks = [name for name in names if name.count(".") == 1 and name.split(".")[1].isdecimal()]
    listed = sorted({*outer, *blocks}, key=names.index)
    return ", ".join(listed[:60])
