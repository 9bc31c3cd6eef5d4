"""Logits of prefixes of embeddings, where a file's class weights are all that its logits need."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.geometry import cosines

_TOLERANCE = 1e-3  # of logits computed again, relative to the largest


@dataclass(frozen=True)
class PrefixLogits:
    """Logits by length.

    Args:
        by_dim: m -> [N, C]; empty where they are not known.
        note: why not, without the full stop; None where they are known or nothing is classified.
    """

    by_dim: dict[int, Tensor] = field(default_factory=dict)
    note: str | None = None


def prefix_logits(evaluated: EvaluatedFile, dims: list[int]) -> PrefixLogits:
    """Logits by the same prefix of the class weights, if those of all dimensions are the file's.

    Args:
        evaluated: the file.
        dims: lengths.
    """
    file = evaluated.file
    if file.logits is None or file.open_set:
        return PrefixLogits()
    if file.logits.ndim != 2 or file.class_weights is None:
        return PrefixLogits(note=_because("the file's logits are no function of class weights"))
    if (evaluated.meta("prefixes") or {}).get("separate_heads"):
        return PrefixLogits(
            note=_because("each prefix was trained with class weights of its own, which the file "
                          "does not hold")
        )  # fmt: skip
    own, stored = _logits(evaluated, file.embeddings.shape[1]), torch.from_numpy(file.logits)
    largest = float(stored.abs().max())
    if not torch.allclose(own, stored.double(), rtol=0, atol=_TOLERANCE * max(1.0, largest)):
        return PrefixLogits(
            note=_because("the file's class weights and temperature do not give its logits, as "
                          "with a bias")
        )  # fmt: skip
    return PrefixLogits({dim: _logits(evaluated, dim) for dim in dims})


def _logits(evaluated: EvaluatedFile, dim: int) -> Tensor:
    file = evaluated.file
    rows, weights = (
        torch.from_numpy(np.ascontiguousarray(values[:, :dim])).double()
        for values in (file.embeddings, file.class_weights)
    )
    compare = cosines if evaluated.geometry.name == "cosine" else lambda x, y: x @ y.T
    return compare(rows, weights) / (file.temperature or 1.0)


def _because(reason: str) -> str:
    return f"prefixes are not scored by classification: {reason}"
