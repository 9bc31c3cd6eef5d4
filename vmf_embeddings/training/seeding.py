"""Seeds of a run and of its epochs: random numbers of an epoch do not depend on earlier ones."""

import random
from typing import Any

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


def all_generator_states(device: torch.device) -> dict[str, Any]:
    """States of all generators that `seed_everything` seeds, as tensors and plain values."""
    _, python, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    numpy = [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)]
    return {
        "torch": generator_states(device),
        "python": [torch.tensor(python), gauss],
        "numpy": numpy,
    }


def restore_all_generators(device: torch.device, states: dict[str, Any]) -> None:
    """Sets the states that `all_generator_states` returned for the same device."""
    restore_generators(device, states["torch"])
    python, gauss = states["python"]
    random.setstate((3, tuple(python.tolist()), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
