"""Checkpoints: the best and the last state of a run, as tensors and plain values only."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

LAST = "last.pt"

# a run may go on with other values of these: how long, where and how fast, not what is learnt
FREE_TO_CHANGE = (
    "mode.epochs",
    "mode.patience",
    "mode.evaluate_on",
    "mode.evaluate_k",
    "dataset.params.dataset_path",
    "dataset.params.download",
    "arch.params.weights",
    "optimizer.params.fused",
    "trainer.channels_last",
    "trainer.compile",
    "trainer.cpu",
    "trainer.data_on_device",
    "trainer.eval_batch_size",
    "trainer.threads",
)
COMPARED = (
    *("arch", "method", "head", "loss", "criterion", "miner", "feature_scaling"),
    *("dataset", "sampler"),
    *("optimizer", "schedule", "mode", "trainer", "random_seed"),
)
# what runs did that began before there was a choice
SINCE = {
    **{"mode.select": "valid", "mode.warmup_epochs": 0},
    **{"schedule.name": "plateau", "feature_scaling.name": "none"},
    **{"arch.params.pool": "avg", "arch.params.normalize": False},
    **{"dataset.params.validation": "by_class", "dataset.params.valid_share": None},
    **{"dataset.params.valid_seed": 1234, "dataset.params.normalisation": "imagenet"},
}


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` to a temporary name beside `path` and renames it.

    Args:
        path: file to write or replace.
        state: tensors, numbers, strings, and lists and dicts of them.
    """
    part = path.with_name(f".{path.name}.part")
    torch.save(state, part)
    os.replace(part, path)


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running code from it.

    Files of 2021 hold NumPy scalars beside the tensors; these and nothing else are let through.

    Args:
        path: file written by `save`, or by the code of 2021.

    Returns:
        Its state, on the CPU.

    Raises:
        ValueError: if it holds anything that loading would have to execute, or is no checkpoint.
    """
    scalar = np.float64(0).__reduce__()[0]
    harmless = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
    ]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a readable checkpoint: {error}") from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise ValueError(
            f"{path} holds more than tensors and plain values and was not loaded: {error}"
        ) from error


def best_path(run_dir: Path) -> Path:
    """The file with a run's best state.

    Raises:
        FileNotFoundError: if there is none, with the command that makes one.
    """
    found = sorted(run_dir.glob("model*.pt"), key=_epoch_of)
    if not found:
        raise FileNotFoundError(
            f"no checkpoint model_<epoch>.pt in {run_dir}: train first "
            "(the same command with mode=train), or say which run with run=PATH"
        )
    if (run_dir / LAST).exists() and len(found) > 1:
        best = load(run_dir / LAST)["best_epoch"]["epoch"]
        named = [path for path in found if _epoch_of(path) == best]
        return named[0] if named else found[-1]
    return found[-1]


def _epoch_of(path: Path) -> int:
    digits = "".join(c for c in path.stem if c.isdigit())
    return int(digits) if digits else -1


def load_best(run_dir: Path) -> dict[str, Any]:
    """The best state of the run in `run_dir`.

    The oldest checkpoints of 2021 lack the scale of the concentrations; their log has it.
    """
    state = load(best_path(run_dir))
    log = run_dir / "main.train.log"
    if not {"z_kappa_mult", "z_mult"} & state.keys() and log.exists():
        found = re.findall(r"Set z-(?:kappa-)?mult: ([-+.\deE]+)", log.read_text())
        if found:
            state["z_kappa_mult"] = float(found[-1])
    return state


def keep(run_dir: Path, state: dict[str, Any], *, is_best: bool) -> None:
    """Writes the state of an epoch, and removes the former best once the new one is named.

    Args:
        run_dir: the run's folder.
        state: with `epoch` and `best_epoch`.
        is_best: whether this is the best epoch so far.
    """
    if is_best:
        save(run_dir / f"model_{state['epoch']}.pt", state)
    save(run_dir / LAST, state)
    for path in run_dir.glob("model_*.pt"):
        if _epoch_of(path) != state["best_epoch"]["epoch"]:
            path.unlink()


def last_state(
    run_dir: Path, config: dict[str, Any], identity: str, *, same_length: bool = False
) -> dict[str, Any] | None:
    """The state that an earlier run of the same configuration left in `run_dir`, if any.

    Args:
        run_dir: the run's folder.
        config: today's configuration.
        identity: of today's training split.
        same_length: whether other `mode.epochs` would change what is learnt.

    Raises:
        ValueError: if the folder holds a run of another configuration, or on other images.
    """
    if not (run_dir / LAST).exists():
        return None
    state = load(run_dir / LAST)
    refuse_other_configuration(run_dir, state["config"], config, same_length=same_length)
    refuse_other_images(run_dir, state, identity)
    return state


def refuse_other_images(run_dir: Path, state: dict[str, Any], identity: str) -> None:
    """Makes sure that a run's checkpoint meets the training images that it was made with.

    Args:
        run_dir: the run's folder, for the message.
        state: a checkpoint of it; those of older runs do not say their images and pass.
        identity: of today's training split.

    Raises:
        ValueError: with both identities.
    """
    then = state.get("train_identity", identity)
    if then != identity:
        raise ValueError(
            f"{run_dir} was trained on other images (identity {then[:12]}) than the training split "
            f"of this command has (identity {identity[:12]}): give the data set's settings and "
            "files of that run, or another folder with name=…"
        )


def refuse_other_configuration(
    run_dir: Path, stored: str, config: dict[str, Any], *, same_length: bool = False
) -> None:
    """Makes sure that a run is continued with the configuration it was begun with.

    Args:
        run_dir: the run's folder, for the message.
        stored: JSON of the configuration in the run's checkpoint.
        config: today's configuration.
        same_length: whether `mode.epochs` must be the same too.

    Raises:
        ValueError: naming each difference.
    """
    then, now = flatten(json.loads(stored)), flatten(json.loads(json.dumps(config)))
    groups = {key.split(".")[0] for key in then}
    keys = [
        k
        for k in sorted(then.keys() | now.keys())
        if k.split(".")[0] in COMPARED
        and (k not in FREE_TO_CHANGE or (same_length and k == "mode.epochs"))
        and (k.split(".")[0] in groups or k in SINCE)
    ]
    then = SINCE | then
    changed = [k for k in keys if then.get(k) != now.get(k)]
    if changed:
        words = "; ".join(f"{k} was {then.get(k)!r}, now {now.get(k)!r}" for k in changed[:6])
        raise ValueError(
            f"{run_dir} holds a run of another configuration ({words}). Give this one its own "
            "folder with name=…, or start over in the same folder with resume=never."
        )


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    if not isinstance(node, dict):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
