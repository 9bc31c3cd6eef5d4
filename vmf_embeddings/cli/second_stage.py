"""Second stages: a new or rescaled head on the frozen backbone of a trained run.

Kang et al. 2020, "Decoupling Representation and Classifier", https://arxiv.org/abs/1910.09217.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from vmf_embeddings.cli import assembly, overrides, trained_run
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.trained_run import TrainedRun
from vmf_embeddings.heads.base import Head
from vmf_embeddings.heads.posthoc import max_norm_projected, norm_limit, tau_normalized
from vmf_embeddings.training.posthoc import PosthocJob, TrainEmbeddings, Variant
from vmf_embeddings.typed import hydra_text
from vmf_embeddings.untrusted.files import refuse_links

if TYPE_CHECKING:
    from vmf_embeddings.methods.base import Method
    from vmf_embeddings.training.job import TrainingJob

log = logging.getLogger(__name__)

# groups that come from the command of the second stage; arch and dataset come from the run
OVERRIDABLE_GROUPS = ("method", "head", "loss", "feature_scaling")
# arch.params that concern the head or the first weights: not the run's, but these unless typed
ARCH_DEFAULTS = {"use_vmf": None, "learn_temp": False, "pretrained": False, "weights": None}
FREEZE_BN = ("frozen", "reference")
WEIGHTS = ("fresh", "run")
# keys that the second command of `stages=` takes from the first
SHARED = ("trainer", "logger", "num_workers", "search", "resume", "random_seed")

# from `cfg.mode`, the new head, and a function that gives the run's linear head, to variants
MakeVariants = Callable[[DictConfig, Head, Callable[[], Head]], list[Variant]]


def composed(cfg: DictConfig, run_dir: Path) -> DictConfig:
    """The configuration of the second command of `stages=`, as if typed after the first ended.

    Args:
        cfg: configuration of the first command; `stages.second` holds the overrides of the second.
        run_dir: folder of the first.

    Raises:
        Refused: the first command does not train, the second does not compose, has a value out of
            range, is no second stage, or its folder is a symbolic link.
    """
    if cfg.mode.name != "train":
        raise Refused(f"stages={cfg.stages.name} trains: leave out mode={cfg.mode.name}")
    typed = [*overrides.quoted(list(cfg.stages.second)), f"run={hydra_text(str(run_dir))}"]
    try:
        second = overrides.composed(typed)
    except (HydraException, OmegaConfBaseException) as error:
        raise Refused(f"stages.second: {overrides.explain(error, typed)}") from error
    overrides.check_value_types(second, typed)
    if "stage" not in second.mode:
        raise Refused(
            "stages.second: expected the overrides of a second stage, such as mode=finetune, got "
            f"{list(cfg.stages.second)}"
        )
    refuse_links(run_dir, str(second.mode.stage))
    with open_dict(second):
        del second["hydra"]
        for key in SHARED:
            second[key] = cfg[key]
        second.mode.select = cfg.mode.select
        second.stages = cfg.stages  # both stages get another folder by the first one's name
    assembly.check_options(second)
    return second


def finetuning_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> "TrainingJob":
    """Builds the job that trains a head on the frozen backbone of the run `cfg.run`.

    Args:
        cfg: composed configuration, with a second stage as its mode.
        run_dir: the second stage's own folder.
        overrides: the command's overrides as typed; they must not contradict the run's arch and
            data set.

    Raises:
        Refused: no run is named, it was trained on other images, or a value is out of range.
    """
    for key, known in (("freeze_bn", FREEZE_BN), ("weights", WEIGHTS)):
        if cfg.mode[key] not in known:
            raise Refused(f"mode.{key} is one of {', '.join(known)}; got {cfg.mode[key]!r}")
    run = _run_of(cfg, overrides)
    job, first = _job_on_backbone(cfg, run, run_dir, overrides)
    if job.state is None and cfg.mode.weights == "run":
        job.method.classifier.copy_weights_from(_linear_head(first, run))
    job.method.freeze_backbone(statistics=cfg.mode.freeze_bn == "frozen")
    log.info(
        "Second stage on epoch %d of %s: backbone frozen, its batch statistics %s, head=%s with "
        "%s weights, %d numbers to learn, in %s",
        *(run.checkpoint["epoch"], run.folder),
        "too" if cfg.mode.freeze_bn == "frozen" else "not",
        *(cfg.head.name, "fresh" if cfg.mode.weights == "fresh" else "the run's"),
        sum(p.numel() for p in job.method.parameters() if p.requires_grad),
        run_dir,
    )
    return job


def posthoc_job(
    cfg: DictConfig, run_dir: Path, overrides: list[str], make_variants: MakeVariants
) -> PosthocJob:
    """Builds the job that sets a head on the run `cfg.run` without training.

    Args:
        cfg: see `finetuning_job`.
        run_dir: see `finetuning_job`.
        overrides: see `finetuning_job`.
        make_variants: builds the variants to choose from.

    Raises:
        Refused: see `finetuning_job`; or there are no variants.
    """
    run = _run_of(cfg, overrides)
    job, first = _job_on_backbone(cfg, run, run_dir, overrides)
    log.info("Second stage %s on epoch %d of %s", cfg.mode.name, run.checkpoint["epoch"], cfg.run)
    with assembly.refusals():
        variants = make_variants(cfg.mode, job.method.classifier, lambda: _linear_head(first, run))
    return _posthoc_job(job, variants, run_dir)


def tau_norms(mode: DictConfig, head: Head, linear_head: Callable[[], Head]) -> list[Variant]:
    """Variants w_c / |w_c|^tau of the run's class weights, for tau in `mode.values`."""
    first = linear_head()

    def maps(tau: float) -> Tensor:
        return tau_normalized(first.weight, tau)

    return [_rescaled(f"tau={t:g}", head, first, maps, t, mode.keep_bias) for t in mode["values"]]


