"""vMF-OP: a classifier of von Mises-Fisher densities whose classes are kept from overlapping.

Wang, Fu, He, Fang, Liu, Hu 2022, "Towards Calibrated Hyper-Sphere Representation via Distribution
Overlap Coefficient for Long-tailed Learning", ECCV, https://arxiv.org/abs/2208.10043. Formulas and
default values are those of its code, https://github.com/SiLangWHL/vMF-OP.
"""

import math
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.directional import mean_cosine
from vmf_embeddings.geometry import unit_vectors
from vmf_embeddings.heads.overlap import mean_overlap_with_others
from vmf_embeddings.heads.vmf import LEAST_KAPPA, VMFHead
from vmf_embeddings.losses.base import Loss, soft_labels
from vmf_embeddings.methods.base import Method
from vmf_embeddings.methods.head_and_loss import HeadAndLoss
from vmf_embeddings.methods.precision import full_precision


def inter_class_discrepancy(class_weights: Tensor) -> Tensor:
    """ICD: mean over all pairs i != j of the overlap 1 / (1 + KL(p_i || p_j)) of two classes.

    The published code also counts the C pairs i = j, as 0: its value is (C - 1) / C of this one.

    Args:
        class_weights: kappa_c mu_c [C, D], C >= 2.

    Returns:
        Scalar in (0, 1]; 1 where all classes are the same.

    Example:
        >>> inter_class_discrepancy(torch.tensor([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0]]))
        tensor(0.0500)
    """
    return mean_overlap_with_others(class_weights).mean()


