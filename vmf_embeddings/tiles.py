"""Tiles of a table, so small that temporaries of one fit the cache or the memory of a device."""

import torch

DEVICE_TILE = 2**24  # entries


def tiles(
    n_rows: int,
    row_size: int,
    device: torch.device,
    per_thread: int,
    on_device: int = DEVICE_TILE,
) -> list[slice]:
    """Slices of the rows of a table; one for all where a graph is compiled, which divides itself.

    Args:
        n_rows: of the table.
        row_size: entries of a row, >= 1.
        device: of the table.
        per_thread: entries of a tile for each thread, on a CPU.
        on_device: entries of a tile elsewhere.

    Example:
        >>> tiles(5, 10, torch.device("meta"), 1, on_device=25)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    if torch.compiler.is_compiling():
        return [slice(None)]
    entries = per_thread * torch.get_num_threads() if device.type == "cpu" else on_device
    height = max(1, entries // row_size)
    return [slice(first, first + height) for first in range(0, n_rows, height)]
