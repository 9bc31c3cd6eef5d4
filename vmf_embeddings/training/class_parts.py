"""Checkpoints of divided classes: each process writes a file with the rows of its own ones.

`last.pt` and `model_<epoch>.pt` then hold everything else, and name these files, which lie beside
them; reading such a checkpoint joins them again. No process ever holds the rows of all to write
them. The files are those of `torch.save`, so that they are read like other checkpoints, without
running code from them; torch's own format for this (`torch.distributed.checkpoint`) describes its
files by a pickle of classes. Each file states its checkpoint and process too, so that one which was
renamed, or copied from another run, is not taken for the rows of other classes.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vmf_embeddings.training.stored_state import restore_part
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.tensors import read_tensors

KEY = "class_parts"  # of a checkpoint: {"token": names the files, "count": number of them}
MOST_PARTS = 2**16
_NAME = re.compile(r"classes_(\d{1,20})_\d{1,5}_of_\d{1,5}\.pt")
METHOD, OPTIMIZER = "method_state_dict", "optimizer_state"


def part_path(folder: Path, token: int, rank: int, count: int) -> Path:
    """The file of one process.

    Args:
        folder: of the run.
        token: number that all files of one checkpoint have in their names, and no others.
        rank: of the process.
        count: number of processes.
    """
    return folder / f"classes_{token:d}_{rank:d}_of_{count:d}.pt"


def of_process(named: dict[str, int], rank: int) -> dict[str, int]:
    """What the file of one process has under `KEY`.

    Args:
        named: what the checkpoint has there.
        rank: of the process.
    """
    return {"token": named["token"], "count": named["count"], "rank": rank}


def joined(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """A checkpoint with the rows of all classes.

    Args:
        state: content of a checkpoint; changed in place.
        path: of its file, beside which the parts lie.

    Returns:
        `state`, with what the parts hold; as it is if it names none.

    Raises:
        Refused: a part is missing, malformed, or does not fit the others.
    """
    named = state.pop(KEY, None)
    if named is None:
        return state
    token, count = named.get("token"), named.get("count")
    if not (type(token) is int and 0 <= token < 2**63) or not (
        type(count) is int and 1 <= count <= MOST_PARTS
    ):
        raise Refused(f"{path}: {KEY} names no files of classes")
    files = [part_path(path.parent, token, rank, count) for rank in range(count)]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise Refused(
            f"{path} lacks the weights of its classes: {missing[0]} is not beside it. Copy "
            f"{part_path(path.parent, token, 0, count).name.replace('_0_of', '_*_of')} along, or, "
            "if it is lost, train again: add resume=never to the training's command"
        )
    parts = [read_tensors(file) for file in files]
    restore_part(lambda: _join(state, parts, named), f"the files of classes of {path} do not fit")
    return state


def _join(state: dict[str, Any], parts: list[dict[str, Any]], named: dict[str, int]) -> None:
    """Adds the rows of all parts to a state, one tensor after another to save memory."""
    for rank, part in enumerate(parts):
        # the first runs with divided classes wrote files without it
        written_as = part.get(KEY, of_process(named, rank))
        if written_as != of_process(named, rank):
            raise ValueError(
                f"number {rank} was written as another one ({written_as}); copy them again, each "
                "under its own name"
            )
    if any(_names(part) != _names(parts[0]) for part in parts):
        raise ValueError("they hold different tensors")
    for name in list(parts[0][METHOD]):
        state[METHOD][name] = torch.cat([part[METHOD].pop(name) for part in parts])
    of_parameter = state["optimizer_state_dict"]["state"]
    for number, values in parts[0][OPTIMIZER].items():
        for key in list(values):
            rows = torch.cat([part[OPTIMIZER][number].pop(key) for part in parts])
            of_parameter[number][key] = rows


def _names(part: dict[str, Any]) -> tuple[set, set]:
    return set(part[METHOD]), {(n, key) for n, values in part[OPTIMIZER].items() for key in values}


def remove_unused(folder: Path, checkpoints: Iterable[Path]) -> None:
    """Deletes the files of classes in a run's folder that none of its checkpoints names.

    If one of these cannot be read, as in a folder where training starts over, nothing is deleted.

    Args:
        folder: of the run.
        checkpoints: those in it; the ones that are not there are ignored.
    """
    found = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("classes_*.pt")]
    if not found:
        return
    try:
        used = {_token(read_tensors(path)) for path in checkpoints if path.exists()}
    except Refused:
        return
    for path, match in found:
        if match and match[1] not in used:
            path.unlink(missing_ok=True)


def _token(state: object) -> str | None:
    """The number in the names of a checkpoint's files; None if it names none."""
    named = state.get(KEY) if isinstance(state, dict) else None
    return str(named.get("token")) if isinstance(named, dict) else None
