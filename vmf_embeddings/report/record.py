"""What was run: command, configuration, versions and hashes that a run's folder records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vmf_embeddings import typed
from vmf_embeddings.evaluation.settings import overrides_of
from vmf_embeddings.report.run import ReportedRun
from vmf_embeddings.report.tables import Table, words
from vmf_embeddings.untrusted.files import open_regular, read_text
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.yaml_text import read_yaml

_LONGEST_LOG = 60_000  # bytes of its end
_MOST_LINES = 300
_MOST_KEYS = 2000
_EXTRACTION = ".hydra_get_embeddings"
_OPEN_SET = {True: "unseen in training", False: "those of training"}
_LARGEST_STATUS = 2**20  # bytes


def facts(runs: Sequence[ReportedRun]) -> Table:
    """One line per fact, one column per run."""
    own = [_facts(run) for run in runs]
    names = list(dict.fromkeys(name for facts in own for name in facts))
    rows = [[words(name), *(words(facts.get(name)) for facts in own)] for name in names]
    return Table("facts", "What was run", ["", *(run.name for run in runs)], rows)


def configuration(runs: Sequence[ReportedRun]) -> Table | None:
    """Every key of the configurations; None where no run has one."""
    own = [_configuration(run) for run in runs]
    keys = list(dict.fromkeys(key for values in own for key in values))[:_MOST_KEYS]
    rows = [[words(key), *(words(values.get(key)) for values in own)] for key in keys]
    head = ["key", *(run.name for run in runs)]
    return Table("configuration", "Configuration", head, rows) if rows else None


def differing(table: Table | None, key: str) -> Table | None:
    """The rows of a table in which runs differ; None with one run, or where nothing differs."""
    if table is None or len(table.head) < 3:
        return None
    rows = [row for row in table.rows if len({cell.text for cell in row[1:]}) > 1]
    caption = "Keys of the configuration that differ"
    return Table(key, caption, table.head, rows) if rows else None


def log_of(run: ReportedRun) -> str | None:
    """The end of the log of the training, printable; None without one."""
    path = run.folder / "main.train.log"
    if run.evaluated.foreign or not path.is_file() or path.is_symlink():
        return None
    with open_regular(path) as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _LONGEST_LOG))
        text = stream.read(_LONGEST_LOG).decode(errors="replace")
    lines = text.splitlines()
    left_out = size > _LONGEST_LOG or len(lines) > _MOST_LINES
    shown = [printable(line) for line in lines[-_MOST_LINES:]]
    return "\n".join(["… (earlier lines are left out)", *shown] if left_out else shown)


def _facts(run: ReportedRun) -> dict[str, str]:
    evaluated, entry = run.evaluated, run.entry
    found = {
        "File": str(evaluated.path),
        "Training command": _command(run.folder),
        "State": _state(run.folder),
        "Method": evaluated.meta("method"),
        "Objective": _objective(evaluated.meta("objective")),
        "Data set": evaluated.dataset,
        "Split": evaluated.split,
        "Classes of the split": _OPEN_SET[evaluated.file.open_set],
        "Rows, classes, dimensions": f"{entry.get('n_rows')}, {entry.get('n_classes')}, "
        f"{entry.get('embedding_dim')}",
        "Geometry": _objective(evaluated.geometry.to_meta()),
        "Seed": evaluated.meta("seed"),
        "Epoch": evaluated.meta("epoch"),
        "Epoch chosen by": evaluated.meta("selected_on"),
        "Hash of the split's images": evaluated.meta("split_hash"),
        "Hash of the training images": evaluated.meta("train_identity"),
        "Hash of the weights": evaluated.meta("weights"),
        "Temperature": entry.get("temperature"),
        "Versions": _objective(evaluated.meta("versions")),
        **run.checkpoint,
    }  # fmt: skip
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _objective(value: Any) -> str | None:
    """A JSON object in one line, such as "name: vmf"."""
    if not isinstance(value, Mapping):
        return None
    return ", ".join(f"{key}: {part}" for key, part in value.items() if part != "none")


def _command(folder: Path) -> str | None:
    """The command of the training, from the overrides that Hydra records; None without them."""
    words = overrides_of(folder)
    return f"vmf-embeddings train {typed.given(words)}" if words else None


def _state(folder: Path) -> str | None:
    """When the training started, how long it took and how it ended, from `status.json`."""
    path = folder / "status.json"
    if not path.is_file() or path.is_symlink():
        return None
    try:
        status = parse_json_object(read_text(path, limit=_LARGEST_STATUS), str(path))
    except (OSError, ValueError):
        return None
    seconds = status.get("seconds")
    took = f"{seconds:,.0f} s" if isinstance(seconds, int | float) else None
    parts = [status.get("state"), status.get("started"), took, status.get("error")]
    return ", ".join(str(part)[:200] for part in parts if part)


def _configuration(run: ReportedRun) -> dict[str, str]:
    """Dotted keys and values of the training, or of the second stage that made the run."""
    if run.evaluated.foreign:
        return {}
    for record in sorted(run.folder.glob(".hydra_*")):
        config = None if record.name == _EXTRACTION else _yaml(record / "config.yaml")
        if isinstance(config, dict):
            return dict(_flat(config))
    return {}


def _yaml(path: Path) -> Any:
    """Plain values of a file; None where there is none that can be read."""
    if not path.is_file() or path.is_symlink() or path.parent.is_symlink():
        return None
    try:
        return read_yaml(path)
    except (Refused, OSError):
        return None


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{name}.")
        else:
            found.append((name, "null" if value is None else str(value)))
    return found
