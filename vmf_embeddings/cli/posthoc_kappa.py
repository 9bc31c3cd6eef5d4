"""The second stage that sets the concentrations of a vMF-OP run by the overlap of its classes.

Wang et al. 2022, https://arxiv.org/abs/2208.10043: its calibration after training.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli import trained_run
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.trained_run import TrainedRun
from vmf_embeddings.training.posthoc import PosthocJob, TrainEmbeddings, Variant

if TYPE_CHECKING:
    from vmf_embeddings.heads.vmf import VMFHead

METHOD = "vmf_op"


def overlap_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> PosthocJob:
    """Builds the job that chooses alpha of `overlap_calibrated` for the head of `cfg.run`.

    Args:
        cfg: composed configuration, with `mode=posthoc_kappa`.
        run_dir: the second stage's own folder.
        overrides: the command's overrides as typed; they must not contradict the run.

    Raises:
        Refused: no run of `method=vmf_op` is named, it was trained on other images, an override
            contradicts it, or there are no values.
        ValueError: a value is out of range.
    """
    from vmf_embeddings.training.settings import TrainingSettings

    run = TrainedRun(cfg, trained_run.named_folder(cfg), overrides)
    if run.config.method.name != METHOD:
        raise Refused(
            f"mode={cfg.mode.name} needs a run of method={METHOD}, whose concentrations are "
            f"parameters, got {run.folder} of method={run.config.method.name}"
        )
    alphas = list(cfg.mode["values"])
    if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
        raise Refused(f"mode.values: expected at least one number, all in [0, 1], got {alphas}")
    settings = TrainingSettings.from_config(OmegaConf.to_container(cfg, resolve=True))
    trained_run.refuse_other_images(run, run.dataset, "the run")
    method = run.method(run.dataset)
    variants = _variants(method.classifier, alphas)
    config = OmegaConf.to_container(run.config, resolve=True) | {"run": str(run.folder)}
    return PosthocJob(method, run.dataset, variants, settings, run_dir, config, "class_mean")


def _variants(head: "VMFHead", alphas: list[float]) -> list[Variant]:
    """The head with the concentrations of each alpha; of equally good ones the largest is kept."""
    from vmf_embeddings.heads.overlap import mean_overlap_with_others, overlap_calibrated

    kappa, overlap = head.kappa.clone(), mean_overlap_with_others(head.distributions())

    def variant(alpha: float) -> Variant:
        calibrated = overlap_calibrated(kappa, overlap, alpha)

        def calibrate(_: TrainEmbeddings) -> None:
            head.raw_kappa.copy_(calibrated)

        return Variant(f"alpha={alpha:g}", calibrate, preference=alpha)

    return [variant(alpha) for alpha in alphas]
