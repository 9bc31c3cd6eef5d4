"""From a configuration node to an object, behind a list of what a configuration may build."""

import importlib
import os
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig

from vmf_embeddings.build.refused import Refused

# what each group may build: our own room, and a few names of libraries
ALLOWED = {
    "arch": ("vmf_embeddings.archs.",),
    "method": ("vmf_embeddings.methods.",),
    "head": ("vmf_embeddings.heads.",),
    "loss": ("vmf_embeddings.losses.",),
    "criterion": ("vmf_embeddings.criteria.",),
    "miner": ("vmf_embeddings.miners.",),
    "feature_scaling": ("vmf_embeddings.methods.feature_scaling.",),
    "dataset": ("vmf_embeddings.datasets.",),
    "sampler": ("vmf_embeddings.samplers.",),
    "optimizer": (
        "vmf_embeddings.training.optimizers.",
        "torch.optim.",
    ),
    "schedule": ("vmf_embeddings.training.schedules.",),
}
FORBIDDEN = ("vmf_embeddings.datasets.prepare.",)
EXTENDED_BY = "VMF_ALLOW_TARGETS"


def check_target(group: str, target: str) -> None:
    """Refuses a `_target_` that is not on the list, or that is on it in name only.

    Args:
        group: config group, a key of `ALLOWED`.
        target: dotted name.

    Raises:
        Refused: naming the target and how a user who trusts it can allow it.
    """
    extra = tuple(filter(None, os.environ.get(EXTENDED_BY, "").split(",")))
    allowed = ALLOWED[group] + extra

    def listed(name: str) -> bool:
        return name.startswith(allowed) and not name.startswith(FORBIDDEN)

    name = target
    if listed(target):
        thing = resolve(target)
        name = f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', '?')}"
    if not listed(name):
        raise Refused(
            f"{group}: _target_ {target!r} may not be built (it is {name!r}); allowed is what "
            f"begins with {' or '.join(allowed)}. If you trust it, put {EXTENDED_BY}={target} "
            "into the environment."
        )


def resolve(target: str) -> Any:
    """The object that a dotted name stands for."""
    parts = target.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if not ".".join(parts).startswith(error.name or "?"):
                raise
            continue
        try:
            for part in parts[n:]:
                thing = getattr(thing, part)
        except AttributeError:
            break
        return thing
    raise Refused(f"_target_ {target!r} does not exist")


def instantiate(group: str, node: DictConfig, **runtime: Any) -> Any:
    """Builds the object of a config group.

    Args:
        group: config group, a key of `ALLOWED`.
        node: `{name, params: {_target_, …}}`, or flat `{name, _target_, …}`.
        **runtime: arguments that no configuration can hold; they stand in for keys of their name.

    Returns:
        What the target returns.
    """
    import hydra.utils

    params = node.get("params", node)
    if not isinstance(params, DictConfig):
        raise Refused(f"{group}.params: expected keys and their values, got {params!r}")
    if "target" in node or "_target_" not in params:
        raise Refused(
            f"{group}: no _target_ in its params. Configurations of 2021 said `target: …` beside "
            "params; today it is `params: {_target_: vmf_embeddings.…, …}`."
        )
    for target in _targets(params):
        check_target(group, target)
    given = {*runtime, *(("name",) if params is node else ())}
    values = {key: params[key] for key in params if key not in given}
    return hydra.utils.instantiate(values, _convert_="all", **runtime)


def _targets(node: DictConfig | ListConfig) -> Iterator[str]:
    """Every `_target_` in a node, however deep."""
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        value = node[key]
        if isinstance(value, DictConfig | ListConfig):
            yield from _targets(value)
        elif key == "_target_":
            yield str(value)
