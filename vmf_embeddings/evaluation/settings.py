"""The settings of a run, by which replications are told from runs of other configurations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.yaml_text import read_yaml

Settings = dict[str, str]

_RECORDS = (".hydra_train", ".hydra_finetune", ".hydra_crt", ".hydra_lws", ".hydra_tau_norm",
            ".hydra_maxnorm", ".hydra_ncm", ".hydra_vmf_bayes", ".hydra_posthoc_tau",
            ".hydra_posthoc_kappa", ".hydra_uncertainty")  # fmt: skip
# how, where and under which name a run worked, not what it learned
_NO_SETTINGS = {
    "name", "random_seed", "num_workers", "run", "split", "resume", "search", "logger", "hydra",
    "trainer.cpu", "trainer.threads", "trainer.compile", "trainer.channels_last",
    "trainer.data_on_device", "trainer.eval_batch_size", "trainer.name", "mode.evaluate_on",
    "mode.evaluate_k", "mode.name", "dataset.params.dataset_path", "dataset.params.download",
    "optimizer.params.fused",
}  # fmt: skip
_LONGEST_VALUE = 60


def settings_of(folder: Path) -> Settings:
    """Key -> value of what a run was trained with, as text; without its seed, name and machine.

    From the record of its configuration; without one, from the overrides in the folder's name.
    A record that cannot be read counts as none.

    Args:
        folder: of the run.
    """
    for name in _RECORDS:
        record = folder / name / "config.yaml"
        if record.is_file() and not (record.is_symlink() or record.parent.is_symlink()):
            try:
                config = read_yaml(record)
            except (Refused, OSError):
                break
            return _flat(config) if isinstance(config, dict) else {}
    words = [word.partition("=") for word in folder.name.split(",") if "=" in word]
    return {key: value for key, _, value in words if not _is_left_out(key)}


def overrides_of(folder: Path) -> list[str]:
    """What was typed to train a run, such as "mode.epochs=5"; [] where nothing readable records it.

    Args:
        folder: of the run.
    """
    for name in _RECORDS:
        record = folder / name / "overrides.yaml"
        if record.is_file() and not (record.is_symlink() or record.parent.is_symlink()):
            try:
                words = read_yaml(record)
            except (Refused, OSError):
                break
            known = words if isinstance(words, list) else []
            return [word for word in known if isinstance(word, str)]
    return []


def varying(settings: Sequence[Settings]) -> list[str]:
    """Keys that have different values among several runs, in the order of the first run.

    Runs that lack a key, as those of other versions do, do not make it vary.
    """
    keys = dict.fromkeys(key for own in settings for key in own)
    return [key for key in keys if len({own[key] for own in settings if key in own}) > 1]


def described(settings: Settings) -> str:
    """Settings in one line, such as "mode.learning_rate=0.1, sampler.batch_size=90"."""
    return printable(", ".join(f"{k}={v[:_LONGEST_VALUE]}" for k, v in settings.items()))


def _flat(config: dict[str, Any], prefix: str = "") -> Settings:
    found: Settings = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if _is_left_out(name):
            continue
        if isinstance(value, dict):
            found |= _flat(value, f"{name}.")
        else:
            found[name] = str(value)
    return found


def _is_left_out(key: str) -> bool:
    return key.lstrip("+") in _NO_SETTINGS
