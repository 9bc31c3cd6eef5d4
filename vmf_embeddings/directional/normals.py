"""Standard normal numbers in a given tensor: compiled where that is possible, else torch's own.

Both are the same law and both hang on the generator's state alone, but their numbers differ:
a seed gives one stream with compiled code and another without.
"""

import torch
from torch import Tensor

from vmf_embeddings import native


def compiles(out: Tensor) -> bool:
    """Whether `out` can be filled by compiled code: float32 on the CPU, in one piece."""
    plain = out.device.type == "cpu" and out.dtype == torch.float32 and out.is_contiguous()
    return plain and native.enabled() and not torch.compiler.is_compiling()


def new_seed(generator: torch.Generator | None) -> int:
    """A number in [0, 2^63) from the generator of the CPU (None = the global one)."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def standard_normals_(out: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Overwrites a tensor with independent standard normal numbers.

    Compiled numbers stay within +-6.56, which one of 2 10^10 would pass; they do not hang on the
    number of threads.

    Args:
        out: of any shape, floating point, no leaf that requires grad.
        generator: source of randomness, on the device of `out`; None = the global one.

    Returns:
        `out`.

    >>> x = standard_normals_(torch.empty(100, 100), torch.Generator().manual_seed(0))
    >>> abs(x.mean().item()) < 0.05 and abs(x.std().item() - 1) < 0.05
    True
    """
    if not compiles(out):
        return out.normal_(generator=generator)
    from vmf_embeddings.directional.kernels import normals as kernel

    flat, seed = out.detach().view(-1).numpy(), new_seed(generator)
    n_blocks = -(-len(flat) // kernel.BLOCK)
    native.in_threads(lambda i, j: kernel.fill_normals(flat, seed, i, j), n_blocks, least=4)
    return out
