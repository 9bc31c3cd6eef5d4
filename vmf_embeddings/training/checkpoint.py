"""Checkpoints: the best and the last state of a run, as tensors and plain values only."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from vmf_embeddings.training.stored_state import checked, refuse_missing
from vmf_embeddings.untrusted.files import read_text, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.tensors import read_tensors

LAST = "last.pt"
SCALE_IN_LOG = re.compile(
    r"Set z-(?:kappa-)?mult: ([-+]?[0-9]{1,50}(?:\.[0-9]{0,50})?(?:[eE][-+]?[0-9]{1,3})?)"
)

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
    **{"method.params.monotone": False, "criterion.params.monotone": True},
    **{"arch.params.pool": "avg", "arch.params.normalize": False},
    **{"dataset.params.validation": "by_class", "dataset.params.valid_share": None},
    **{"dataset.params.valid_seed": 1234, "dataset.params.normalisation": "imagenet"},
    **{"dataset.params.views": 1},
}


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` to a temporary name beside `path` and renames it.

    Args:
        path: file to write or replace; a link there is replaced and not followed.
        state: tensors, numbers, strings, and lists and dicts of them.
    """
    with replacing(path) as part, part.open("wb") as stream:
        torch.save(state, stream)  # given a name, torch would write that name into the file


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running code from it.

    Files of 2021 hold NumPy scalars beside the tensors; these and nothing else are let through.

    Args:
        path: file written by `save`, or by the code of 2021.

    Returns:
        Its state, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it holds anything that loading would have to execute, claims sizes that it does
            not have, or is no checkpoint.
    """
    return checked(read_tensors(path), str(path))


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
        best = load(run_dir / LAST).get("best_epoch") or {}
        named = [path for path in found if _epoch_of(path) == best.get("epoch")]
        return named[0] if named else found[-1]
    return found[-1]


def _epoch_of(path: Path) -> int:
    digits = "".join(c for c in path.stem if c in "0123456789")
    return int(digits) if digits else -1


def load_best(run_dir: Path) -> dict[str, Any]:
    """The best state of the run in `run_dir`.

    The oldest checkpoints of 2021 lack the scale of the concentrations; their log has it.

    Raises:
        FileNotFoundError: there is no checkpoint.
        Refused: it, or the log, is not what it should be.
    """
    path = best_path(run_dir)
    state = load(path)
    refuse_missing(state, ("epoch",), str(path))
    log = run_dir / "main.train.log"
    if not {"z_kappa_mult", "z_mult"} & state.keys() and log.exists():
        found = SCALE_IN_LOG.findall(read_text(log))
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
    half_written = run_dir.glob(".*.pt.*part")  # of a process that was killed
    former = (p for p in run_dir.glob("model_*.pt") if _epoch_of(p) != state["best_epoch"]["epoch"])
    for path in (*half_written, *former):
        if path.is_symlink() or not path.is_dir():
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
    path = run_dir / LAST
    if not path.exists():
        return None
    state = load(path)
    refuse_missing(state, ("epoch", "config"), str(path))
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
    then, now = (
        flatten(parse_json_object(stored, f"the configuration in {run_dir}")),
        flatten(json.loads(json.dumps(config))),
    )
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
