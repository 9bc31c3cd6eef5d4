"""The compiler of torch as a test finds it: without graphs of other tests, and leaving no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributions import Distribution


@contextmanager
def fresh_compiler() -> Iterator[None]:
    """Without graphs; afterwards distributions check arguments again, which compiling ends."""
    validates = Distribution._validate_args
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    Distribution.set_default_validate_args(validates)
