"""A hash of weights: two networks of one architecture with the same one are the same function."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and values of a state dict, 64 hexadecimal digits.

    Args:
        state: name -> tensor, in any order and on any device.

    Example:
        >>> weights_hash({"a": torch.ones(2)}) == weights_hash({"a": torch.ones(1, 2)})
        False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
