"""From configuration nodes to objects, behind a list of what a configuration may build."""

import contextlib
import functools
import hashlib
import importlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

if TYPE_CHECKING:
    from vmf_embeddings.archs.base import Arch
    from vmf_embeddings.datasets.base import Dataset
    from vmf_embeddings.methods.base import Method

log = logging.getLogger(__name__)

# what each group may build: our own room, and a few names of libraries
ALLOWED = {
    "arch": ("vmf_embeddings.archs.",),
    "method": ("vmf_embeddings.methods.",),
    "head": ("vmf_embeddings.heads.",),
    "loss": ("vmf_embeddings.losses.",),
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
LONGEST_FOLDER = 120


class Refused(ValueError):
    """A user's mistake, found before work started."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turns errors of building, such as a wrong value or a missing file, into `Refused`."""
    from hydra.errors import InstantiationException

    try:
        yield
    except Refused:
        raise
    except InstantiationException as error:
        raise Refused(str(error.__cause__ or error)) from error
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise Refused(str(error)) from error


def register_resolvers() -> None:
    """Registers what `conf/config.yaml` uses to name folders."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)


def run_folder(run: str | None, usual: str, stage: str | None = None) -> str:
    """Where a command works: in its `usual` folder, in that of `run`, or in the run's `stage`.

    >>> run_folder(None, "runs/a"), run_folder("runs/b", "runs/a"), run_folder("b", "a", "crt")
    ('runs/a', 'runs/b', 'b/crt')
    """
    return usual if not run else f"{run}/{stage}" if stage else run


def sweep_folder(overrides: str, run: str | None = None, stage: str | None = None) -> str:
    """A folder name for one job of a sweep: its overrides, shortened with a hash where needed.

    Jobs that extract from the folder `run` work in it; those of a second stage differ.

    >>> sweep_folder("mode.learning_rate=0.1,random_seed=2")
    'mode.learning_rate=0.1,random_seed=2'
    >>> sweep_folder("arch.params.weights=a/b")
    'arch.params.weights=a_b~23e26aa3'
    """
    if run and not stage:
        return "."
    safe = re.sub(r"[^A-Za-z0-9_.=,+@~-]", "_", overrides)
    if safe == overrides and len(safe) <= LONGEST_FOLDER:
        return safe or "defaults"
    return f"{safe[:LONGEST_FOLDER]}~{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


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
        thing = _resolve(target)
        name = f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', '?')}"
    if not listed(name):
        raise Refused(
            f"{group}: _target_ {target!r} may not be built (it is {name!r}); allowed is what "
            f"begins with {' or '.join(allowed)}. If you trust it, put {EXTENDED_BY}={target} "
            "into the environment."
        )


def _resolve(target: str) -> Any:
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


def dataset(cfg: DictConfig) -> "Dataset":
    """The data set that `cfg` names, checked to be there."""
    data = instantiate("dataset", cfg.dataset)
    data.check()
    return data


def method(cfg: DictConfig, data: "Dataset | None", *, pretrained: bool) -> "Method":
    """The arch that `cfg` names inside the method that it names.

    Args:
        cfg: composed configuration.
        data: data set that says how many classes there are where `arch.params.n_classes` does not.
        pretrained: whether to load the weights that `arch.params` asks for; False where a
            checkpoint follows.
    """
    arch = instantiate("arch", cfg.arch)
    if data is not None:
        _fill_in_classes(arch, data, str(cfg.dataset.name))
        _try_one_image(arch, data, cfg)
    if pretrained:
        arch.load_pretrained()
    built = _method_of(cfg.method, cfg, arch)
    built.feature_scaling = instantiate("feature_scaling", cfg.feature_scaling)
    if data is not None:
        built.configure(
            margin_warmup_epochs=data.margin_warmup_epochs, n_epochs=cfg.mode.get("epochs")
        )
        if built.feature_scaling is not None:
            built.feature_scaling.prepare(data.split("train").class_counts)
    return built


def _method_of(node: DictConfig, cfg: DictConfig, arch: "Arch") -> "Method":
    """The method of a node around `arch`; a student among its knobs is made around the same one."""
    params = node.get("params", node)
    if "student" in params:
        student = functools.partial(_method_of, params.student, cfg)
        return instantiate("method", node, arch=arch, student=student)
    if not _takes_head_and_loss(node):
        return instantiate("method", node, arch=arch)
    head, loss = instantiate("head", cfg.head, _partial_=True), instantiate("loss", cfg.loss)
    return instantiate("method", node, arch=arch, head=head, loss=loss)


def _takes_head_and_loss(node: DictConfig) -> bool:
    """Whether a method, or the student among its knobs, takes what head= and loss= make."""
    params = node.get("params", node)
    if "student" in params:
        return _takes_head_and_loss(params.student)
    target = str(params.get("_target_", ""))
    if target:
        check_target("method", target)
    return bool(target) and getattr(_resolve(target), "wants_head_and_loss", False)


def _refuse_unread_groups(cfg: DictConfig) -> None:
    """Refuses a head or a loss that the command names beside a method that reads neither."""
    if _takes_head_and_loss(cfg.method):
        return
    for group in _named("head", "loss"):
        raise Refused(
            f"method={cfg.method.name} has a head and a loss of its own and reads no {group}: "
            f"leave {group} out, or say method=classifier, which takes both"
        )


def _named(*groups: str) -> list[str]:
    """Which of the groups the command line names, by option or by a key."""
    from hydra.core.hydra_config import HydraConfig

    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    keys = {override.split("=", 1)[0].lstrip("+~").split(".")[0] for override in overrides}
    return [group for group in groups if group in keys]


def refuse_second_stages(built: "Method") -> None:
    """Refuses to train from nothing what belongs to the second stage of a trained run."""
    if built.second_stage is not None:
        raise Refused(
            f"this head needs the features or the classifier of a trained run: train with another "
            f"head, then say mode={built.second_stage} run=RUN_FOLDER"
        )


def warn_of_contradictions(built: "Method", sampler: Any) -> None:
    """Says in the log where two choices undo or repeat each other."""
    if built.uses_prior and getattr(sampler, "balances", False):
        log.warning(
            "the loss adds the log frequency of the classes, and the sampler draws classes alike: "
            "the frequent ones are held back twice, and the rare ones will be predicted too "
            "often. Use one of them: a loss without a prior such as loss=ce, or sampler=random"
        )
    if built.feature_scaling is not None and not built.reads_length:
        log.warning(
            "feature_scaling changes nothing here: the logits are cosines, which do not hang on "
            "the length of an embedding. Use head=linear, or leave feature_scaling out"
        )


def refuse_other_batches(built: "Method", sampler: Any, data: "Dataset") -> None:
    """Refuses batches whose form the method does not take.

    Raises:
        Refused: with the words to type.
    """
    missing = []
    if built.wants_pairs and not sampler.pairs:
        missing.append("sampler=paired")
    if built.views != data.views:
        missing.append(f"dataset.params.views={built.views}")
    if missing:
        partners = " and pairs of images" if built.wants_pairs else ""
        raise Refused(
            f"method={built.name} trains on {built.views} view{'s' * (built.views > 1)} of every "
            f"image{partners}; add {' '.join(missing)} to the command"
        )


def _fill_in_classes(arch: "Arch", data: "Dataset", name: str) -> None:
    n_train = data.split("train").n_classes
    if arch.head.n_classes is None:
        arch.head = replace(arch.head, n_classes=n_train)
    elif arch.head.n_classes < n_train:
        raise Refused(
            f"arch.params.n_classes={arch.head.n_classes}, but dataset={name} has {n_train} "
            f"training classes; say arch.params.n_classes={n_train}, or null to let the data "
            "set say"
        )


def _try_one_image(arch: "Arch", data: "Dataset", cfg: DictConfig) -> None:
    """Refuses a network that cannot take the data set's images, before anything is read."""
    import torch

    try:
        with torch.no_grad():
            arch.eval()(torch.zeros(1, *data.image_shape))
    except (RuntimeError, ValueError) as error:
        raise Refused(
            f"arch={cfg.arch.name} cannot take the images {tuple(data.image_shape)} (channels, "
            f"height, width) of dataset={cfg.dataset.name}: {error}. Networks of the resnet family "
            "take gray images with arch.params.in_channels=1, any size with dataset.params."
            "image_size; n_digit_mnist takes gray 28 x 28 images with arch.params.n_digits=1"
        ) from error
    arch.train()


def training_job(cfg: DictConfig, run_dir: Path) -> dict[str, Any]:
    """Everything that `training.fit.fit` needs, built and checked."""
    import torch

    from vmf_embeddings import trained
    from vmf_embeddings.training.checkpoint import last_state
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.training.settings import Settings

    plain = OmegaConf.to_container(cfg, resolve=True)
    if cfg.run is not None:
        raise Refused(
            f"run={cfg.run} names a run to extract from: add mode=get_embeddings. Training names "
            "its folder by name=…"
        )
    settings = Settings.from_config(plain)
    seed_everything(cfg.random_seed)
    data = dataset(cfg)
    labels = data.split("train").labels
    data.split(settings.select)  # refuses now where the data set has no such split
    sampler = instantiate("sampler", cfg.sampler, labels=labels, seed=cfg.random_seed)
    make_optimizer: Callable[[list[dict]], Any] = instantiate(
        "optimizer", cfg.optimizer, _partial_=True
    )
    make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])  # refuses wrong values now
    schedule = instantiate("schedule", cfg.schedule)
    state = None
    if settings.resume == "auto":
        identity = data.split("train").identity
        state = last_state(run_dir, plain, identity, same_length=schedule.needs_length)
    _refuse_unread_groups(cfg)
    built = method(cfg, data, pretrained=state is None)
    trained.give_teacher(built, cfg, data)
    refuse_other_batches(built, sampler, data)
    warn_of_contradictions(built, sampler)
    return {
        "method": built,
        "dataset": data,
        "sampler": sampler,
        "make_optimizer": make_optimizer,
        "schedule": schedule,
        "settings": settings,
        "run_dir": run_dir,
        "config": plain,
        "state": state,
    }


