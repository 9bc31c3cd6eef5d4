"""Builds the data set, and the method with its backbone and the number of its classes."""

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from vmf_embeddings.catalogue import wrapped_keys
from vmf_embeddings.cli.assembly.addresses import refuse_addresses_not_typed
from vmf_embeddings.cli.assembly.construct import instantiate
from vmf_embeddings.cli.assembly.inputs import standardize, try_one_example
from vmf_embeddings.cli.assembly.refused import Refused
from vmf_embeddings.cli.assembly.targets import checked_option

if TYPE_CHECKING:
    from vmf_embeddings.archs.base import Arch
    from vmf_embeddings.datasets.base import Dataset
    from vmf_embeddings.methods.base import Method

# groups that are used together -> the simplest method that uses them
USED_BY = {("head", "loss"): "classifier", ("criterion", "miner"): "dml"}


def dataset(cfg: DictConfig) -> "Dataset":
    """The data set of a configuration; its files were checked to exist.

    Raises:
        FileNotFoundError: a file is missing.
        Refused: a value is out of range, or a remote address was not typed in the command.
    """
    refuse_addresses_not_typed(cfg)
    data = instantiate("dataset", cfg.dataset)
    data.check()
    return data


def method(cfg: DictConfig, data: "Dataset | None", *, pretrained: bool) -> "Method":
    """The method of a configuration, with its backbone.

    Args:
        cfg: composed configuration.
        data: determines the number of classes if `arch.params.n_classes` is null.
        pretrained: whether to load the weights that `arch.params` names; False if those of a
            checkpoint are loaded afterwards.

    Raises:
        Refused: the network cannot take the images of the data set, has too few classes, or a part
            refuses a value.
    """
    arch = instantiate("arch", cfg.arch)
    if data is not None:
        _fill_in_classes(arch, data, str(cfg.dataset.name))
        try_one_example(arch, data, cfg)
    if pretrained:
        arch.load_pretrained()
        if data is not None and data.standardize:
            standardize(arch, data, str(cfg.arch.name))
    built = method_on(cfg, arch)
    if data is not None:
        built.configure(
            margin_warmup_epochs=data.margin_warmup_epochs, n_epochs=cfg.mode.get("epochs")
        )
        if built.feature_scaling is not None:
            built.feature_scaling.prepare(data.split("train").class_counts)
    return built


def method_on(cfg: DictConfig, arch: "Arch") -> "Method":
    """The method of a configuration on a backbone whose `class_spec` has the number of classes."""
    built = _method_of(cfg.method, cfg, arch)
    built.feature_scaling = instantiate("feature_scaling", cfg.feature_scaling)
    return built


def _method_of(node: DictConfig, cfg: DictConfig, arch: "Arch") -> "Method":
    """The method of a node on `arch`; one that it wraps is built on what it says."""
    params = node.get("params", node)
    runtime: dict[str, Any] = {"arch": arch}
    for key in wrapped_keys(params):
        runtime[key] = functools.partial(_method_of, params[key], cfg)
    for group in _parts(node):
        runtime[group] = instantiate(group, cfg[group], _partial_=group == "head")
    return instantiate("method", node, **runtime)


def _parts(node: DictConfig) -> tuple[str, ...]:
    """The groups whose objects the constructor of the method takes; () without a `_target_`."""
    params = node.get("params", node)
    target = params.get("_target_")
    return () if target is None else checked_option("method", target).parts(params)


def takes_head(cfg: DictConfig) -> bool:
    """Whether the method itself, not one that it wraps, trains the head of the group `head`."""
    return "head" in _parts(cfg.method)


def groups_read(cfg: DictConfig) -> list[str]:
    """The groups, such as head and loss, that the method uses; of the one that it wraps, if any."""
    return list(_parts(_innermost(cfg.method)))


def resolve_use_vmf(cfg: DictConfig) -> None:
    """Replaces `arch.params.use_vmf=null` by what the method needs, so that records state it."""
    params = _innermost(cfg.method).get("params", {})
    if "_target_" in params and cfg.arch.get("params", {}).get("use_vmf", False) is None:
        cfg.arch.params.use_vmf = checked_option("method", params["_target_"]).uses_vmf


def _innermost(node: DictConfig) -> DictConfig:
    """The node of a method, or of the one that it wraps."""
    params = node.get("params", node)
    for key in wrapped_keys(params):
        return _innermost(params[key])
    return node


def refuse_unread_groups(cfg: DictConfig) -> None:
    """Refuses overrides of groups that the method does not use.

    Raises:
        Refused: names a method that uses them.
    """
    read = groups_read(cfg)
    for groups, reader in USED_BY.items():
        for group in _named(*(g for g in groups if g not in read)):
            own = checked_option("method", _innermost(cfg.method).params["_target_"]).instead_of
            instead = f", or {own[group]}" if group in own else ""
            raise Refused(
                f"method={cfg.method.name} has an objective of its own and reads no {group}: leave "
                f"{group} out, or use method={reader}, which takes {' and '.join(groups)}{instead}"
            )


def _named(*groups: str) -> list[str]:
    """Those of the groups of which the command line overrides the option or a key."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    keys = {override.split("=", 1)[0].lstrip("+~").split(".")[0] for override in overrides}
    return [group for group in groups if group in keys]


def _fill_in_classes(arch: "Arch", data: "Dataset", name: str) -> None:
    """Sets the number of classes where it is null.

    Raises:
        Refused: it is less than that of the training split.
    """
    n_train, n_classes = data.split("train").n_classes, arch.class_spec.n_classes
    if n_classes is None:
        arch.class_spec = replace(arch.class_spec, n_classes=n_train)
    elif type(n_classes) is not int:  # of a stored configuration; those typed are checked
        raise Refused(f"arch.params.n_classes expects a whole number or null, got {n_classes!r}")
    elif n_classes < n_train:
        raise Refused(
            f"arch.params.n_classes={arch.class_spec.n_classes}, but dataset={name} has {n_train} "
            f"training classes; use arch.params.n_classes={n_train}, or null for that of the "
            "data set"
        )
