"""Second stages: from a trained run to a head of its own on the run's frozen backbone.

Kang et al. 2020, "Decoupling Representation and Classifier", https://arxiv.org/abs/1910.09217.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from vmf_embeddings.cli import assembly, overrides, trained_run
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.trained_run import TrainedRun
from vmf_embeddings.geometry import Euclidean
from vmf_embeddings.heads.posthoc import length_limit, shortened, tau_normalized
from vmf_embeddings.training.posthoc import Variant
from vmf_embeddings.untrusted.files import refuse_links

if TYPE_CHECKING:
    from vmf_embeddings.methods.base import Method

log = logging.getLogger(__name__)

# what the second command says and the run does not
OWN = ("method", "head", "loss", "feature_scaling")
# what an arch knows of the head on it, or of weights to begin with: a second stage's own
OF_ARCH = {"use_vmf": None, "learn_temp": False, "pretrained": False, "weights": None}
STATISTICS = ("frozen", "reference")
WEIGHTS = ("fresh", "run")


# what both commands of `stages=` share beside the arch and the data
SHARED = ("trainer", "logger", "num_workers", "search", "resume", "random_seed")


def composed(cfg: DictConfig, run_dir: Path) -> DictConfig:
    """The second command of `stages=`, composed as if typed after the first had ended.

    Args:
        cfg: the first command, with `stages.second`, the overrides of the second.
        run_dir: folder of the first.

    Raises:
        Refused: the first does not train, the second is no second stage, or its folder is a link.
    """
    if cfg.mode.name != "train":
        raise Refused(f"stages={cfg.stages.name} trains: leave out mode={cfg.mode.name}")
    second = overrides.composed([*cfg.stages.second, f"run='{run_dir}'"])
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
    return second


def finetuning_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> dict[str, Any]:
    """Everything that `training.fit.fit` needs to train a head on the run that `cfg.run` names.

    Args:
        cfg: today's composed configuration, with a second stage for its mode.
        run_dir: the second stage's own folder.
        overrides: today's overrides, as typed; they may not contradict the run's arch or data.

    Raises:
        Refused: no run is named, it was trained on other images, or a value is of no use.
    """
    for key, known in (("freeze_bn", STATISTICS), ("weights", WEIGHTS)):
        if cfg.mode[key] not in known:
            raise Refused(f"mode.{key} is one of {', '.join(known)}; got {cfg.mode[key]!r}")
    run = _run_of(cfg, overrides)
    job = assembly.training_job(_configuration(cfg, run, overrides), run_dir)
    first = _on_backbone_of(run, job)
    method = job["method"]
    if job["state"] is None and cfg.mode.weights == "run":
        method.classifier.copy_weights_from(_linear_head(first, run))
    method.freeze_backbone(statistics=cfg.mode.freeze_bn == "frozen")
    log.info(
        "Second stage on epoch %d of %s: backbone frozen, its batch statistics %s, head=%s with "
        "%s weights, %d numbers to learn, in %s",
        *(run.checkpoint["epoch"], run.folder),
        "too" if cfg.mode.freeze_bn == "frozen" else "not",
        *(cfg.head.name, "fresh" if cfg.mode.weights == "fresh" else "the run's"),
        sum(p.numel() for p in method.parameters() if p.requires_grad),
        run_dir,
    )
    return job


def posthoc_job(
    cfg: DictConfig,
    run_dir: Path,
    overrides: list[str],
    variants: Callable[[DictConfig, Any, Any], list[Variant]],
) -> dict[str, Any]:
    """Everything that `training.posthoc.choose` needs to rescale the head of the run `cfg.run`.

    Args:
        cfg: see `finetuning_job`.
        run_dir: see `finetuning_job`.
        overrides: see `finetuning_job`.
        variants: from `cfg.mode`, the head of today and the run's linear one to variants.

    Raises:
        Refused: see `finetuning_job`.
    """
    run = _run_of(cfg, overrides)
    job = assembly.training_job(_configuration(cfg, run, overrides), run_dir)
    first = _on_backbone_of(run, job)
    log.info("Second stage %s on epoch %d of %s", cfg.mode.name, run.checkpoint["epoch"], cfg.run)
    with assembly.refusals():
        found = variants(cfg.mode, job["method"].classifier, lambda: _linear_head(first, run))
    if not found:
        raise Refused("mode.values: expected at least one number, got []")
    taken = ("method", "dataset", "settings", "run_dir", "config")
    return {key: job[key] for key in taken} | {"variants": found}


def tau_norms(mode: DictConfig, head: Any, linear_head: Callable[[], Any]) -> list[Variant]:
    """The run's class weights over their length to powers tau, `mode.values`."""
    weights = linear_head()

    def maps(tau: float) -> Tensor:
        return tau_normalized(weights.weight, tau)

    return [_rescaled(f"tau={t:g}", head, weights, maps, t, mode.keep_bias) for t in mode["values"]]


