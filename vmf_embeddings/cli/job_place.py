"""The place of a job: its GPU on this machine, its rank among tasks of SLURM, its group of runs.

All are environment variables, which torch, Accelerate and trackers read later.
"""

import os
import re
import sys
from pathlib import Path

DEVICES = Path("/dev")
EXTRAS = {
    **{"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"},
    "optuna": "optuna",
}
_NOT_LOADED = re.compile(r"Could not load 'hydra/(?:launcher|sweeper)/(\w+)'")


def missing_launcher(error: Exception) -> str | None:
    """What to type if an error says that a launcher or sweeper is not installed, else None."""
    found = _NOT_LOADED.search(str(error))
    extra = EXTRAS.get(found[1]) if found else None
    if extra is None:
        return None
    return (
        "this launcher or sweeper needs a package that is not installed: "
        f"pip install 'vmf_embeddings[{extra}]'"
        f" (in a checkout: pip install -e '.[{extra}]')"
    )


def deal_gpu(number: int) -> None:
    """Lets a job see one GPU of this machine, in turn; does nothing if any were chosen before.

    Args:
        number: of the job in its sweep.
    """
    names = (path.name for path in DEVICES.glob("nvidia*"))
    gpus = sorted(int(name[6:]) for name in names if re.fullmatch(r"nvidia\d+", name))
    if gpus and "CUDA_VISIBLE_DEVICES" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpus[number % len(gpus)])


def group_in_trackers(sweep: str) -> None:
    """Lets trackers show the jobs of a sweep together, unless the environment names a group.

    Args:
        sweep: the group of Weights & Biases, and the experiment of MLflow.
    """
    os.environ.setdefault("WANDB_RUN_GROUP", sweep)
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", sweep)


def join_tasks() -> None:
    """Sets what `torchrun` would set if this process is one of several tasks of submitit."""
    submitit = sys.modules.get("submitit")  # imported by its launcher alone
    if submitit is None or "RANK" in os.environ:
        return
    try:
        task = submitit.JobEnvironment()
        world = task.num_tasks
    except RuntimeError:  # this is the process that launches
        return
    if world > 1:
        os.environ.update(
            RANK=str(task.global_rank),
            LOCAL_RANK=str(task.local_rank),
            WORLD_SIZE=str(world),
            MASTER_ADDR=task.hostnames[0],
            MASTER_PORT=str(20000 + sum(map(ord, task.job_id)) * 31 % 20000),
        )
