"""The command `check`: what is in a folder, a table, lists or a file, and what is wrong there."""

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmf_embeddings import typed
from vmf_embeddings.cli.check_arguments import CheckOptions
from vmf_embeddings.cli.check_features import (
    has_feature_files,
    is_table_of_vectors,
    look_at_features,
)
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.cli.pipes import reader_may_leave
from vmf_embeddings.datasets.wording import counted
from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.image_formats import is_picture
from vmf_embeddings.untrusted.text import printable

if TYPE_CHECKING:
    from vmf_embeddings.datasets.image_files import ImageFileDataset
    from vmf_embeddings.datasets.inspection import Inspection

_TABLES = (".csv", ".tsv")
_LISTS = ("train.txt", "test.txt")
_VALID_LISTS = ("val.txt", "valid.txt", "validation.txt", "dev.txt")
_MOST_SHOWN = 20  # classes and broken files; JSON has all
_TRAIN = (
    "dataset.params.image_size=64 arch=resnet18 sampler=random mode.learning_rate=0.05 name=mine"
)


def check(options: CheckOptions) -> int:
    """Prints what was found and the command to train.

    Returns:
        Exit code: 0 where everything is fine, 1 where something has to be mended, 2 where the path
        leads to nothing that can be checked. Messages go to standard error.
    """
    try:
        found, commands = _looked_at(options)
    except (ValueError, OSError) as error:
        print(f"check: {_lines(str(error))}", file=sys.stderr)
        return 2
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
    if path.is_dir() and has_feature_files(path):
        return look_at_features(path, options.open_set)
    if not path.is_dir() and not _is_table_of_images(path):
        if path.suffix == ".txt":
            raise ValueError(
                f"{path} is one list; give the folder that holds {' and '.join(_LISTS)}"
            )
        return look_at_features(path, options.open_set)
    from vmf_embeddings.datasets.inspection import inspect

    name, values = _kind_of(path, options)
    found = inspect(_built(name, values), _progress(quiet=options.json))
    words = [typed.override(f"dataset.params.{key}", _text(value)) for key, value in values.items()]
    return found, {"command": typed.command("main", f"dataset={name}", *words, _TRAIN)}


def _text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _kind_of(path: Path, options: CheckOptions) -> tuple[str, dict[str, Any]]:
    """The data set that reads a path, and the parameters that differ from its defaults."""
    values: dict[str, Any] = {"dataset_path": path}
    if path.is_dir() and all((path / name).is_file() for name in _LISTS):
        valid = [name for name in _VALID_LISTS if (path / name).is_file()]
        return "image_list", values | ({"valid_list": valid[0]} if valid else {})
    if options.open_set is not None:
        values["open_set"] = options.open_set
    if not path.is_dir() or (_only_table(path) is not None and not _has_folder_layout(path)):
        return "csv", values
    return "folder", values | ({} if options.layout == "auto" else {"layout": options.layout})


def _only_table(folder: Path) -> Path | None:
    tables = [each for each in sorted(folder.iterdir()) if each.suffix.lower() == ".csv"]
    return tables[0] if len(tables) == 1 and _is_table_of_images(tables[0]) else None


def _has_folder_layout(path: Path) -> bool:
    """Whether folders below `path` are named by splits; a table beside them is then an extra."""
    from vmf_embeddings.datasets.split_names import split_named

    return any(each.is_dir() and split_named(each.name) for each in path.iterdir())


def _is_table_of_images(path: Path) -> bool:
    """Whether a file is a table of images, by a column's name or paths in its first rows."""
    if path.suffix.lower() not in _TABLES or not path.is_file():
        return False
    lines = [line for line in read_text(path).split("\n") if line.strip()][:3]
    rows = [re.split("[,;\t]", line.lower()) for line in lines]
    cells = [[cell.strip().strip("\"'") for cell in row] for row in rows]
    if cells and is_table_of_vectors(cells):
        return False
    of_images = {"path", "paths", "file", "filename", "image", "split"}
    if cells and of_images & set(cells[0]):
        return True
    return any(any(map(is_picture, row)) and sum("." in c for c in row) < 2 for row in cells)


def _built(name: str, values: dict[str, Any]) -> "ImageFileDataset":
    """The data set with the defaults of its yaml file."""
    import yaml

    params = yaml.safe_load((CONF / "dataset" / f"{name}.yaml").read_text())["params"]
    module, _, kind = params.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), kind)(**{**params, **values})


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


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
