"""The allow-list of classes that a configuration may build, and their import by dotted name."""

import importlib
import os
from types import FunctionType
from typing import Any

from vmf_embeddings.cli.assembly.refused import Refused
from vmf_embeddings.untrusted.import_path import look_there_last
from vmf_embeddings.untrusted.text import printable

# group -> prefixes of the classes that it may build
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
# functions that may be called too; others with these prefixes may do more than build an object
FUNCTIONS = (
    "vmf_embeddings.methods.feature_scaling.unscaled",
    "vmf_embeddings.miners.base.no_miner",
    "vmf_embeddings.training.optimizers.sgd",
    "vmf_embeddings.training.optimizers.sharpness_aware",
)
# group -> the class that an option itself builds; its arguments may be others of the same prefix
BASES = {
    "arch": "vmf_embeddings.archs.base.Arch",
    "method": "vmf_embeddings.methods.base.Method",
    "head": "vmf_embeddings.heads.base.Head",
    "loss": "vmf_embeddings.losses.base.Loss",
    "criterion": "vmf_embeddings.criteria.base.Criterion",
    "miner": "vmf_embeddings.miners.base.Miner",
    "dataset": "vmf_embeddings.datasets.base.Dataset",
    "sampler": "vmf_embeddings.samplers.base.BatchSampler",
    "schedule": "vmf_embeddings.training.schedules.Schedule",
}
FORBIDDEN = ("vmf_embeddings.datasets.prepare.",)
EXTENDED_BY = "VMF_ALLOW_TARGETS"
# read once, at import: later, a received file might have changed the environment
BY_USER = tuple(filter(None, map(str.strip, os.environ.get(EXTENDED_BY, "").split(","))))


def checked_target(group: str, target: object) -> Any:
    """Imports the class or function of a `_target_`, if a configuration may build it.

    Args:
        group: config group, a key of `ALLOWED`.
        target: dotted name.

    Returns:
        The class or function itself, since importing its name again could find something else.

    Raises:
        Refused: the name is not on the list, or what it refers to is defined elsewhere; says how a
            user who trusts it can allow it.
    """
    if not isinstance(target, str):
        raise Refused(f"{group}: _target_ must be a dotted name, got {repr(target)[:80]}")
    name = target
    if _listed(group, target) and not _is_private(target):
        thing = resolve(target)
        name = f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', '?')}"
        if target in BY_USER or (_listed(group, name) and _builds_an_object(thing, name)):
            return thing
    actual = "" if name == target else f" (it is {printable(repr(name)[:200])})"
    allowed = [f"{one}*" if one.endswith(".") else one for one in ALLOWED[group] + BY_USER]
    raise Refused(
        f"{group}: _target_ {printable(repr(target)[:200])} may not be built{actual}; allowed are "
        f"{' and '.join(allowed)}. If you trust it, put "
        f"{EXTENDED_BY}={printable(target[:200])} into the environment."
    )


def checked_option(group: str, target: object) -> Any:
    """As `checked_target`, for the `_target_` of an option itself, which has one kind.

    Raises:
        Refused: also where it is a class of another kind; one that the user allowed may be any.
    """
    thing = checked_target(group, target)
    base = BASES.get(group)
    own = isinstance(thing, type) and thing.__module__.startswith("vmf_embeddings.")
    if own and base is not None and not issubclass(thing, resolve(base)):
        raise Refused(
            f"{group}: _target_ {target} is no {base.rpartition('.')[2]}; an option of {group} "
            f"builds a class derived from {base}"
        )
    return thing


def _by_user(name: str) -> bool:
    """Whether `VMF_ALLOW_TARGETS` contains the name, or that of a module or class around it."""
    return any(name == one or name.startswith(f"{one.rstrip('.')}.") for one in BY_USER)


def _listed(group: str, name: str) -> bool:
    ours = name.startswith(ALLOWED[group]) and not name.startswith(FORBIDDEN)
    return ours or _by_user(name)


def _is_private(target: str) -> bool:
    """Whether a part of a name that no user allowed is private, as in `__init__.__globals__`."""
    parts = target.split(".")
    return target not in BY_USER and any(part.startswith("_") for part in parts)


def _builds_an_object(thing: object, name: str) -> bool:
    if isinstance(thing, FunctionType):
        return name in FUNCTIONS or _by_user(name)
    if not isinstance(thing, type):
        return False
    if name.startswith("torch.optim."):
        import torch

        return issubclass(thing, torch.optim.Optimizer)
    return True


def resolve(target: str) -> Any:
    """Imports the object with a dotted name.

    Raises:
        Refused: it is no dotted name, or there is no such object.
    """
    parts = target.split(".")
    if not all(part.isidentifier() for part in parts):
        raise Refused(f"_target_ {printable(repr(target)[:200])} is no dotted name")
    if _by_user(target):
        look_there_last()
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
