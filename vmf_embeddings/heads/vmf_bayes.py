"""Bayes classifier of von Mises-Fisher densities, one per class: no parameters are learned.

    logits_c = log pi_c + log C(kappa_c) + kappa_c mu_c.x

with mu_c and kappa_c of largest likelihood: Banerjee et al. 2005
(https://jmlr.org/papers/v6/banerjee05a.html), with exact concentrations. The softmax of the logits
is the posterior of the classes, their logsumexp the log density of x: `energy` of `evaluate --ood`.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.directional import ClassDensities
from vmf_embeddings.geometry import Cosine, Geometry
from vmf_embeddings.heads.base import Head

KAPPAS = ("per_class", "shared")
PRIORS = ("counts", "uniform")
BLOCK_ROWS = 2**14


class VMFBayesHead(Head):
    """Logits are exact log densities of the classes in nats, plus the log prior.

    For a second stage, which calls `fit` with the embeddings of the training split.

    Args:
        n_classes: C.
        dim: D >= 2.
        kappa: "per_class" = a concentration for each class; "shared" = one for all: with a uniform
            prior the class of the nearest mean direction wins.
        prior: "counts" = class frequencies of the training split, "uniform" = 1/C.
    """

    second_stage = "vmf_bayes"
    uses_norm = False

    mu: Tensor
    kappa: Tensor
    frequency: Tensor
    is_fitted: Tensor

    def __init__(self, n_classes: int, dim: int, kappa: str, prior: str) -> None:
        super().__init__(n_classes, dim)
        for name, value, known in (("kappa", kappa, KAPPAS), ("prior", prior, PRIORS)):
            if value not in known:
                raise ValueError(
                    f"head.params.{name} must be one of {', '.join(known)}, got {value!r}."
                )
        self.shared_kappa, self.uniform_prior = kappa == "shared", prior == "uniform"
        self.weight = self.bias = None
        for name, shape in (("mu", (n_classes, dim)), ("kappa", (n_classes,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("frequency", torch.zeros(n_classes, dtype=torch.float64))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit(self, embeddings: Tensor, labels: Tensor) -> None:
        """Fits the densities to the training split: embeddings [N, D], labels [N] in 0..C-1.

        Raises:
            ValueError: a class has no row, or every class is one point.
        """
        counts = torch.bincount(labels, minlength=self.n_classes).double()
        if not bool((counts > 0).all()):
            empty = (counts == 0).nonzero().flatten().tolist()
            raise ValueError(
                f"head=vmf_bayes needs an image of every class; classes {empty[:10]} have none."
            )
        sums = counts.new_zeros(self.n_classes, self.dim)
        for rows, own in zip(embeddings.split(BLOCK_ROWS), labels.split(BLOCK_ROWS), strict=True):
            sums.index_add_(0, own, normalize(rows.double(), dim=1))
        fitted = ClassDensities.fit(sums, counts, shared_kappa=self.shared_kappa)
        self.mu.copy_(fitted.mu)
        self.kappa.copy_(fitted.kappa)
        self.frequency.copy_(
            torch.full_like(counts, 1 / len(counts)) if self.uniform_prior else fitted.frequency
        )
        self.is_fitted.fill_(True)

    def reset(self) -> None:
        """Sets all densities to uniform ones of frequency 0, as before `fit`."""
        for buffer in self.buffers():
            buffer.zero_()

    def densities(self) -> ClassDensities:
        """The fitted densities of the classes, in float64; their frequencies are the prior."""
        return ClassDensities(self.mu.double(), self.kappa.double(), self.frequency.double())

    def logits(self, embeddings: Tensor) -> Tensor:
        """Embeddings [B, D] -> log prior + log density [B, C], computed in float64; needs `fit`."""
        if not self.is_fitted:
            raise ValueError(
                "head=vmf_bayes has no densities yet: it is for the second stage of a trained run, "
                "mode=vmf_bayes run=RUN_FOLDER."
            )
        fitted = self.densities()
        log_prob = fitted.log_prob(normalize(embeddings.double(), dim=-1))
        return (log_prob + fitted.frequency.log()).to(embeddings.dtype)

    @property
    def geometry(self) -> Geometry:
        """Cosine: the densities depend on directions alone."""
        return Cosine()