def maximal_norms(mode: DictConfig, head: Any, linear_head: Callable[[], Any]) -> list[Variant]:
    """The run's class weights, the longest shortened to shares `mode.values` of the range."""
    weights = linear_head()

    def maps(share: float) -> Tensor:
        return shortened(weights.weight, length_limit(weights.weight, share))

    return [_rescaled(f"t={t:g}", head, weights, maps, t, mode.keep_bias) for t in mode["values"]]


def class_means(mode: DictConfig, head: Any, linear_head: Callable[[], Any]) -> list[Variant]:
    """The means of the training embeddings."""
    return [("class means", lambda train: head.fit(*train()))]


def _rescaled(
    label: str,
    head: Any,
    first: Any,
    maps: Callable[[float], Tensor],
    value: float,
    keep_bias: bool,
) -> Variant:
    """The variant of `head` whose class weights are `maps(value)`."""
    maps(value)  # refuses a value out of range before work starts

    def become(_: Any) -> None:
        head.copy_weights_from(first)
        head.weight.copy_(maps(value))
        if head.bias is not None and not keep_bias:
            head.bias.zero_()

    return label, become


def _on_backbone_of(run: TrainedRun, job: dict[str, Any]) -> "Method":
    """Gives a job's method the backbone of a run, and its checkpoints the run's name.

    Returns:
        The run's own method.
    """
    trained_run.refuse_other_images(run, job["dataset"], "the run")
    job["config"]["run"] = str(run.folder)
    first = run.method(job["dataset"])
    job["method"].arch.load_state_dict(first.arch.state_dict())
    return first


def _linear_head(first: "Method", run: TrainedRun) -> Any:
    """The linear head of a run's method, which a second stage works on."""
    head = getattr(first, "classifier", None)
    if head is None or head.weight is None or not isinstance(head.geometry, Euclidean):
        raise Refused(
            f"{run.folder} has no linear classifier whose class weights could be rescaled "
            f"(method={run.config.method.name}, head={run.config.head.name}): it takes a run with "
            "method=classifier head=linear, or a second stage with a head of its own (mode=crt)"
        )
    return head


def _run_of(cfg: DictConfig, overrides: list[str]) -> TrainedRun:
    if cfg.run is None:
        raise Refused(
            f"mode={cfg.mode.name} builds upon a trained run: add run=FOLDER, the folder of a "
            "run by mode=train"
        )
    about_first = [o for o in overrides if o.split("=")[0].lstrip("+~").split(".")[0] not in OWN]
    freed = tuple(f"arch.params.{key}" for key in OF_ARCH)
    return TrainedRun(cfg, Path(cfg.run), [o for o in about_first if not o.startswith(freed)])


def _configuration(cfg: DictConfig, run: TrainedRun, overrides: list[str]) -> DictConfig:
    """The run's arch and data under today's head, loss, sampler, optimizer and mode."""
    said = {override.split("=")[0] for override in overrides}
    own = OmegaConf.merge(run.config, {key: None for key in OWN}, {key: cfg[key] for key in OWN})
    with open_dict(own):
        own.run = None
        if "random_seed" in said:
            own.random_seed = cfg.random_seed
        for key, value in OF_ARCH.items():
            if key in own.arch.params:
                typed = f"arch.params.{key}" in said
                own.arch.params[key] = cfg.arch.params[key] if typed else value
        if "views" in own.dataset.params:
            own.dataset.params.views = 1
    return own
