"""A trained method from its checkpoint alone, without its data set: what `vmf.load` reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from vmf_embeddings.cli import overrides as command_line
from vmf_embeddings.cli.assembly import Refused, instantiate, refusals, register_resolvers
from vmf_embeddings.cli.assembly.parts import method_on
from vmf_embeddings.cli.run_config import stored_configuration
from vmf_embeddings.cli.stored_sizes import building_from

if TYPE_CHECKING:
    from torch import Tensor

    from vmf_embeddings.methods.base import Method


@dataclass(frozen=True)
class LoadedRun:
    """What a checkpoint holds, built.

    Attributes:
        method: with the checkpoint's weights, on the CPU.
        folder: of the run, or the bundle.
        config: its configuration as plain values.
        metrics: epoch, training loss and validation metric of the checkpoint.
        class_names: of classes 0, 1, …, or None.
        transform: from one image to the network's input, or None.
    """

    method: "Method"
    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    class_names: list[str] | None
    transform: "Callable[[Any], Tensor] | None"


def load_run(
    path: Path, *, overrides: Sequence[str] = (), n_classes: int | None = None
) -> LoadedRun:
    """Builds the method of a run and gives it the weights of its best checkpoint.

    Args:
        path: a run's folder, a checkpoint, or a bundle.
        overrides: command line of the training, for checkpoints that state no configuration.
        n_classes: C, where the weights do not tell.

    Raises:
        FileNotFoundError: there is no such folder or file, or no checkpoint in it.
        Refused: the checkpoint is none, states no configuration, or does not fit it.
    """
    folder, checkpoint, source = _checkpoint(path)
    with refusals():
        cfg = _configuration(folder, checkpoint, overrides, source)
        with building_from(checkpoint, source):
            method = _method(cfg, checkpoint, n_classes, source)
        return LoadedRun(
            method=method,
            folder=folder,
            config=OmegaConf.to_container(cfg, resolve=True),
            metrics=_metrics(checkpoint),
            class_names=_class_names(checkpoint, method, source),
            transform=_transform(checkpoint, cfg, source),
        )


def _checkpoint(path: Path) -> tuple[Path, dict[str, Any], str]:
    """Folder, best state and name of a run."""
    from vmf_embeddings.library.bundle import ENDING, read_bundle
    from vmf_embeddings.training.checkpoint import load, load_best
    from vmf_embeddings.training.stored_state import checked

    if path.is_dir():
        return path, load_best(path), str(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no run {path}: expected a run's folder, a checkpoint model_*.pt, or a bundle *.zip "
            "that `export` wrote"
        )
    if path.suffix.lower() == ENDING:
        return path, checked(read_bundle(path), str(path)), str(path)
    return path.parent, load(path), str(path)


def _configuration(
    folder: Path, checkpoint: dict[str, Any], overrides: Sequence[str], source: str
) -> DictConfig:
    stored = stored_configuration(folder, checkpoint)
    if stored is not None:
        if overrides:
            raise Refused(f"overrides: {source} states its own configuration; leave them out")
        return OmegaConf.create(stored)
    if not overrides:
        raise Refused(
            f"{source} does not state what was trained, as checkpoints of 2021 that lie in no run "
            "folder: give its command line, as overrides=['method=vmf_softmax', "
            "'arch=n_digit_mnist', 'arch.params.embedding_dim=64']"
        )
    register_resolvers()
    cfg = command_line.composed(command_line.quoted(list(overrides)))
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def _method(
    cfg: DictConfig, checkpoint: dict[str, Any], n_classes: int | None, source: str
) -> "Method":
    from vmf_embeddings.training.stored_state import load_weights

    arch = instantiate("arch", cfg.arch)

    def build(n: int) -> "Method":
        arch.class_spec = replace(arch.class_spec, n_classes=n)
        return method_on(cfg, arch)

    stated = arch.class_spec.n_classes or checkpoint.get("n_classes")
    method = build(n_classes or classes_in_weights(checkpoint, build) or stated or 1)
    load_weights(method, checkpoint, source)
    return method


def classes_in_weights(
    checkpoint: Mapping[str, Any], build: Callable[[int], "Method"]
) -> int | None:
    """The number of classes that a checkpoint's weights were made for.

    The method is built for 2 and for 3 classes. Where a shape differs, it depends on the number of
    classes, by n(C) = n(2) + (C - 2) (n(3) - n(2)).

    Args:
        checkpoint: by today's code, or of 2021.
        build: builds the method for a number of classes.

    Returns:
        C; None where nothing depends on it.
    """
    weights = checkpoint.get("method_state_dict")
    if weights is None:
        name = build(2).arch.reference_class_weights()
        rows = (checkpoint.get("arch_state_dict") or {}).get(name)
        return None if rows is None else len(rows)
    two, three = (build(n).state_dict() for n in (2, 3))
    for name, tensor in two.items():
        # the name until version 1.0
        stored = weights.get(name, weights.get(name.replace("class_parameters.", "head.")))
        shapes = tensor.shape, three[name].shape
        if stored is None or shapes[0] == shapes[1] or stored.ndim != tensor.ndim:
            continue
        axis = next(i for i in range(tensor.ndim) if shapes[0][i] != shapes[1][i])
        at_two, step = shapes[0][axis], shapes[1][axis] - shapes[0][axis]
        return 2 + (stored.shape[axis] - at_two) // step
    return None


def _metrics(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    best = checkpoint.get("best_epoch") or {}
    numbers = {key: value if key == "epoch" else float(value) for key, value in best.items()}
    selected = {"selected_on": checkpoint["selected_on"]} if "selected_on" in checkpoint else {}
    return {"epoch": checkpoint.get("epoch"), **numbers, **selected}


def _class_names(checkpoint: Mapping[str, Any], method: "Method", source: str) -> list[str] | None:
    names = checkpoint.get("class_names")
    classes = method.arch.class_spec.n_classes
    if names is not None and method.has_logits and len(names) > classes:
        raise Refused(f"{source} names {len(names)} classes, its weights are of {classes}")
    return names


def _transform(
    checkpoint: Mapping[str, Any], cfg: DictConfig, source: str
) -> "Callable[[Any], Tensor] | None":
    """The checkpoint's image transform; that of its data set where the checkpoint is older."""
    from vmf_embeddings.datasets.image_transform import ImageTransform

    stored = checkpoint.get("image_transform")
    if stored is not None:
        return ImageTransform.from_meta(stored, f"the image transform in {source}")
    if "image_transform" in checkpoint:  # a data set of somebody's own that states none
        return None
    return instantiate("dataset", cfg.dataset).image_transform
