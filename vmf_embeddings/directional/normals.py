"""Standard normal random numbers in a given tensor: by compiled code where possible, else by torch.

Both depend on the state of the generator alone, but their numbers differ: with the same seed,
compiled code gives other draws from the same distribution than torch.
"""

import torch
from torch import Tensor

from vmf_embeddings import native, threads


def compiles(out: Tensor) -> bool:
    """Whether compiled code can fill `out`: contiguous float32 on the CPU, no torch.compile."""
    fits = out.device.type == "cpu" and out.dtype == torch.float32 and out.is_contiguous()
    return fits and native.enabled() and not torch.compiler.is_compiling()


def new_seed(generator: torch.Generator | None) -> int:
    """A seed in [0, 2^63) for compiled code, drawn from a CPU generator (None = the global one)."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def standard_normals_(out: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Overwrites a tensor with independent standard normal numbers.

    Those of compiled code are within +-6.56 (outside are 5e-11 of the distribution) and do not
    depend on the number of threads.

    Args:
        out: floating point, any shape; must not be a leaf that requires grad.
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
    threads.in_threads(lambda i, j: kernel.fill_normals(flat, seed, i, j), n_blocks, least=4)
    return out
