"""Starts Accelerate's trackers, such as Weights & Biases, for the numbers of a run."""

import os
import re
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_NOT_IN_MLFLOW = re.compile(r"[^\w\-. :/]")  # such as the @ of test/recall@1
WANDB_MODES = ("auto", "online", "offline", "disabled")


def start(name: str, run_dir: Path, config: dict[str, Any]) -> "GeneralTracker":
    """Starts one of Accelerate's trackers.

    Args:
        name: name of the tracker, such as `wandb`.
        run_dir: folder of the run.
        config: the run's configuration, which is sent to the tracker; its group `logger` holds the
            options of the tracker.

    Raises:
        ValueError: there is no such tracker.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    from vmf_embeddings.training.checkpoint import flatten

    kinds = {
        str(kind).rpartition(".")[2].lower(): cls for kind, cls in LOGGER_TYPE_TO_CLASS.items()
    }
    if name not in kinds:
        raise ValueError(f"logger.trackers: {name!r} is none of {', '.join(sorted(kinds))}")
    cls = kinds[name]
    if name == "wandb":
        tracker = cls(**wandb_settings(run_dir, config))
    elif name == "mlflow":
        tracker = cls(run_dir.name, run_name=run_dir.name)  # in a sweep, its experiment has others
    elif cls.requires_logging_directory:
        tracker = cls(run_dir.name, str(run_dir))
    else:
        tracker = cls(run_dir.name)
    if hasattr(tracker, "start"):
        tracker.start()
    # MLflow compares parameters by their whole text, so that every key needs one of its own
    tracker.store_init_configuration(flatten(config) if name == "mlflow" else config)
    return tracker


def send(tracker: "GeneralTracker", row: dict[str, float | int]) -> None:
    """Sends the row of an epoch to a tracker, under names that it takes.

    MLflow has no @: `test/recall@1` is `test/recall_at_1` there.
    """
    if tracker.name == "mlflow":
        names = {key: _NOT_IN_MLFLOW.sub("_", key.replace("@", "_at_")) for key in row}
        tracker.log({names[key]: value for key, value in row.items()}, step=row["epoch"])
    else:
        tracker.log(row, step=row["epoch"])


def finish(tracker: "GeneralTracker", *, failed: bool) -> None:
    """Ends a tracker's run, so that the next one of this process can begin its own.

    Args:
        tracker: started by `start`.
        failed: whether the run ended by an error; MLflow and Weights & Biases show that.
    """
    if failed and tracker.name == "mlflow":
        import mlflow

        mlflow.end_run("FAILED")
    elif failed and tracker.name == "wandb":
        tracker.tracker.finish(exit_code=1)
    else:
        tracker.finish()


def wandb_settings(run_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of Accelerate's tracker for Weights & Biases.

    Args:
        run_dir: folder of the run, to which the tracker writes its files.
        config: has `random_seed`, and under `logger` the keys of conf/logger/wandb.yaml.

    Returns:
        Project (which Accelerate calls `run_name`), group, name, folder and mode. The name is
        `GROUP_s<seed>` in a group, else that of the folder.
    """
    logger = config.get("logger", {})
    mode, group = logger.get("mode", "auto"), logger.get("group")
    if mode == "auto":
        # None = the mode in WANDB_MODE, else online
        mode = None if "WANDB_MODE" in os.environ or _has_key() else "offline"
    return {
        "run_name": logger.get("project") or "vmf_embeddings",
        "group": group,
        "name": run_dir.name if group is None else f"{group}_s{config.get('random_seed')}",
        "dir": str(run_dir),
        "mode": mode,
    }


def _has_key() -> bool:
    """Whether the environment or `wandb login` has stored a key; the key itself is not used."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return netrc(str(path)).authenticators(host or "") is not None
    except (OSError, NetrcParseError):
        return False
