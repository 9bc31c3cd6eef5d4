"""Services that a run's numbers go to beside its files: Accelerate's trackers, begun."""

import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

WANDB_MODES = ("auto", "online", "offline", "disabled")


def start(name: str, run_dir: Path, config: dict[str, Any]) -> Any:
    """An Accelerate tracker, begun.

    Args:
        name: such as `wandb`.
        run_dir: the run's folder.
        config: the run's configuration, which the tracker is told; its group `logger` has the
            tracker's own settings.

    Raises:
        ValueError: there is no such tracker.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kinds = {
        str(kind).rpartition(".")[2].lower(): made for kind, made in LOGGER_TYPE_TO_CLASS.items()
    }
    if name not in kinds:
        raise ValueError(f"logger.trackers: {name!r} is none of {', '.join(sorted(kinds))}")
    made = kinds[name]
    if name == "wandb":
        tracker = made(**wandb_settings(run_dir, config))
    elif made.requires_logging_directory:
        tracker = made(run_dir.name, str(run_dir))
    else:
        tracker = made(run_dir.name)
    if hasattr(tracker, "start"):
        tracker.start()
    tracker.store_init_configuration(config)
    return tracker


def wandb_settings(run_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What Weights & Biases is begun with.

    Args:
        run_dir: the run's folder, where its files go.
        config: with `random_seed`, and under `logger` the keys of conf/logger/wandb.yaml.

    Returns:
        Project (Accelerate calls it `run_name`), group, name, folder and mode. Runs of one group
        are told apart by their seeds: `GROUP_s1`.
    """
    logger = config.get("logger", {})
    mode, group = logger.get("mode", "auto"), logger.get("group")
    if mode == "auto":
        # None: as the environment says, and online where that says nothing
        mode = None if "WANDB_MODE" in os.environ or _has_key() else "offline"
    return {
        "run_name": logger.get("project") or "vmf_embeddings",
        "group": group,
        "name": run_dir.name if group is None else f"{group}_s{config.get('random_seed')}",
        "dir": str(run_dir),
        "mode": mode,
    }


def _has_key() -> bool:
    """Whether `wandb login` or the environment left a key for the service; never reads it out."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return netrc(str(path)).authenticators(host or "") is not None
    except (OSError, NetrcParseError):
        return False
