"""Seeds of a run and of its epochs: random numbers of an epoch do not depend on earlier ones."""

import random

import numpy as np
import torch
from torch import Tensor

SHARED_STREAM = 0  # the same random numbers in all processes; process r also has stream 1 + r
AUGMENTATION_STREAM = 1  # seeds of the items of an epoch, by their position, in all processes


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, NumPy and torch (on every device).

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
        stream: number of an independent sequence, for another purpose or another process.

    Returns:
        Whole number in [0, 2^63).
    """
    words = np.random.SeedSequence([seed, epoch, stream]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def generator_states(device: torch.device) -> list[Tensor]:
    """States of torch's default generators: of the CPU, and of `device` if it is a GPU."""
    states = [torch.get_rng_state()]
    return states if device.type != "cuda" else [*states, torch.cuda.get_rng_state(device)]


def restore_generators(device: torch.device, states: list[Tensor]) -> None:
    """Sets the states that `generator_states` returned for the same device."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
