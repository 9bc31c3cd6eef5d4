"""The command `check`: what is in a folder, a table, lists or a file, and what is wrong there."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np

from vmf_embeddings import typed
from vmf_embeddings.cli.check_arguments import CheckOptions
from vmf_embeddings.cli.check_features import look_at_features
from vmf_embeddings.cli.data_kind import kind_of_data
from vmf_embeddings.cli.exit_codes import exit_code
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from vmf_embeddings.datasets.image_files import ImageFileDataset
    from vmf_embeddings.datasets.inspection import Inspection

_MOST_SHOWN = 20  # classes and broken files; JSON has all
_LONG_TAIL = 10  # images of the largest class over those of the smallest


def check(options: CheckOptions) -> int:
    """Prints what was found and the command to train.

    Returns:
        Exit code: 0 where everything is fine, 1 where something has to be mended, 2 where the path
        leads to nothing that can be checked, 130 where it was interrupted. Messages go to standard
        error.
    """
    return exit_code("check", lambda: _check(options))


def _check(options: CheckOptions) -> int:
    found, commands = _looked_at(options)
    with reader_may_leave():
        if options.json:
            print(json.dumps({"data": str(options.path), **found.as_json(), **commands}))
        else:
            _present(found, commands)
    return 0 if found.is_fine else 1


def _looked_at(options: CheckOptions) -> "tuple[Inspection, dict[str, str]]":
    """What is wrong with the data, and the commands that use them.

    Returns:
        What was found; and under `command` what to type next, for a file of embeddings also under
        `train_command` how to train on it.

    Raises:
        ValueError: the path leads to nothing that can be checked.
        FileNotFoundError: there is nothing.
    """
    path = options.path.expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a folder, a table or a file")
    kind = kind_of_data(path, open_set=options.open_set, layout=options.layout)
    if not kind.holds_images:
        return look_at_features(path, kind)
    from vmf_embeddings.datasets.inspection import inspect

    data = cast("ImageFileDataset", kind.built())
    found = inspect(data, _progress(quiet=options.json))
    own = [f"experiment={_experiment(data)}", typed.override("data", path)]
    # the experiment decides whether the set is open, and own data are recognised again
    further = {k: v for k, v in kind.values.items() if k not in ("dataset_path", "open_set")}
    words = [typed.override(f"dataset.params.{key}", value) for key, value in further.items()]
    return found, {"command": typed.command("main", *own, *words)}


def _experiment(data: "ImageFileDataset") -> str:
    """The experiment on own images that suits these."""
    try:
        if data.open_set:
            return "own_open"
        counts = np.unique(data.rows["train"].labels, return_counts=True)[1]
    except (ValueError, KeyError):  # the inspection has named what is wrong
        return "own_closed"
    return "own_long_tail" if counts.max() >= _LONG_TAIL * counts.min() else "own_closed"


def _progress(*, quiet: bool) -> Callable[[str], None]:
    """Prints what takes long, to standard error where standard output is for JSON."""
    return lambda line: print(f"({line})", file=sys.stderr) if not quiet else None


def _present(found: "Inspection", commands: dict[str, str]) -> None:
    """Prints the counts, the notes and the faults, and the commands to go on with."""
    lines = [found.summary] if found.summary else []
    for split, counts in found.counts.items():
        lines.append(f"{split}: {sum(counts.values())} in {counted(len(counts), 'class')}")
        lines += _first([f"  {n:>7}  {name}" for name, n in counts.items()], "  … {} more classes")
    lines += [f"note: {note}" for note in found.notes]
    faults = [*found.faults, *found.broken.values()]
    lines += _first([f"to mend: {fault}" for fault in faults], "to mend: {} more")
    print(*map(printable, lines), sep="\n")
    if found.broken:
        print("to leave out what cannot be read, add dataset.params.on_error=skip")
    command = commands["command"]
    print(f"to mend: {len(faults)} in all; then: {command}" if faults else f"fine; next: {command}")
    if "train_command" in commands:
        print(f"to train on it: {commands['train_command']}")


def _first(lines: list[str], more: str) -> list[str]:
    n_more = len(lines) - _MOST_SHOWN
    shown = [f"{more.format(n_more)} (--json lists all)"] if n_more > 0 else []
    return [*lines[:_MOST_SHOWN], *shown]