def refuse_what_cannot_learn(job: dict[str, Any]) -> None:
    """Refuses a training job whose sampler learns where nothing teaches it."""
    import torch

    from vmf_embeddings.training.meta_step import refuse_what_cannot_be_judged

    if job["sampler"].learns:
        any_optimizer = job["make_optimizer"]([{"params": [torch.zeros(1, requires_grad=True)]}])
        refuse_what_cannot_be_judged(job["method"], any_optimizer)


def runs_below(folder: Path) -> list[Path]:
    """The trained runs that a folder stands for: itself, or where it is a sweep's, its jobs."""
    if any(folder.glob("model*.pt")):
        return [folder]
    jobs = sorted({path.parent for path in folder.rglob("model*.pt")})
    return jobs or [folder]


def extraction_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> dict[str, Any]:
    """Everything that `extract.extract` needs, built from the run's own configuration."""
    from vmf_embeddings.run_config import configuration_of_run
    from vmf_embeddings.training.checkpoint import load_best
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.training.speed import Speed

    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    speed = Speed.from_config(trainer | {"precision": "no"})  # embeddings are written in float32
    checkpoint = load_best(run_dir)
    trained = configuration_of_run(cfg, run_dir, checkpoint, overrides)
    seed_everything(trained.random_seed)
    data = dataset(trained)
    built = method(trained, data, pretrained=False)
    splits = ("train", "valid", "test") if cfg.split == "all" else (cfg.split,)
    known = {"train", "valid", "test"}
    if not set(splits) <= known:
        raise Refused(f"split={cfg.split}: expected test, valid, train or all")
    return {
        "method": built,
        "dataset": data,
        "checkpoint": checkpoint,
        "splits": splits,
        "run_dir": run_dir,
        "method_name": str(trained.method.name),
        "seed": int(trained.random_seed),
        "batch_size": int(cfg.mode.batch_size),
        "num_workers": int(cfg.num_workers),
        "speed": speed,
    }