def maximal_norms(mode: DictConfig, head: Head, linear_head: Callable[[], Head]) -> list[Variant]:
    """Variants of the run's class weights with a maximal norm.

    The maximal norm is at a fraction t of the range of their norms, for t in `mode.values`.
    """
    first = linear_head()

    def maps(fraction: float) -> Tensor:
        return max_norm_projected(first.weight, norm_limit(first.weight, fraction))

    return [_rescaled(f"t={t:g}", head, first, maps, t, mode.keep_bias) for t in mode["values"]]


def class_means(mode: DictConfig, head: Head, linear_head: Callable[[], Head]) -> list[Variant]:
    """One variant: class weights are the means of the training embeddings."""
    return [_fitted("class means", head)]


def class_densities(mode: DictConfig, head: Head, linear_head: Callable[[], Head]) -> list[Variant]:
    """One variant: von Mises-Fisher densities of the classes' training embeddings."""
    return [_fitted("class densities", head)]


def _fitted(name: str, head: Head) -> Variant:
    """The variant of a head that is fitted to the training embeddings."""

    def fit(train_embeddings: TrainEmbeddings) -> None:
        head.fit(*train_embeddings())

    return Variant(name, fit)


def adjusted_logits(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> PosthocJob:
    """Builds the job that chooses tau of post-hoc logit adjustment for the head of `cfg.run`.

    Args:
        cfg: see `finetuning_job`.
        run_dir: see `finetuning_job`.
        overrides: see `finetuning_job`.

    Raises:
        Refused: see `finetuning_job`; or the run has no head that can be kept.
    """
    typed = sorted({_group_of(o) for o in overrides} & set(OVERRIDABLE_GROUPS))
    if typed:
        raise Refused(f"mode={cfg.mode.name} keeps the run's head and loss: leave out {typed[0]}")
    run = _run_of(cfg, overrides)
    keeps_head = assembly.takes_head(run.config)
    if keeps_head:  # by the plain classifier, without what was trained beside the head
        with open_dict(cfg):
            for group in ("head", "loss", "feature_scaling"):
                cfg[group] = run.config[group]
    job, first = _job_on_backbone(cfg, run, run_dir, overrides)
    if keeps_head:
        known = job.method.state_dict()
        job.method.load_state_dict({k: v for k, v in first.state_dict().items() if k in known})
    else:
        job.method.classifier.copy_weights_from(_linear_head(first, run, "adjusted"))
    if first.uses_prior:
        log.warning(
            "%s was trained with the log class frequencies in its loss, which removes them from "
            "its logits already: expect tau=0 to be the best",
            run.folder,
        )
    counts = job.dataset.split("train").class_counts
    with assembly.refusals():
        variants = [_adjusted(job.method, float(tau), counts) for tau in cfg.mode["values"]]
    return _posthoc_job(job, variants, run_dir, chosen_by="class_mean")


def _posthoc_job(
    job: "TrainingJob", variants: list[Variant], run_dir: Path, chosen_by: str = "accuracy"
) -> PosthocJob:
    if not variants:
        raise Refused("mode.values: expected at least one number, got []")
    return PosthocJob(
        *(job.method, job.dataset, variants, job.settings, run_dir, job.config), chosen_by
    )


def _adjusted(method: "Method", tau: float, class_counts: Tensor) -> Variant:
    """The variant whose predictions are adjusted with `tau`; of equal ones that nearest to 1."""
    method.set_posthoc_tau(tau, class_counts)  # raises for a value out of range before work starts

    def adjust(_: TrainEmbeddings) -> None:
        method.set_posthoc_tau(tau, class_counts)

    options = {"method.params.posthoc_tau": tau}
    return Variant(f"tau={tau:g}", adjust, options, preference=-abs(tau - 1))


def _rescaled(
    name: str,
    head: Head,
    first: Head,
    maps: Callable[[float], Tensor],
    value: float,
    keep_bias: bool,
) -> Variant:
    """The variant of `head` with class weights `maps(value)`, and the bias of `first` or 0."""
    maps(value)  # raises for a value out of range before work starts

    def rescale(_: TrainEmbeddings) -> None:
        head.copy_weights_from(first)
        head.weight.copy_(maps(value))
        if head.bias is not None and not keep_bias:
            head.bias.zero_()

    return Variant(name, rescale)


def _job_on_backbone(
    cfg: DictConfig, run: TrainedRun, run_dir: Path, overrides: list[str]
) -> tuple["TrainingJob", "Method"]:
    """A training job whose method has the backbone weights of a run, and the run's own method.

    The configuration in the job's checkpoints names the run.
    """
    job = assembly.training_job(_configuration(cfg, run, overrides), run_dir)
    trained_run.refuse_other_images(run, job.dataset, "the run")
    first = run.method(job.dataset)
    job.method.arch.load_state_dict(first.arch.state_dict())
    return dataclasses.replace(job, config=job.config | {"run": str(run.folder)}), first


def _linear_head(first: "Method", run: TrainedRun, wanted: str = "rescaled") -> Head:
    """The linear head of a run's method.

    Raises:
        Refused: it has none.
    """
    head = first.linear_head
    if head is None:
        has = f"method={run.config.method.name}, head={run.config.head.name}"
        plain = "method=classifier head=linear"
        if run.config.head.get("params", {}).get("normalizer"):
            has += ", head.params.normalizer=true"
            plain += " head.params.normalizer=false"
        raise Refused(
            f"{run.folder} has no linear classifier whose class weights could be {wanted} ({has}): "
            f"use a run with {plain} or method=fsgl, or a second stage with a head of its own "
            "(mode=crt)"
        )
    return head


def _run_of(cfg: DictConfig, overrides: list[str]) -> TrainedRun:
    """The run `cfg.run`; of the overrides, those of its arch and data set must agree with it."""
    folder = trained_run.named_folder(cfg)
    about_run = [o for o in overrides if _group_of(o) not in OVERRIDABLE_GROUPS]
    own_keys = tuple(f"arch.params.{key}" for key in ARCH_DEFAULTS)
    return TrainedRun(cfg, folder, [o for o in about_run if not o.startswith(own_keys)])


def _group_of(override: str) -> str:
    return override.split("=")[0].lstrip("+~").split(".")[0]


def _configuration(cfg: DictConfig, run: TrainedRun, overrides: list[str]) -> DictConfig:
    """The run's arch and data set; head, loss, sampler, optimizer and mode of the command."""
    typed = {override.split("=")[0] for override in overrides}
    empty = {key: None for key in OVERRIDABLE_GROUPS}
    own = OmegaConf.merge(run.config, empty, {key: cfg[key] for key in OVERRIDABLE_GROUPS})
    with open_dict(own):
        own.run = None
        if "random_seed" in typed:
            own.random_seed = cfg.random_seed
        for key, default in ARCH_DEFAULTS.items():
            if key in own.arch.params:
                is_typed = f"arch.params.{key}" in typed
                own.arch.params[key] = cfg.arch.params[key] if is_typed else default
        if "views" in own.dataset.params:
            own.dataset.params.views = 1
    return own
