"""Scores of whole splits after every epoch, to look at; the choice of the epoch reads none."""

from dataclasses import dataclass

from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.embed import embed_split
from vmf_embeddings.training.validate import accuracy, recall_at

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class EpochEvaluator:
    """What is scored after every epoch.

    Attributes:
        shares: this process's share of each split, by its name.
        ks: the k of Recall@k, each >= 1.
        open_set: whether the classes of held-out splits are unknown to the method.
    """

    shares: dict[str, SequentialBatches]
    ks: tuple[int, ...]
    open_set: bool

    def scores(
        self,
        method: Method,
        accelerator: Accelerator,
        *,
        batch_size: int,
        search: str,
        known: dict[str, Tensor],
    ) -> dict[str, float]:
        """Recall@k of every split, and accuracy where its classes are the method's.

        Args:
            method: as it is after the epoch.
            accelerator: device, precision and processes.
            batch_size: embeddings a step of prediction.
            search: `auto`, `torch` or `faiss`.
            known: embeddings [N, D] by split that need not be computed again.

        Returns:
            Fractions in [0, 1] by names such as `test/recall@1`.
        """
        found = {}
        for name, batches in self.shares.items():
            rows = known[name] if name in known else embed_split(method, batches, accelerator)
            split = batches.split
            recalls = recall_at(self.ks, method, rows, split, search)
            found |= {f"{name}/recall@{k}": r for k, r in zip(self.ks, recalls, strict=True)}
            if method.has_logits and not self.open_set:
                labels = split.labels.to(rows.device)
                found[f"{name}/accuracy"] = accuracy(method, rows, labels, batch_size)
        return found
