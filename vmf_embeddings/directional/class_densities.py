"""Von Mises-Fisher densities fitted to classes by maximum likelihood: a Bayes classifier.

Banerjee et al. 2005, https://www.jmlr.org/papers/v6/banerjee05a.html, with the exact concentration
A_D^-1(r) in place of their approximation; Ming et al. 2023, https://arxiv.org/abs/2211.13445, find
rows of unknown classes by such densities. Of the classifier's logits log pi_c + log p_c(x), the
softmax is the posterior of the classes and the logsumexp the log density of x.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.directional.estimation import concentration, default_kappa_max
from vmf_embeddings.directional.log_normalizer import log_normalizer

# a mean resultant length as large as this is that of equal rows, up to rounding
_ONE_POINT = 1 - 1e-12


@dataclass(frozen=True)
class ClassDensities:
    """One von Mises-Fisher density for each of C classes, and how frequent each class is.

    Args:
        mu: float64 [C, D] unit mean directions.
        kappa: float64 [C] concentrations, >= 0.
        frequency: float64 [C], of the classes among the rows; they add up to 1.

    >>> sums = torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    >>> found = ClassDensities.fit(sums, torch.tensor([2.0, 3.0], dtype=torch.float64))
    >>> found.mu[1], bool(found.kappa[0] > found.kappa[1])  # rows of the first are nearer together
    (tensor([0., 1.], dtype=torch.float64), True)
    """

    mu: Tensor
    kappa: Tensor
    frequency: Tensor

    @classmethod
    def fit(
        cls,
        sums: Tensor,
        counts: Tensor,
        *,
        shared_kappa: bool = False,
        shrink_rows: float = 0.0,
    ) -> "ClassDensities":
        """The densities of largest likelihood, or with concentrations nearer to one another.

        A class of one row, or of rows that are equal, has no finite concentration of its own: it
        gets the one that fits all other classes best, A_D^-1(R), R = sum |S_c| / sum n_c of them.

        Args:
            sums: float64 [C, D], S_c, of the unit rows of every class; D >= 2.
            counts: float64 [C], n_c >= 1.
            shared_kappa: all classes get one concentration, A_D^-1(sum |S_c| / sum n_c).
            shrink_rows: m >= 0, the concentrations are A_D^-1((|S_c| + m R) / (n_c + m)), as if
                each class had m more rows with the mean cosine R of all.

        Raises:
            ValueError: every class is one point.
        """
        lengths = torch.linalg.vector_norm(sums, dim=1)
        own = (counts > 1) & (lengths < _ONE_POINT * counts)
        if not bool(own.any()):
            raise ValueError("every class has one row, or equal rows: concentrations are infinite")
        if shared_kappa:
            lengths, n = lengths.sum().expand_as(counts), counts.sum().expand_as(counts)
        else:
            pooled = lengths[own].sum() / counts[own].sum()
            lengths = torch.where(own, lengths, pooled * counts) + shrink_rows * pooled
            n = counts + shrink_rows
        dim = sums.shape[1]
        kappa = concentration(lengths, n, dim, default_kappa_max(dim, sums.dtype))
        return cls(normalize(sums, dim=1), kappa, counts / counts.sum())

    def log_prob(self, unit_rows: Tensor) -> Tensor:
        """Log densities of unit rows [N, D] in nats, [N, C], with respect to surface measure."""
        # log C + kappa mu.x, both of the size of kappa at large ones: float64 leaves enough digits
        peak = log_normalizer(self.kappa, self.mu.shape[1])
        return unit_rows.double() @ (self.kappa[:, None] * self.mu).T + peak

    def mixed(self, log_prob: Tensor) -> Tensor:
        """The log density [N] of the mixture of all classes, from those of the classes [N, C]."""
        return (log_prob + self.frequency.log()).logsumexp(1)
