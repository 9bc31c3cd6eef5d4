"""The blocks of a network: residual, transformer or inception blocks, one after the other."""

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList)


def blocks(net: nn.Module) -> list[nn.Module]:
    """The blocks of which most of a network consists, in the order in which it created them.

    A block is a member of a list of modules (`nn.Sequential` or `nn.ModuleList`, or a module that
    holds nothing but modules of one class) that has several layers with parameters, and no such
    list inside. So of stages that are lists of blocks, the blocks are found.

    Args:
        net: torchvision's and timm's networks, those of this package, or one built alike.

    Returns:
        Empty where there are none.
    """
    found: list[nn.Module] = []
    for child in net.children():
        found += blocks(child)
    if found or not _is_list(net):
        return found
    return [child for child in net.children() if _has_layers(child)]


def _is_list(module: nn.Module) -> bool:
    """Whether its children stand in a row."""
    if isinstance(module, LISTS):
        return True
    with_parameters = [c for c in module.children() if next(c.parameters(), None) is not None]
    return len(with_parameters) > 1 and len({type(c) for c in with_parameters}) == 1


def _has_layers(module: nn.Module) -> bool:
    """Whether it is no list itself, and two or more modules inside have parameters."""
    owners = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    return not isinstance(module, LISTS) and len(owners) > 1
