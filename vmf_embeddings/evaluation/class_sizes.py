"""Training images of the classes that logits have."""

import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile


def train_counts(evaluated: EvaluatedFile, n_classes: int) -> Tensor | None:
    """Training images of each of C classes, int64 [C]; None where the file does not record them.

    The logits may have more classes than the training set: those count 0 training images.

    Raises:
        ValueError: the file records more classes than the logits have.
    """
    known = evaluated.train_counts
    if known is None:
        return None
    if len(known) > n_classes:
        raise ValueError(
            f"train_class_counts has {len(known)} classes, the logits {n_classes}: write the file "
            "again with mode=get_embeddings"
        )
    counts = torch.zeros(n_classes, dtype=torch.int64)
    counts[: len(known)] = torch.tensor(known)
    return counts
