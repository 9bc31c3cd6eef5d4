"""Bayes classifier of von Mises-Fisher densities: no parameters are learned.

    logits_c = log pi_c + log sum_k w_ck C(kappa_ck) exp(kappa_ck mu_ck.x)

with one density for each class, or a mixture of several, of largest likelihood: Banerjee et al.
2005 (https://jmlr.org/papers/v6/banerjee05a.html), with exact concentrations. The softmax of the
logits is the posterior of the classes, their logsumexp the log density of x: `energy` of
`evaluate --ood`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vmf_embeddings.directional import ClassDensities, VonMisesFisherMixture
from vmf_embeddings.geometry import Cosine, Geometry
from vmf_embeddings.heads.base import Head, refuse_one_dimension, refuse_unusable_rows

KAPPAS = ("per_class", "shared", "pooled_shrunk")
PRIORS = ("counts", "uniform", "power")
BLOCK_ROWS = 2**14
N_STARTS = 4  # of the mixture of a class


class VMFBayesHead(Head):
    """Logits are exact log densities of the classes in nats, plus the log prior.

    For a second stage, which calls `fit` with the embeddings of the training split.

    Args:
        n_classes: C.
        dim: D >= 2.
        kappa: "per_class" = a concentration for each class, or each component of one; "shared" =
            one for all: with a uniform prior and one component the class of the nearest mean
            direction wins; "pooled_shrunk" = A_D^-1((|S_c| + m R) / (n_c + m)), between the two:
            S_c is the sum of the n_c unit rows of a class, R the mean cosine that all classes have
            together, and m `shrink_rows`.
        prior: "counts" = class frequencies of the training split, "uniform" = 1/C, "power" =
            n_c^`prior_power` divided by their sum, between the two.
        shrink_rows: m >= 0, for "pooled_shrunk": 0 is per_class, a large one shared.
        prior_power: >= 0, for "power": 0 is uniform, 1 counts.
        components: densities of each class, >= 1; a class of fewer rows has one for each.
    """

    second_stage = "vmf_bayes"
    uses_norm = False

    mu: Tensor
    kappa: Tensor
    frequency: Tensor
    is_fitted: Tensor

    def __init__(
        self,
        n_classes: int,
        dim: int,
        kappa: str,
        prior: str,
        shrink_rows: float = 10.0,  # runs of version 0.1 do not name it
        prior_power: float = 0.5,  # nor this
        components: int = 1,  # nor this
    ) -> None:
        super().__init__(n_classes, dim)
        refuse_one_dimension(dim, "head=vmf_bayes")
        for name, value, known in (("kappa", kappa, KAPPAS), ("prior", prior, PRIORS)):
            if value not in known:
                raise ValueError(
                    f"head.params.{name} must be one of {', '.join(known)}, got {value!r}."
                )
        least = {"shrink_rows": (shrink_rows, 0), "prior_power": (prior_power, 0)}
        for name, (number, bound) in (least | {"components": (components, 1)}).items():
            if not bound <= number < math.inf:
                raise ValueError(f"head.params.{name} must be >= {bound}, got {number}.")
        self.shared_kappa, self.components = kappa == "shared", components
        self.shrink_rows = shrink_rows if kappa == "pooled_shrunk" else 0.0
        self.prior_power = {"counts": 1.0, "uniform": 0.0}.get(prior, prior_power)
        self.weight = self.bias = None
        n = n_classes * components  # the densities of a class follow one another
        for name, shape in (("mu", (n, dim)), ("kappa", (n,)), ("frequency", (n,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("is_fitted", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> None:
        """Fits the densities to the training split: embeddings [N, D], labels [N] in 0..C-1.

        Args:
            embeddings: of any length but 0.
            labels: of the classes.
            generator: source of randomness for the starts of mixtures, on the CPU; None = the same
                starts in every call.

        Raises:
            ValueError: a class has no row, every class or component is one point, or a row is not
                finite.
        """
        refuse_unusable_rows(embeddings)
        counts = torch.bincount(labels, minlength=self.n_classes).double()
        if not bool((counts > 0).all()):
            empty = (counts == 0).nonzero().flatten().tolist()
            raise ValueError(
                f"head=vmf_bayes needs an image of every class; classes {empty[:10]} have none."
            )
        if self.components == 1:
            sums, totals = self._sums(embeddings, labels), counts
        else:
            sums, totals = self._sums_of_components(embeddings, labels, generator)
        used = totals > 0
        fitted = self._fitted(sums[used], totals[used])
        self.reset()
        self.mu[used], self.kappa[used] = fitted.mu, fitted.kappa
        prior = counts.pow(self.prior_power)
        within = totals.view(self.n_classes, -1) / counts[:, None]
        self.frequency.copy_(((prior / prior.sum())[:, None] * within).flatten())
        self.is_fitted.fill_(True)

    def _fitted(self, sums: Tensor, totals: Tensor) -> ClassDensities:
        options = {"shared_kappa": self.shared_kappa, "shrink_rows": self.shrink_rows}
        try:
            return ClassDensities.fit(sums, totals, **options)
        except ValueError as error:
            if self.components == 1:
                raise
            raise ValueError(
                f"head.params.components={self.components}, a class each: {error}; choose fewer."
            ) from error

    def _sums(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Sums of the unit rows of every class [C, D]."""
        sums = self.mu.new_zeros(self.n_classes, self.dim)
        for rows, own in zip(embeddings.split(BLOCK_ROWS), labels.split(BLOCK_ROWS), strict=True):
            sums.index_add_(0, own, normalize(rows.double(), dim=1))
        return sums

    def _sums_of_components(
        self, embeddings: Tensor, labels: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Sums [C K, D] and numbers [C K] of rows, each divided among the components of its class.

        By the responsibilities of a mixture that is fitted to the class; rows that a component does
        not have leave it with 0.
        """
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        sums = self.mu.new_zeros(self.n_classes, self.components, self.dim)
        totals = sums.new_zeros(self.n_classes, self.components)
        for k in range(self.n_classes):
            rows = normalize(embeddings[labels == k].double(), dim=1)
            n = min(self.components, len(rows))
            mixture = VonMisesFisherMixture(n, n_init=N_STARTS, generator=generator, quiet=True)
            fractions = mixture.fit(rows).predict_proba(rows)
            sums[k, :n], totals[k, :n] = fractions.T @ rows, fractions.sum(0)
        return sums.flatten(0, 1), totals.flatten()

    def reset(self) -> None:
        """Sets all densities to uniform ones of frequency 0, as before `fit`."""
        for buffer in self.buffers():
            buffer.zero_()

    def densities(self) -> ClassDensities:
        """The fitted densities in float64, K for each class; their frequencies are the prior."""
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
        joint = log_prob + fitted.frequency.log()
        if self.components > 1:
            joint = joint.unflatten(-1, (self.n_classes, -1)).logsumexp(-1)
        return joint.to(embeddings.dtype)

    @property
    def geometry(self) -> Geometry:
        """Cosine: the densities depend on directions alone."""
        return Cosine()