def class_feature_consistency(class_weights: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
    """CFC: mean over the classes of a batch of 1 - 1 / (1 + A(kappa_c) kappa_c (1 - cos)).

    cos is that of mu_c and the mean direction m_c of the class's embeddings, and A kappa (1 - cos)
    the divergence of vMF(mu_c, kappa_c) from vMF(m_c, kappa_c).

    Args:
        class_weights: kappa_c mu_c [C, D].
        embeddings: of any length but 0 [B, D].
        labels: classes [B], or soft labels [B, C], which weight the rows of the mean.

    Returns:
        Scalar in [0, 1); 0 where all mean directions are those of the classes.

    Example:
        >>> w, z = 2 * torch.eye(3), torch.eye(3)
        >>> class_feature_consistency(w, z, torch.tensor([0, 1, 2]))
        tensor(0.)
        >>> class_feature_consistency(w, -z, torch.tensor([0, 1, 2]))  # 1 - 1 / (1 + 2 kappa A)
        tensor(0.6825)
    """
    n_classes, dim = class_weights.shape
    weights = soft_labels(labels, n_classes, embeddings.dtype)
    means = unit_vectors(weights.T @ unit_vectors(embeddings))
    kappa = torch.linalg.vector_norm(class_weights, dim=1)
    # kappa (1 - cos); rounding may leave it below 0
    distances = (kappa - (class_weights * means).sum(1)).clamp_min(0)
    divergences = mean_cosine(kappa, dim) * distances
    is_there = (weights.sum(0) > 0).to(embeddings.dtype)
    return (is_there * divergences / (1 + divergences)).sum() / is_there.sum()


def remaining_weight(epoch: int, n_epochs: int, decay: float) -> float:
    """Factor of both terms in an epoch, (1 - e / E)^decay.

    Args:
        epoch: e, from 0.
        n_epochs: E >= 1.
        decay: >= 0; 0 = a constant factor.

    Returns:
        1 at epoch 0, (1 / E)^decay at the last.

    Example:
        >>> [remaining_weight(epoch, 4, 1.0) for epoch in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """
    return max(0.0, 1 - epoch / n_epochs) ** decay


class VMFOP(HeadAndLoss):
    """Loss A + f (a ICD + b CFC): A on log densities of the classes, f smaller in every epoch.

    The densities are those of `VMFHead`; a class prior is added by the loss, in training only.

    Args:
        arch: the backbone.
        loss: A, see `HeadAndLoss`.
        kappa_init: first concentration of all classes, >= 1.
        kappa_lr_factor: learning rate of the concentrations over that of the run, >= 0.
        icd_weight: a >= 0, of `inter_class_discrepancy`.
        cfc_weight: b >= 0, of `class_feature_consistency`, which sees the rows of the whole batch.
        decay: of f, see `remaining_weight`, >= 0.
    """

    needs_n_epochs: ClassVar[bool] = True
    """Whether `configure` needs the number of epochs: the weights of both terms depend on it."""
    instead_of: ClassVar[dict[str, str]] = {
        "head": "method.params.kappa_init for its own head of von Mises-Fisher densities"
    }
    classifier: VMFHead

    def __init__(
        self,
        arch: Arch,
        loss: Loss,
        kappa_init: float,
        kappa_lr_factor: float,
        icd_weight: float,
        cfc_weight: float,
        decay: float,
    ) -> None:
        known = {"kappa_lr_factor": kappa_lr_factor, "icd_weight": icd_weight}
        for key, value in (known | {"cfc_weight": cfc_weight, "decay": decay}).items():
            if not value >= 0:
                raise ValueError(f"method.params.{key} must be >= 0, got {value}.")
        if not LEAST_KAPPA <= kappa_init < math.inf:
            raise ValueError(f"method.params.kappa_init must be >= 1, got {kappa_init}.")
        super().__init__(arch, partial(VMFHead, kappa_init=kappa_init), loss, posthoc_tau=0.0)
        if self.classifier.n_classes < 2:
            raise ValueError(f"method={self.name} compares classes: expected at least two, got 1.")
        self.kappa_lr_factor, self.decay = kappa_lr_factor, decay
        self.icd_weight, self.cfc_weight = icd_weight, cfc_weight
        self.needs_global_batch = cfc_weight > 0
        self.n_epochs: int | None = None
        self.remaining = 1.0

    @full_precision
    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings [B, D], labels [B] or soft labels [B, C] -> mean loss, scalar."""
        if torch.compiler.is_compiling():  # series are chosen by the values
            return torch.compiler.disable(self._loss)(embeddings, labels)
        return self._loss(embeddings, labels)

    def _loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        total, classes = super().loss(embeddings, labels), self.classifier.distributions()
        if self.icd_weight:
            total = total + self.remaining * self.icd_weight * inter_class_discrepancy(classes)
        if self.cfc_weight:
            cfc = class_feature_consistency(classes, embeddings, labels)
            total = total + self.remaining * self.cfc_weight * cfc
        return total

    def configure(self, *, margin_warmup_epochs: int, n_epochs: int | None = None) -> None:
        """Stores the number of epochs, over which the weights of both terms decrease."""
        self.n_epochs = n_epochs

    def begin_epoch(self, epoch: int) -> None:
        """Passes the epoch to the loss, and sets the factor of both terms for it."""
        super().begin_epoch(epoch)
        if self.n_epochs is None:
            raise ValueError(
                f"method={self.name} needs configure(n_epochs=…), or vmf.objective(…, "
                "n_epochs=…), before an epoch."
            )
        self.remaining = remaining_weight(epoch, self.n_epochs, self.decay)

    def class_kappas(self) -> Tensor:
        """Concentrations of the classes' distributions [C]."""
        return self.classifier.kappa.detach()

    def status(self) -> dict[str, float]:
        """Mean concentration and mean overlap of the classes."""
        overlap = inter_class_discrepancy(self.classifier.distributions().detach())
        return {"class_kappa": float(self.class_kappas().mean()), "overlap": float(overlap)}

    @property
    def loss_is_row_mean(self) -> bool:
        """Not with CFC, which compares the mean of all rows of a class with the class."""
        return super().loss_is_row_mean and not self.cfc_weight

    def extra_param_groups(self) -> list[dict[str, Any]]:
        """One group: the concentrations, with their own learning rate and no weight decay."""
        option = "method.params.kappa_lr_factor"
        rate = {"lr_factor": self.kappa_lr_factor, "lr_option": option}
        return [{"params": [self.classifier.raw_kappa], "weight_decay": 0.0, **rate}]

    def sharded_parameters(self) -> list[str]:
        """Refuses: overlaps need all classes in every process."""
        return Method.sharded_parameters(self)
