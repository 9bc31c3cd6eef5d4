"""Seeds of a run and of its epochs: an epoch's draws depend on nothing that came before it."""

import random

import numpy as np
import torch
from torch import Tensor

SHARED_STREAM = 0  # draws that all processes make alike; process r draws its own from stream 1 + r


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's generators (on every device).

    Args:
        seed: whole number >= 0.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def epoch_seed(seed: int, epoch: int, stream: int = 0) -> int:
    """A seed for one epoch, unrelated to those of other epochs, streams and runs.

    Args:
        seed: the run's seed.
        epoch: from 0.
        stream: tells apart what is drawn for different purposes or by different processes.

    Returns:
        Whole number in [0, 2^63).
    """
    words = np.random.SeedSequence([seed, epoch, stream]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def generator_states(device: torch.device) -> list[Tensor]:
    """States of torch's default generators, of the processor and of `device`."""
    states = [torch.get_rng_state()]
    return states if device.type != "cuda" else [*states, torch.cuda.get_rng_state(device)]


def restore_generators(device: torch.device, states: list[Tensor]) -> None:
    """Puts back what `generator_states` of the same device gave."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
