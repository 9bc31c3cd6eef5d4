"""A few steps of a loss of pytorch-metric-learning on random numbers, before training begins.

So what cannot work with a batch of labelled embeddings is refused with its reason, not found at the
first step or, as a state that breaks the second one, later.
"""

import copy
import random

import numpy as np
import torch
from torch import nn

N_STEPS, N_ROWS = 3, 8
TWO_VIEWS = "it compares two views of unlabelled images, and a batch here is labelled images"
BASE = "it is a base class of others"
# what the library's own errors do not say
REASONS = {
    "ManifoldLoss": "it takes embeddings and cluster centres, and no labels of its batch",
    "SelfSupervisedLoss": TWO_VIEWS,
    "VICRegLoss": TWO_VIEWS,
    "DynamicSoftMarginLoss": "it keeps the graph of earlier steps in its histogram, so that the "
    "second step fails, and it indexes beyond the last bin",
    "EmbeddingsAlreadyPackagedAsTriplets": "it takes batches of consecutive triplets, which no "
    "sampler here makes",
    "DoNothingReducer": "it returns a dict, and training needs one number",
    "DivisorReducer": "it needs a divisor that only some losses of the library give",
    **dict.fromkeys(
        (
            *("BaseMetricLossFunction", "BaseLossWrapper", "GenericPairLoss", "BaseMiner"),
            *("BaseDistance", "BatchedDistance", "BaseReducer", "BaseRegularizer"),
        ),
        BASE,
    ),
}


def refuse_by_name(name: str) -> None:
    """Refuses a class that cannot work as a part of `method=pml`.

    Raises:
        ValueError: with the reason.
    """
    if name in REASONS:
        raise ValueError(f"{name} of pytorch-metric-learning does not fit here: {REASONS[name]}.")


def refuse_what_fails(
    loss: nn.Module, miner: nn.Module | None, sizes: dict[str, int], max_batch_size: int | None
) -> None:
    """Takes steps with copies of a loss and its miner; states and random generators stay.

    Args:
        loss: (embeddings, labels, mined) -> scalar.
        miner: (embeddings, labels) -> indices, or None.
        sizes: `num_classes`, C >= 1, and `embedding_size`, D >= 1.
        max_batch_size: rows that the loss takes at most; None = any number.

    Raises:
        ValueError: a step fails, with the library's error.
    """
    n_rows = N_ROWS if max_batch_size is None else min(N_ROWS, max_batch_size)
    n_classes, dim = sizes["num_classes"], sizes["embedding_size"]
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    generator = torch.Generator().manual_seed(0)
    try:
        loss, miner = copy.deepcopy((loss, miner))
        for _ in range(N_STEPS):
            x = torch.randn(n_rows, dim, generator=generator).requires_grad_()
            labels = torch.arange(n_rows) % min(n_classes, max(n_rows // 2, 1))
            mined = None if miner is None else miner(x.detach(), labels)
            loss(x, labels, mined).backward()
    except Exception as error:  # the library raises plain Exception and AttributeError too
        words = str(error) or type(error).__name__
        names = [type(part).__name__ for part in (loss, miner) if part is not None]
        raise ValueError(
            f"{' with '.join(names)} of pytorch-metric-learning fails on a batch of labelled "
            f"embeddings: {words}"
        ) from error
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
