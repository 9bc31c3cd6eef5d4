"""Scores of predicted class probabilities: accuracies, F1, negative log-likelihood, Brier.

Logits may have S draws per item, as those of vMF do; the probability is then the mean over draws of
the softmax (Scott et al. 2021, https://arxiv.org/abs/2103.15718). All scores use float64.
"""

import torch
from torch import Tensor

from vmf_embeddings.metrics.arrays import Array, as_float64, as_labels

_BLOCK_ELEMENTS = 2**23


def probabilities(logits: Array) -> Tensor:
    """Class probabilities [N, C] in float64 from logits [N, C], or [N, S, C] with S draws each.

    Probabilities are averaged over the draws, not logits. Computed in blocks of rows.

    >>> probabilities([[[0.0, 0.0], [0.0, 1000.0]]])
    tensor([[0.2500, 0.7500]], dtype=torch.float64)
    """
    logits = torch.as_tensor(logits)
    if logits.ndim not in (2, 3):
        raise ValueError(f"logits must be [N, C] or [N, S, C], got {list(logits.shape)}")
    if logits.ndim == 2:
        return logits.double().softmax(-1)
    step = max(1, _BLOCK_ELEMENTS // max(1, logits[0].numel() if len(logits) else 1))
    return torch.cat([part.double().softmax(-1).mean(1) for part in logits.split(step)])


def accuracy(scores: Array, labels: Array) -> float:
    """Fraction of rows whose largest score is that of their class, in [0, 1].

    Args:
        scores: [N, C] probabilities or logits; ties predict the lowest class.
        labels: [N] in 0..C-1.

    >>> accuracy([[0.2, 0.8], [0.7, 0.3]], [1, 1])
    0.5
    """
    scores, labels = _pair(scores, labels)
    return float((scores.argmax(1) == labels).double().mean())


def top_k_accuracy(scores: Array, labels: Array, k: int) -> float:
    """Fraction of rows whose class has one of the k largest scores, in [0, 1].

    Args:
        scores: [N, C] probabilities or logits; of equal scores the lowest class comes first.
        labels: [N] in 0..C-1.
        k: >= 1; the result is 1 where k >= C.

    >>> top_k_accuracy([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2], k=2)
    0.5
    """
    return float(top_k_hits(scores, labels, k).double().mean())


def top_k_hits(scores: Array, labels: Array, k: int) -> Tensor:
    """Whether the class of each row [N] has one of the k largest scores; see `top_k_accuracy`."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    scores, labels = _pair(scores, labels)
    own = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    before = ((scores > own) | ((scores == own) & lower)).sum(1)
    return before < k


def per_class_accuracy(scores: Array, labels: Array) -> Tensor:
    """Fraction [C] of each class's rows that are predicted correctly; NaN where it has no rows.

    Args:
        scores: [N, C] probabilities or logits; ties predict the lowest class.
        labels: [N] in 0..C-1.

    >>> per_class_accuracy([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [0, 0])
    tensor([0.5000,    nan,    nan], dtype=torch.float64)
    """
    scores, labels = _pair(scores, labels)
    correct = labels[scores.argmax(1) == labels]
    n_classes = scores.shape[1]
    n_correct = torch.bincount(correct, minlength=n_classes).double()
    return n_correct / torch.bincount(labels, minlength=n_classes)


def macro_accuracy(scores: Array, labels: Array) -> float:
    """Mean of the accuracies of the classes that have rows, in [0, 1] (balanced accuracy).

    Args:
        scores: [N, C] probabilities or logits; ties predict the lowest class.
        labels: [N] in 0..C-1.

    >>> macro_accuracy([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [0, 0, 1, 1])
    0.75
    """
    return float(per_class_accuracy(scores, labels).nanmean())


def macro_f1(scores: Array, labels: Array) -> float:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    van Rijsbergen 1979, "Information Retrieval", chapter 7. Classes that neither have rows nor are
    predicted are left out; a class without a correct prediction has F1 = 0.

    Args:
        scores: [N, C] probabilities or logits; ties predict the lowest class.
        labels: [N] in 0..C-1.

    >>> macro_f1([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0, 0, 0, 1])
    0.42857142857142855
    """
    scores, labels = _pair(scores, labels)
    predicted, n_classes = scores.argmax(1), scores.shape[1]
    n_correct = torch.bincount(labels[predicted == labels], minlength=n_classes).double()
    # 2 TP + FP + FN = rows predicted as the class + rows of the class
    total = torch.bincount(torch.cat([predicted, labels]), minlength=n_classes)
    return float((2 * n_correct / total)[total > 0].mean())


def negative_log_likelihood(predicted: Array, labels: Array) -> float:
    """Mean of -log p(class) in nats; infinite where a true class has probability 0.

    Args:
        predicted: [N, C] probabilities.
        labels: [N] in 0..C-1.

    >>> negative_log_likelihood([[0.5, 0.5], [0.0, 1.0]], [0, 1])
    0.34657359027997264
    """
    return float(log_losses(predicted, labels).mean()) + 0.0


def log_losses(predicted: Array, labels: Array) -> Tensor:
    """-log p(class) of each row [N] in nats; see `negative_log_likelihood`."""
    predicted, labels = _pair(predicted, labels)
    return -predicted.gather(1, labels[:, None]).squeeze(1).log()


def brier_score(predicted: Array, labels: Array) -> float:
    """Mean over rows of sum_c (p_c - [c is the class])^2, in [0, 2].

    Brier 1950, "Verification of forecasts expressed in terms of probability", in its original,
    multi-class form (the sum over classes is not halved).

    Args:
        predicted: [N, C] probabilities.
        labels: [N] in 0..C-1.

    >>> brier_score([[0.5, 0.5], [0.0, 1.0]], [0, 1])
    0.25
    """
    return float(squared_errors(predicted, labels).mean())


def squared_errors(predicted: Array, labels: Array) -> Tensor:
    """sum_c (p_c - [c is the class])^2 of each row [N], in [0, 2]; see `brier_score`."""
    predicted, labels = _pair(predicted, labels)
    of_class = predicted.gather(1, labels[:, None]).squeeze(1)
    return predicted.square().sum(1) - 2 * of_class + 1


def _pair(scores: Array, labels: Array) -> tuple[Tensor, Tensor]:
    scores = as_float64(scores)
    labels = as_labels(labels).to(scores.device)
    if scores.ndim != 2 or len(scores) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"scores must be [N, C] and labels [N] with N >= 1, "
            f"got {list(scores.shape)} and {list(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f"labels must be in 0..{scores.shape[1] - 1}, "
            f"got {int(labels.min())}..{int(labels.max())}"
        )
    return scores, labels
