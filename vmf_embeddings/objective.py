"""Any objective of this package as a plain module for one's own training loop."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from vmf_embeddings import catalogue
from vmf_embeddings.archs.base import ClassSpec
from vmf_embeddings.archs.given import GivenEmbeddings
from vmf_embeddings.argument_types import check_arguments
from vmf_embeddings.library.objective_module import Objective
from vmf_embeddings.library.objective_needs import needs, takes_miner
from vmf_embeddings.library.objective_parts import GROUPS, compose, in_keywords

__all__ = ["Objective", "objective", "objectives"]


def objectives() -> dict[str, str]:
    """Every name that `objective` takes -> what it is, its paper, and what it needs.

    A name that two groups have stands for the first of method, criterion, head, loss; the other is
    listed with its group in front, as `criterion/arcface`.

    Example:
        >>> objectives()["balanced_softmax"].partition("Needs ")[2]
        'n_classes, class_counts.'
    """
    found: dict[str, str] = {}
    for group in GROUPS:
        for name in catalogue.names(group):
            key = f"{group}/{name}" if name in found else name
            composition = compose(f"{group}/{name}", {})
            wanted = needs(composition)
            words = f" Needs {', '.join(wanted)}." if wanted else ""
            words += " Takes miner=…." if takes_miner(composition) else ""
            found[key] = catalogue.summary(group, name) + words
    return found


def objective(
    name: str | type[nn.Module],
    *,
    embedding_dim: int,
    n_classes: int | None = None,
    n_features: int | None = None,
    n_epochs: int | None = None,
    class_counts: Tensor | Iterable[int] | None = None,
    **options: Any,
) -> Objective:
    """An objective by its name, with the defaults of the command line.

    Args:
        name: one of `objectives()`, or a subclass of `Method`, `Criterion`, `Head` or `Loss`.
        embedding_dim: D.
        n_classes: C; may be left out where nothing depends on it, as for triplet losses.
        n_features: F, width of the features that enter the embedding layer (s2sd).
        n_epochs: length of the training, for objectives that change over it (fsgl,
            vmf_op), >= 1.
        class_counts: training images per class [C], for objectives that balance classes.
        **options: parameters of the method, criterion, head or loss as in its yaml file; options of
            the groups that it is built from, as `miner="distance"` or
            `head={"name": "tvmf", "kappa": 4.0}`; and the fields of `ClassSpec` `learn_temp`,
            `init_temp`, `kappa_confidence`. Unlike on the command line, `learn_temp` is True for
            methods that have a temperature.

    Returns:
        A module: `loss = objective(embeddings, labels)`.

    Raises:
        ValueError: unknown name or option, or a value out of its range.

    Example:
        >>> import torch
        >>> loss_fn = objective("arcface", embedding_dim=2, n_classes=3)
        >>> loss_fn(torch.eye(2), torch.tensor([0, 1])).shape
        torch.Size([])
    """
    if not isinstance(embedding_dim, Integral) or embedding_dim < 1:
        raise ValueError(f"embedding_dim: expected a whole number >= 1, got {embedding_dim!r}")
    if n_classes is not None and (not isinstance(n_classes, Integral) or n_classes < 1):
        raise ValueError(f"n_classes: expected a whole number >= 1, got {n_classes!r}")
    if n_epochs is not None and (not isinstance(n_epochs, Integral) or n_epochs < 1):
        raise ValueError(f"n_epochs: expected a whole number >= 1, got {n_epochs!r}")
    composition = compose(name, options)
    if n_classes is None and composition.needs_n_classes:
        raise ValueError(f"objective {name!r} needs n_classes=C, the number of training classes")
    try:
        check_arguments(ClassSpec, composition.class_options)
        spec = ClassSpec(
            n_classes=1 if n_classes is None else n_classes,
            embedding_dim=embedding_dim,
            use_vmf=composition.method_class.uses_vmf,
            **composition.class_options,
        )
        method = composition.build(GivenEmbeddings(spec, n_features))
    except (TypeError, ValueError) as error:
        raise ValueError(f"objective {name!r}: {in_keywords(str(error))}") from error
    method.configure(margin_warmup_epochs=0, n_epochs=n_epochs)
    made = Objective(method, needs(composition))
    return made if class_counts is None else made.set_class_counts(class_counts)
