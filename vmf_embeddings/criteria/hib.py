"""HIB: the probability that two images match, by draws from the distributions of embeddings.

Oh, Murphy, Pan, Roth, Schroff, Gallagher 2019, "Modeling Uncertainty with Hedged Instance
Embeddings", equations 2 to 4, https://arxiv.org/abs/1810.00319, on the sphere as in Kirchhof et al.
2023, https://arxiv.org/abs/2307.03810.
"""

import math

import torch
from torch import Tensor, nn

from vmf_embeddings.criteria.base import at_least
from vmf_embeddings.criteria.distributions import DistributionCriterion, mean_of_rows
from vmf_embeddings.criteria.mean_sigmoid import log_match
from vmf_embeddings.miners.base import others


class HIB(DistributionCriterion):
    """Soft contrastive loss of all pairs: -log p of pairs of one class, -log(1 - p) of the others.

    p is the mean over draws of sigmoid(scale * cosine + offset). The means over the pairs of a row
    of either kind count alike.

    Args:
        scale: of the cosines, > 0; learned.
        offset: added to the scaled cosines; learned.
        n_samples: draws of each row, >= 1.
        image_confidence: mean cosine with which the distributions start, in (0, 1).
        positives: "classes" or "views", see `DistributionCriterion`.
        views: see there.

    Example:
        >>> criterion, cosines = HIB(20.0, -10.0, 1, 0.99), torch.eye(2)[None]
        >>> round(criterion.loss_of_pairs(cosines, torch.tensor([0, 0])).item(), 4)
        10.0
    """

    def __init__(
        self,
        scale: float,
        offset: float,
        n_samples: int,
        image_confidence: float,
        positives: str = "classes",  # runs of version 1.0 do not name it
        views: int = 2,  # nor this
    ) -> None:
        super().__init__(n_samples, image_confidence, positives, views)
        at_least(0, above=True, scale=scale)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.offset = nn.Parameter(torch.tensor(float(offset)))

    def loss_of_pairs(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """Cosines of draws [S, A, B], labels [B] -> scalar."""
        same = labels[: cosines.shape[1], None] == labels
        scale, offset = (t.to(cosines) for t in (self.log_scale.exp(), self.offset))
        values = log_match(cosines, scale, offset, same)
        return -mean_of_rows(values, others(same)) - mean_of_rows(values, ~same)
