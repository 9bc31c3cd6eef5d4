"""What scores of classification read of logits, per row, where all logits would be too many."""

import torch
from torch import Tensor

TOP = 5  # classes of the largest probabilities


def logit_summary(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Partition, most probable classes, and the place of the label among the classes.

    Args:
        logits: [N, C], or [N, S, C] with S draws each: probabilities are means over the draws.
        labels: int64 [N] in 0..C-1.

    Returns:
        `log_partition` float32 [N], ln sum_j exp(logit_j), mean over the draws; `top_classes` int32
        and `top_probability` float32 [N, min(5, C)], most probable first; `label_probability`
        float32 [N]; `label_rank` int32 [N], number of classes before the label, of equal
        probabilities the lowest first.

    Example:
        >>> found = logit_summary(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([2]))
        >>> found["top_classes"].tolist(), found["label_rank"].tolist()
        ([[1, 2, 0]], [1])
    """
    draws = logits[:, None] if logits.ndim == 2 else logits
    draws = draws.double()
    probability = draws.softmax(-1).mean(1)
    order = probability.sort(dim=1, descending=True, stable=True)
    own = probability.gather(1, labels[:, None])
    lower = torch.arange(probability.shape[1], device=labels.device) < labels[:, None]
    before = (probability > own) | ((probability == own) & lower)
    return {
        "log_partition": draws.logsumexp(-1).mean(1).float(),
        "top_classes": order.indices[:, :TOP].int(),
        "top_probability": order.values[:, :TOP].float(),
        "label_probability": own.squeeze(1).float(),
        "label_rank": before.sum(1).int(),
    }
