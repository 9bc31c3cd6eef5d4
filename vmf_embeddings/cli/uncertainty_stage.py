"""The second stage that fits a predictor of the loss to a trained run, which stays as it is."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli import trained_run
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.cli.assembly.execution import float32_execution
from vmf_embeddings.cli.trained_run import TrainedRun

if TYPE_CHECKING:
    from vmf_embeddings.training.uncertainty import UncertaintyJob

SPLITS = ("auto", "train", "valid")
FIT_OPTIONS = ("form", "margin", "learning_rate", "epochs", "patience", "batch_size")


def uncertainty_job(cfg: DictConfig, run_dir: Path, overrides: list[str]) -> "UncertaintyJob":
    """Builds the job that fits a predictor of the loss to the run `cfg.run`.

    Args:
        cfg: composed configuration, with `mode=uncertainty`.
        run_dir: the second stage's own folder.
        overrides: the command's overrides as typed; they must not contradict the run.

    Raises:
        Refused: no run is named, it has no logits of classes or was trained on other images, or an
            override contradicts it.
        ValueError: a value is out of range, or the data set has no such split.
    """
    from vmf_embeddings.methods.loss_predictor import refuse_unusable
    from vmf_embeddings.methods.uncertainty import Uncertainty
    from vmf_embeddings.training.seeding import seed_everything
    from vmf_embeddings.training.settings import TrainingSettings
    from vmf_embeddings.training.uncertainty import FitOptions, UncertaintyJob

    config = OmegaConf.to_container(cfg, resolve=True)
    mode = config["mode"]
    refuse_unusable("mode", mode["form"], mode["margin"], mode["hidden"])
    if mode["fit_on"] not in SPLITS:
        raise Refused(f"mode.fit_on is one of {', '.join(SPLITS)}; got {mode['fit_on']!r}")
    options = FitOptions(**{key: mode[key] for key in FIT_OPTIONS})
    settings = TrainingSettings.from_config(config)
    run = TrainedRun(cfg, trained_run.named_folder(cfg), overrides)
    data = run.dataset
    trained_run.refuse_other_images(run, data, "the run")
    fit_on = _chosen_split(mode["fit_on"], data.open_set)
    for split in (fit_on, settings.validates_on):
        data.split(split)  # raises now if the data set has no such split
    if len(data.split(fit_on)) < 2:
        raise Refused(f"mode.fit_on={fit_on}: that split has one row, and one is held out")
    trained = run.method(data)
    if not trained.has_logits:
        raise Refused(
            f"{run.folder} (method={run.config.method.name}) predicts no classes, so that it has "
            "no loss of a class to be predicted: use a run with class logits, such as one of "
            "method=classifier, normalized_sce or vmf_softmax"
        )
    seed_everything(settings.random_seed)
    method = Uncertainty(trained.arch, lambda _: trained, mode["hidden"])
    return UncertaintyJob(
        method=method,
        dataset=data,
        fit_on=fit_on,
        options=options,
        settings=replace(settings, execution=float32_execution(cfg)),
        run_dir=run_dir,
        trained=run.checkpoint,
        config=_stored(run, mode["hidden"]),
    )


def _chosen_split(fit_on: str, open_set: bool) -> str:
    """The split that `mode.fit_on` stands for; refuses one whose classes the run does not know."""
    if open_set and fit_on == "valid":
        raise Refused(
            "mode.fit_on=valid: this data set is an open set, whose valid split has other classes "
            "than the run has logits for; use mode.fit_on=train"
        )
    if fit_on == "auto":
        return "train" if open_set else "valid"
    return fit_on


def _stored(run: TrainedRun, hidden: list[int]) -> dict[str, Any]:
    """The run's configuration, its method inside the one that is fitted."""
    config = OmegaConf.to_container(run.config, resolve=True)
    target = "vmf_embeddings.methods.uncertainty.Uncertainty"
    params = {"_target_": target, "hidden": hidden, "objective": config["method"]}
    method = {"name": "uncertainty", "params": params}
    return config | {"method": method, "run": str(run.folder)}
