"""Checkpoints of the best and the last epoch of a run: tensors and plain values only."""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from vmf_embeddings.methods.older_factors import with_auto
from vmf_embeddings.training import class_parts
from vmf_embeddings.training.own_folder import override_for_own_folder
from vmf_embeddings.training.stored_state import checked, refuse_missing
from vmf_embeddings.untrusted.files import read_text, replacing
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tensors import read_tensors

LAST = "last.pt"
INTERRUPTED = "interrupted.pt"  # inside the epoch after the last finished one
SCALE_IN_LOG = re.compile(
    r"Set z-(?:kappa-)?mult: ([-+]?[0-9]{1,50}(?:\.[0-9]{0,50})?(?:[eE][-+]?[0-9]{1,3})?)"
)

# a run may be resumed with other values of these keys: they concern how long, where and how fast
# it runs, not what it learns
MAY_CHANGE = (
    "mode.epochs",
    "mode.patience",
    "mode.evaluate_on",
    "mode.evaluate_k",
    "dataset.params.dataset_path",
    "dataset.params.cache_path",
    "dataset.params.download",
    "dataset.params.check",
    "dataset.params.max_pixels",
    "dataset.params.on_error",  # what it leaves out is in the identity of the images
    "arch.params.weights",
    "optimizer.params.fused",
    "trainer.activation_checkpointing",
    "trainer.channels_last",
    "trainer.compile",
    "trainer.cpu",
    "trainer.cuda_graph",
    "trainer.data_on_device",
    "trainer.eval_batch_size",
    "trainer.feature_cache_dir",
    "trainer.save_minutes",
    "trainer.shard_backbone",
    "trainer.shard_classes",
    "trainer.threads",
)
COMPARED_GROUPS = (
    *("arch", "method", "head", "loss", "criterion", "miner", "feature_scaling"),
    *("dataset", "sampler"),
    *("optimizer", "schedule", "mode", "trainer", "random_seed"),
)
# values in runs from before these keys existed
DEFAULTS_OF_OLDER_RUNS = {
    **{"mode.select": "valid", "mode.select_by": "auto", "mode.warmup_epochs": 0},
    **{"schedule.name": "plateau", "feature_scaling.name": "none"},
    **{"method.params.monotone": False, "criterion.params.monotone": True},
    **{"arch.params.pool": "avg", "arch.params.normalize": False, "arch.params.init": "kaiming"},
    **{"method.params.init": "torch", "method.params.rebalance": "label_weights"},
    **{"dataset.params.validation": "by_class", "dataset.params.valid_share": None},
    **{"dataset.params.valid_seed": 1234, "dataset.params.normalisation": "imagenet"},
    **{"dataset.params.views": 1, "dataset.params.background": None},
    **{"dataset.params.layout": "auto", "dataset.params.test_share": 0.2},
    **{"head.params.normalizer": False},
    **{"loss.params.class_weights": "none", "loss.params.beta": 0.9999},
    **{"arch.params.frozen": False, "arch.params.trainable_from": None},
    **{"arch.params.options": None, "arch.params.lora": None},
    **{"dataset.params.interpolation": "bilinear", "dataset.params.crop_fraction": None},
    **{"dataset.params.mean": None, "dataset.params.std": None},
    **{"dataset.params.decoder": "pillow", "dataset.params.cache_path": None},
    **{"trainer.feature_cache": "auto", "trainer.feature_views": 0},
    **{"trainer.sampled_classes": None, "trainer.sampled_correction": True},
    **{"trainer.shard_classes": False, "trainer.save_minutes": 30},
    **{"trainer.micro_batches": 1, "trainer.activation_checkpointing": False},
    **{"trainer.cuda_graph": False},
    **{"trainer.shard_backbone": False},
    **{"method.params.memory_size": 0, "method.params.memory_start": 0},
    **{"head.params.shrink_rows": 10.0, "head.params.prior_power": 0.5},
    **{"head.params.components": 1, "method.params.kappa_learning_rate": None},
    **{"criterion.params.positives": "classes", "criterion.params.views": 2},
}
# keys whose former behaviour depends on the option -> values that may stand for it
AS_BEFORE_THE_KEY = {
    "arch.params.projection": ("linear", "none"),
    "dataset.params.normalisation": ("imagenet", "data"),
}
BACKGROUND = "dataset.params.background"
READ_OTHERWISE = (  # for runs from before that key
    "Since version 1.0, images are put on a background where they are transparent, and turned as "
    "their EXIF orientation says; dataset.params.background=null reads them as then."
)


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` to a temporary name beside `path` and renames it.

    Args:
        path: file to write or replace; a symbolic link there is replaced, not followed.
        state: tensors, numbers, strings, and lists and dicts of them.
    """
    with replacing(path) as part, part.open("wb") as stream:
        # into a stream: given a path, torch would store its name in the file
        torch.save(state, stream)


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running code from it, with the files of its classes, if any.

    Files of 2021 contain NumPy scalars as well as tensors; no other classes are accepted.

    Args:
        path: file written by `save`, or by the code of 2021.

    Returns:
        Its state, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: loading it would run code, its tensors claim more data than it has, it is no
            checkpoint, or a file of its classes is missing.
    """
    return class_parts.joined(checked(read_tensors(path), str(path)), path)


def best_path(run_dir: Path) -> Path:
    """The file of a run's best epoch.

    If a killed process left several, the one that `last.pt` names; else that of the latest epoch.

    Raises:
        FileNotFoundError: there is none; the message says how to get one.
    """
    found = sorted(run_dir.glob("model*.pt"), key=_epoch_of)
    if not found:
        raise FileNotFoundError(
            f"no checkpoint model_<epoch>.pt in {run_dir}: train first "
            "(the same command with mode=train), or name the run by run=PATH"
        )
    if (run_dir / LAST).exists() and len(found) > 1:
        best = load(run_dir / LAST).get("best_epoch") or {}
        named = [path for path in found if _epoch_of(path) == best.get("epoch")]
        return named[0] if named else found[-1]
    return found[-1]


def _save_again(path: Path, state: dict[str, Any], saved: Path) -> None:
    """As `save`, where another file of the folder holds the state already: a second name of it.

    Either name is replaced by later epochs without a change of the other. A frozen backbone's
    epoch may take less time than writing its checkpoint.
    """
    try:
        with replacing(path) as part:
            part.unlink()
            os.link(saved, part)
    except OSError:  # a file system without hard links
        save(path, state)


def _epoch_of(path: Path) -> int:
    """The epoch in a file's name; -1 without one, as of `model_untrained.pt`."""
    digits = "".join(c for c in path.stem if c in "0123456789")
    return int(digits) if digits else -1


def load_best(run_dir: Path) -> dict[str, Any]:
    """The state of the best epoch of the run in `run_dir`.

    The oldest checkpoints of 2021 lack the factor `z_kappa_mult` of the embeddings, which sets the
    scale of the concentrations; it is read from their log.

    Raises:
        FileNotFoundError: there is no checkpoint.
        Refused: the checkpoint is malformed, or the log is not a text file of a sensible size.
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
    """Writes `last.pt` and, for a best epoch, `model_<epoch>.pt`; then deletes what they replace.

    Args:
        run_dir: the run's folder.
        state: content of the checkpoint, with `epoch` and `best_epoch`.
        is_best: whether this is the best epoch so far.
    """
    if is_best:
        named = "untrained" if state["epoch"] < 0 else state["epoch"]
        save(run_dir / f"model_{named}.pt", state)
        _save_again(run_dir / LAST, state, run_dir / f"model_{named}.pt")
    else:
        save(run_dir / LAST, state)
    half_written = run_dir.glob(".*.pt.*part")  # left by a process that was killed
    former = (p for p in run_dir.glob("model_*.pt") if _epoch_of(p) != state["best_epoch"]["epoch"])
    for path in (*half_written, *former, *run_dir.glob(INTERRUPTED)):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
    remove_unused_parts(run_dir)


def remove_unused_parts(run_dir: Path) -> None:
    """Deletes the files of classes that no checkpoint of the run names any more."""
    names = (run_dir / INTERRUPTED, run_dir / LAST)
    class_parts.remove_unused(run_dir, (*names, *run_dir.glob("model_*.pt")))


def latest(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file and the state from which a run goes on: inside an epoch, or after the last one."""
    states = []
    for name in (INTERRUPTED, LAST):
        if not (run_dir / name).exists():
            continue
        try:
            states.append((run_dir / name, load(run_dir / name)))
        except Refused as error:
            if name == LAST:
                raise
            raise Refused(
                f"{error}. Without that file, training goes on after the last finished epoch"
            ) from error
    # a process may have been killed between writing the last epoch and deleting what was inside it
    return max(states, key=lambda found: found[1].get("epoch", -1), default=None)


def last_state(
    run_dir: Path, config: dict[str, Any], identity: str, *, same_length: bool = False
) -> dict[str, Any] | None:
    """The last state of an earlier run of the same configuration in `run_dir`; None without one.

    Args:
        run_dir: the run's folder.
        config: configuration of the command.
        identity: identity of the command's training split.
        same_length: whether the learning rates depend on `mode.epochs`, so that it must agree.

    Raises:
        ValueError: the folder holds a run of another configuration, or on other images.
    """
    found = latest(run_dir)
    if found is None:
        return None
    path, state = found
    refuse_missing(state, ("epoch", "config"), str(path))
    refuse_other_configuration(run_dir, state["config"], config, same_length=same_length)
    own = override_for_own_folder(run_dir, config)
    refuse_other_images(run_dir, state, identity, own)
    return state


def refuse_other_images(run_dir: Path, state: dict[str, Any], identity: str, own: str) -> None:
    """Refuses a checkpoint of a run on other training images.

    Args:
        run_dir: the run's folder, for the message.
        state: a checkpoint of it; accepted if it lacks `train_identity`, as older ones do.
        identity: identity of the command's training split.
        own: override that gives the command another folder, for the message.

    Raises:
        ValueError: with both identities.
    """
    then = state.get("train_identity") or identity
    if then != identity:
        raise ValueError(
            f"{run_dir} was trained on other images (identity {then[:12]}) than the training split "
            f"of this command has (identity {identity[:12]}): use the data set's settings and "
            f"files of that run, or work in another folder: add {own}"
        )


def refuse_other_configuration(
    run_dir: Path, stored: str, config: dict[str, Any], *, same_length: bool = False
) -> None:
    """Refuses to resume a run with another configuration.

    Args:
        run_dir: the run's folder, for the message.
        stored: JSON of the configuration in the run's checkpoint.
        config: configuration of the command.
        same_length: whether `mode.epochs` must be the same too.

    Raises:
        ValueError: names up to six differences.
    """
    then, now = (
        flatten(parse_json_object(stored, f"the configuration in {run_dir}")),
        flatten(json.loads(json.dumps(config))),
    )
    groups = {key.split(".")[0] for key in then}
    keys = [
        k
        for k in sorted(then.keys() | now.keys())
        if k.split(".")[0] in COMPARED_GROUPS
        and (k not in MAY_CHANGE or (same_length and k == "mode.epochs"))
        and (k.split(".")[0] in groups or k in DEFAULTS_OF_OLDER_RUNS)
    ]
    unchanged = {
        key: now[key]
        for key, values in AS_BEFORE_THE_KEY.items()
        if key not in then and now.get(key) in values
    }
    then = with_auto(DEFAULTS_OF_OLDER_RUNS | unchanged | then, now)
    changed = [k for k in keys if then.get(k) != now.get(k)]
    if changed:
        differences = "; ".join(f"{k} was {then.get(k)!r}, now {now.get(k)!r}" for k in changed[:6])
        raise ValueError(
            f"{run_dir} holds a run of another configuration ({differences}). Give this one its "
            f"own folder: add {override_for_own_folder(run_dir, config)}; or start over in the "
            "same folder: add resume=never."
            + (f" {READ_OTHERWISE}" if BACKGROUND in changed and then[BACKGROUND] is None else "")
        )


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested dicts into one dict with dotted keys; lists are values.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    if not isinstance(node, dict):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
