"""Scores of additional splits after every epoch (`mode.evaluate_on`); never used for selection."""

from dataclasses import dataclass

from accelerate import Accelerator
from torch import Tensor

from vmf_embeddings.methods.base import Method
from vmf_embeddings.training.batches import SequentialBatches
from vmf_embeddings.training.divided_scores import divided_accuracies, divided_recall_at
from vmf_embeddings.training.embed import embed_own_with_progress


@dataclass(frozen=True)
class EpochEvaluator:
    """Computes Recall@k, and top-1 and top-5 accuracy on closed sets, after each epoch.

    Attributes:
        local_batches: this process's part of each split, by the name of the split.
        ks: values of k for Recall@k, each >= 1.
        open_set: whether the classes of held-out splits are unknown to the method.
    """

    local_batches: dict[str, SequentialBatches]
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
        """Recall@k of every split, and accuracies if its classes are those of the method.

        Args:
            method: in its state after the epoch.
            accelerator: device, precision and processes.
            batch_size: embeddings per call of `Method.predict`.
            search: backend of the nearest-neighbour search, `auto`, `torch` or `faiss`.
            known: split name -> embeddings [n, D] of this process's rows, already computed.

        Returns:
            Fractions in [0, 1] under keys such as `test/recall@1`, `test/accuracy` and, with more
            than 5 classes, `test/top_5_accuracy`.
        """
        found = {}
        for name, batches in self.local_batches.items():
            own = known.get(name)
            if own is None:
                what = f"{name} {batches.split.unit}"
                own = embed_own_with_progress(method, batches, accelerator, what, silent=0.0)
            rows = (method, own, batches.split, accelerator)
            recalls = divided_recall_at(self.ks, *rows, search)
            found |= {f"{name}/recall@{k}": r for k, r in zip(self.ks, recalls, strict=True)}
            if method.has_logits and not self.open_set:
                many = batches.split.n_classes > 5
                names = {1: "accuracy"} | ({5: "top_5_accuracy"} if many else {})
                tops = divided_accuracies((*names,), *rows, batch_size)
                found |= {f"{name}/{key}": a for key, a in zip(names.values(), tops, strict=True)}
        return found
