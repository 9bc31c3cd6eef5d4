"""Losses of the directional family at one size, beside their published programs and their products.

The products of a loss are each product of two tables that its formula has, and one more of that
size for every factor that has a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks import reference_losses
from benchmarks.ours import NoBackbone
from vmf_embeddings.archs.base import ClassSpec
from vmf_embeddings.criteria.cider import Cider
from vmf_embeddings.criteria.hib import HIB
from vmf_embeddings.criteria.mcinfonce import MCInfoNCE
from vmf_embeddings.criteria.siren import Siren
from vmf_embeddings.methods.bcl import balanced_contrast
from vmf_embeddings.methods.elk import ELK
from vmf_embeddings.methods.nivmf import NivMF
from vmf_embeddings.methods.paco import parametric_contrast
from vmf_embeddings.methods.proco_logits import contrast_loss
from vmf_embeddings.methods.proco_statistics import ClassDistributions

KAPPA = 160.0


@dataclass(frozen=True)
class Product:
    """A product [rows, dim] x [dim, columns], and how many factors have a gradient.

    `tables` are multiplied one by one.
    """

    rows: int
    columns: int
    dim: int
    n_gradients: int = 2
    tables: int = 1


@dataclass(frozen=True)
class Problem:
    """A loss at one size.

    Args:
        ours: the loss, scalar.
        original: the same by the published program.
        leaves: tensors whose gradients are computed.
        products: that the loss cannot do without.
        draws: numbers in the draws of the rows; 0 = none are made.
        joint: whether all products make one table of logits.
    """

    ours: Callable[[], Tensor]
    original: Callable[[], Tensor] | None
    leaves: list[Tensor]
    products: list[Product]
    draws: int = 0
    joint: bool = False

    @property
    def table(self) -> int:
        """Entries of the largest table of logits."""
        return (sum if self.joint else max)(p.tables * p.rows * p.columns for p in self.products)


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def unit(n: int, dim: int) -> Tensor:
    return normalize(torch.randn(n, dim), dim=1)


def elk(kernel: str, b: int, c: int, d: int, s: int, q: int) -> Problem:
    method = ELK(NoBackbone(ClassSpec(c, d, use_vmf=True, learn_temp=True)), kernel, "exact", None)
    method.class_parameters.weight.data.copy_(KAPPA * unit(c, d))
    z, labels = leaf(KAPPA * unit(b, d)), torch.randint(c, (b,))
    w = method.class_parameters.weight
    original = None
    if kernel == "elk":
        original = partial(reference_losses.elk, z, w, labels, torch.tensor(1.0))
    leaves = [z, *method.class_parameters.parameters()]
    return Problem(lambda: method.loss(z, labels), original, leaves, [Product(b, c, d)])


def nivmf(b: int, c: int, d: int, s: int, q: int) -> Problem:
    spec = ClassSpec(c, d, use_vmf=True, learn_temp=True)
    method = NivMF(NoBackbone(spec), s, 1.0, "exact", None)
    method.class_parameters.weight.data.copy_(KAPPA * unit(c, d))
    z, labels = leaf(KAPPA * unit(b, d)), torch.randint(c, (b,))

    def original() -> Tensor:
        mu, scales = method.class_distributions()
        return reference_losses.nivmf(z, mu, scales, labels, torch.tensor(1.0), s)

    leaves = [z, *method.class_parameters.parameters(), method.log_scales]
    products = [Product(s * b, c, d), Product(s * b, c, d)]
    return Problem(lambda: method.loss(z, labels), original, leaves, products, s * b * d)


def proco(b: int, c: int, d: int, s: int, q: int) -> Problem:
    rows, mu, labels = leaf(unit(b, d)), unit(c, d), torch.randint(c, (b,))
    kappa, prior = torch.full((c,), KAPPA).double(), torch.rand(c).log()
    classes = ClassDistributions(mu, kappa)
    ours = partial(contrast_loss, rows, labels, classes, 0.1, prior)
    original = partial(reference_losses.proco, rows, mu, kappa.float(), labels, 0.1)
    return Problem(ours, original, [rows], [Product(b, c, d, n_gradients=1)])


def of_draws(name: str, b: int, c: int, d: int, s: int, q: int) -> Problem:
    """MCInfoNCE and HIB: four rows of every class."""
    z, labels = leaf(KAPPA * unit(b, d)), torch.arange(b) // 4
    if name == "mcinfonce":
        criterion = MCInfoNCE(0.05, s, False, "log_mean", 0.99)
        original = partial(reference_losses.mcinfonce, z, labels, 20.0, s)
    else:
        criterion = HIB(20.0, -10.0, s, 0.99)
        scale, offset = (leaf(torch.tensor(x)) for x in (20.0, -10.0))
        original = partial(reference_losses.hib, z, labels, scale, offset, s)
    leaves = [z, *criterion.parameters()]
    products = [Product(b, b, d, tables=s)]
    return Problem(lambda: criterion(z, labels), original, leaves, products, s * b * d)


def siren(b: int, c: int, d: int, s: int, q: int) -> Problem:
    criterion = Siren(0.95, 10.0, "mean", 1.0)
    criterion.build(c, d)
    prototypes = unit(c, d)
    criterion.prototypes.copy_(prototypes)
    rows, labels, kappa = leaf(unit(b, d)), torch.randint(c, (b,)), leaf(torch.full((c,), 10.0))
    original = partial(reference_losses.siren, rows, prototypes, kappa, labels, 0.95)
    leaves = [rows, criterion.log_kappa]
    products = [Product(b, c, d, n_gradients=1)]
    return Problem(lambda: criterion(rows, labels), original, leaves, products)


def cider(b: int, c: int, d: int, s: int, q: int) -> Problem:
    criterion = Cider(0.1, 0.95, 2.86, "mean")
    criterion.build(c, d)
    prototypes = unit(c, d)
    criterion.prototypes.copy_(prototypes)
    rows, labels = leaf(unit(b, d)), torch.randint(c, (b,))
    original = partial(reference_losses.cider, rows, prototypes, labels, 0.95, 0.1)
    products = [Product(b, c, d, n_gradients=1), Product(c, c, d)]
    return Problem(lambda: criterion(rows, labels), original, [rows], products)


def bcl(b: int, c: int, d: int, s: int, q: int) -> Problem:
    rows, prototypes, labels = leaf(unit(b, d)), leaf(unit(c, d)), torch.randint(c, (b,))
    ours = partial(balanced_contrast, rows, labels, prototypes, 0.07)
    original = partial(reference_losses.bcl, rows, prototypes, labels, 0.07)
    return Problem(ours, original, [rows, prototypes], [Product(b, b + c, d)])


def paco(b: int, c: int, d: int, s: int, q: int) -> Problem:
    rows, weights, labels = leaf(unit(b, d)), leaf(unit(c, d)), torch.randint(c, (b,))
    queue, queue_labels = unit(q, d), torch.randint(c, (q,))

    def ours() -> Tensor:
        others = (queue, queue_labels)
        return parametric_contrast(rows @ weights.T, rows, labels, *others, 0.2, 0.05, 1.0)

    def original() -> Tensor:
        others = (queue, queue_labels)
        return reference_losses.paco(rows @ weights.T, rows, labels, others, (0.05, 1.0), 0.2)

    products = [Product(b, c, d), Product(b, b, d), Product(b, q, d, n_gradients=1)]
    return Problem(ours, original, [rows, weights], products, joint=True)


def plain(b: int, c: int, d: int, s: int, q: int) -> Problem:
    """No loss of the family: what cross-entropy of a linear layer takes."""
    z, w, labels = leaf(unit(b, d)), leaf(unit(c, d)), torch.randint(c, (b,))
    return Problem(lambda: cross_entropy(z @ w.T, labels), None, [z, w], [Product(b, c, d)])


LOSSES: dict[str, Callable[..., Problem]] = {
    "elk": partial(elk, "elk"),
    "bhattacharyya": partial(elk, "bhattacharyya"),
    "kl": partial(elk, "kl"),
    "nivmf": nivmf,
    "proco": proco,
    "mcinfonce": partial(of_draws, "mcinfonce"),
    "hib": partial(of_draws, "hib"),
    "siren": siren,
    "cider": cider,
    "bcl": bcl,
    "paco": paco,
    "a linear layer": plain,
}
