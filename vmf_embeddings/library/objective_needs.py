"""What an objective needs besides embeddings and labels, by the classes that it is built from."""

from typing import Any

from vmf_embeddings.library.objective_parts import Composition, class_of

NEEDS = (
    "n_classes",
    "n_features",
    "n_epochs",
    "class_counts",
    "features",
    "teacher_logits",
    "class means",
    "class weights",
)
"""Keyword arguments of `objective` and of a call of it, and what `fit` and `set_class_weights`
provide."""


def needs(composition: Composition) -> tuple[str, ...]:
    """What must be given before or with a batch.

    Returns:
        Of `NEEDS`, in their order.
    """
    wanted = {
        "n_classes": composition.needs_n_classes,
        "n_features": _flag(composition, "criterion", "needs_features"),
        "n_epochs": _of_method(composition, "needs_n_epochs"),
        "class_counts": _needs_class_counts(composition),
        "features": _flag(composition, "criterion", "needs_features"),
        "teacher_logits": _needs_teacher(composition.nodes["method"]),
        "class means": _second_stage(composition) and _fits(composition),
        "class weights": _second_stage(composition) and not _fits(composition),
    }
    return tuple(need for need in NEEDS if wanted[need])


def takes_miner(composition: Composition) -> bool:
    """Whether a miner may choose the triplets (`miner=`)."""
    node = composition.nodes.get("criterion")
    return "miner" in composition.nodes and node is not None and class_of(node).allowed_miners != ()


def _needs_class_counts(composition: Composition) -> bool:
    scaled = composition.nodes["feature_scaling"]["name"] != "none"
    params = composition.innermost["params"]
    return (
        scaled
        or bool(params.get("posthoc_tau"))
        or _flag(composition, "loss", "needs_class_counts")
        or _of_method(composition, "needs_class_counts")
    )


def _needs_teacher(node: dict[str, Any]) -> bool:
    return class_of(node).has_teacher() and node["params"].get("weight") != 0


def _second_stage(composition: Composition) -> bool:
    """Whether the head is built on the outcome of an earlier training."""
    return "head" in composition.nodes and class_of(composition.nodes["head"]).second_stage


def _fits(composition: Composition) -> bool:
    return hasattr(class_of(composition.nodes["head"]), "fit")


def _of_method(composition: Composition, flag: str) -> bool:
    return bool(getattr(composition.method_class, flag, False))


def _flag(composition: Composition, group: str, flag: str) -> bool:
    node = composition.nodes.get(group)
    return node is not None and bool(getattr(class_of(node), flag, False))
