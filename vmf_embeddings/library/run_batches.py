"""Batches of images through a trained network: as they come, or as rows of one array."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.library.progress_bar import progress_bar
from vmf_embeddings.library.trained_inputs import ImageBatches
from vmf_embeddings.methods.base import Method

Batches = Iterable[tuple[list[int], Tensor]]


def embedded(
    method: Method, batches: ImageBatches, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers of the images of each batch, and their embeddings [b, D], float32 on `device`."""
    for numbers, inputs in batches.numbered():
        pinned = device.type == "cuda" and inputs.device.type == "cpu"
        given = inputs.pin_memory() if pinned else inputs
        with torch.no_grad():
            embeddings = method.embed(given.to(device, non_blocking=True)).float()
        yield numbers, embeddings


def rows_of(
    batches: Batches,
    of_embeddings: Callable[[Tensor], Tensor],
    n_items: int | None,
    width: int,
    progress: bool | None,
) -> np.ndarray:
    """A function of embeddings [b, D] -> [b, width], of all batches.

    Args:
        batches: numbers of items and their embeddings, in order.
        of_embeddings: the function.
        n_items: N; None where nobody knows before the end, as of a generator.
        width: of a row.
        progress: whether to show a progress bar, see `progress_bar`.

    Returns:
        float32 [N, width].
    """
    rows = np.empty((n_items or 0, width), dtype=np.float32)
    more: list[np.ndarray] = []
    with progress_bar("Embedding", n_items, progress) as advance:
        for numbers, embeddings in batches:
            with torch.no_grad():
                batch = of_embeddings(embeddings).float().cpu().numpy()
            if n_items is None:
                more.append(batch)
            else:
                rows[numbers[0] : numbers[0] + len(numbers)] = batch
            advance(len(numbers))
    return np.concatenate([rows, *more]) if more else rows


def chosen_device(device: str | torch.device) -> torch.device:
    """The device of an argument: "auto" is a GPU where there is one.

    Raises:
        ValueError: there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device: expected auto, cpu, cuda or cuda:1, …, got {device!r}"
        ) from error
    n_gpus = torch.cuda.device_count()
    if chosen.type == "cuda" and (chosen.index or 0) >= n_gpus:
        raise ValueError(
            f"device: {device} is not there: torch finds {n_gpus} GPUs; say cpu or auto"
        )
    return chosen
