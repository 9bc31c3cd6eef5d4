"""Finds scored runs by their `metrics.json`, and gives replications a common name."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vmf_embeddings import typed
from vmf_embeddings.embeddings.endings import READ, ends_with
from vmf_embeddings.evaluation.options import SECTIONS
from vmf_embeddings.evaluation.settings import described, settings_of, varying
from vmf_embeddings.evaluation.summary.options import SummaryOptions
from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.json_text import parse_json_object
from vmf_embeddings.untrusted.records import ENTRY, check_record, is_score
from vmf_embeddings.untrusted.text import printable
from vmf_embeddings.untrusted.yaml_text import read_yaml

# the part of a folder's name that is a seed: random_seed=3, name_s3, name-seed3
_SEED = re.compile(r"(^|,)random_seed=-?\d+(?=,|$)|(?:^|[_-])(?:s|seed)_?\d+$")
_CUT = re.compile(r"=.*~[0-9a-f]{8}$")  # a sweep's job whose name was shortened
# measures of the embeddings' structure, which may be taken from another split
_STRUCTURE = re.compile(r"^(rho|intra|inter|pi_|concentration_|uniformity|alignment)")
_TABLES = ("compact", "reranked")
_LONGEST_NAME = 100  # characters of the name of a score
_HASHES = {"train_identity": "trained on", "split_hash": "scored on"}


@dataclass(frozen=True)
class Run:
    """One scored run.

    Args:
        folder: of its `metrics.json`.
        label: name of its recipe; the same for all replications. It begins with the name of the
            approximate index where one ranked the neighbours.
        dataset: name of the data set.
        seed: of the run; None where unknown.
        scores: name -> value; NaN where undefined.
        open_set: whether the classes scored are unseen in training, so that retrieval is the task.
        intervals: name of a score -> ends of its 95 % interval over rows or classes, where the run
            was scored with draws.
    """

    folder: Path
    label: str
    dataset: str
    seed: int | None
    scores: dict[str, float]
    open_set: bool = True
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


def find_runs(options: SummaryOptions) -> list[Run]:
    """All scored runs below the paths, in the order of the paths, then by name.

    Raises:
        FileNotFoundError: there is no such path, or no scores of the split below it.
        ValueError: two runs of one data set were trained or scored on different images, or a file
            is not one that `evaluate` writes.
    """
    found: dict[Path, dict[str, Any]] = {}
    for path in options.paths:
        below = dict(_entries(path, options.split))
        if not below:
            raise FileNotFoundError(
                f"no scores of the split {options.split} below {path}. Score the runs first:\n"
                "  "
                + typed.command(
                    "evaluate", typed.argument(path), f"metrics=all --split {options.split}"
                )
            )
        found |= {folder: entry for folder, entry in below.items() if folder not in found}
    _refuse_unlike(found)
    labels = _with_settings(_labels(found))
    runs = [_run(folder, labels[folder], entry, options) for folder, entry in found.items()]
    return [_with_structure(run, options) for run in runs]


def _entries(path: Path, split: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders below a path, each with the entry of a split in its `metrics.json`."""
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: expected a run folder or a folder of runs")
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "metrics.json" in files:
            if printable(folder) != folder:
                raise ValueError(f"the path {printable(folder)} has control characters: rename it")
            entry = _entry(Path(folder), split)
            if entry is not None:
                yield Path(folder), entry


def _entry(folder: Path, split: str) -> dict[str, Any] | None:
    """The entry of a split in the `metrics.json` of a folder; None if it has none."""
    path = folder / "metrics.json"
    content = parse_json_object(read_text(path), str(path))
    for name, entry in content.items():
        if not ends_with(name, READ):
            continue
        source = f"{path}: {printable(name)[:80]}"
        if not isinstance(entry, dict) or entry.get("dataset") is None:
            raise ValueError(f"{source} must hold a JSON object that names the dataset")
        check_record(entry, ENTRY, source)
        if entry.get("split") == split:
            return entry
    return None


def _refuse_unlike(found: Mapping[Path, dict[str, Any]]) -> None:
    first: dict[tuple[str, str], tuple[Path, str]] = {}
    for folder, entry in found.items():
        for key, verb in _HASHES.items():
            value = entry.get(key)
            if value is None:
                continue
            other, known = first.setdefault((key, entry["dataset"]), (folder, value))
            if known != value:
                raise ValueError(
                    f"{other} and {folder} were {verb} different images of {entry['dataset']} "
                    f"({key} {known[:12]}… and {value[:12]}…): summarize them one by one"
                )


def _labels(found: Mapping[Path, dict[str, Any]]) -> dict[Path, str]:
    """Labels of the runs: the parts of their paths that differ, without seeds; else the method."""
    jobs = {folder: _words(folder, entry.get("seed")) for folder, entry in found.items()}
    parts = {}
    for folder in found:
        beside = [set(words) for other, words in jobs.items() if other.parent == folder.parent]
        # overrides that all jobs of a sweep have do not tell them apart
        known = set.intersection(*beside) if len(beside) > 1 else set()
        name = ",".join(word for word in jobs[folder] if word not in known)
        above = (_SEED.sub("", part).strip(",") for part in folder.parts[:-1])
        parts[folder] = [*above, name]
    shared = os.path.commonprefix(list(parts.values())) if len(parts) > 1 else []
    if len(parts) == 1:
        shared = next(iter(parts.values()))[:-1]
    labels = {}
    for folder, own in parts.items():
        differing = own[len(shared) :]
        # the data set's name is in the heading; keep it only as a run's own name
        above = [part for part in differing[:-1] if part != found[folder]["dataset"]]
        rest = [part for part in (*above, *differing[-1:]) if part]
        label = "/".join(rest) or found[folder].get("method") or folder.name
        labels[folder] = printable(label)
    return labels


def _with_settings(labels: Mapping[Path, str]) -> dict[Path, str]:
    """Labels with the settings in which runs of one label differ, as their records say.

    A path, such as that of each seed's own teacher, is no setting.
    """
    members: dict[str, list[Path]] = {}
    for folder, label in labels.items():
        members.setdefault(label, []).append(folder)
    found = {}
    for label, folders in members.items():
        settings = [settings_of(folder) if len(folders) > 1 else {} for folder in folders]
        keys = [
            key for key in varying(settings) if not any("/" in s.get(key, "") for s in settings)
        ]
        for folder, own in zip(folders, settings, strict=True):
            differing = described({key: own[key] for key in keys if key in own})
            found[folder] = f"{label} ({differing})" if differing else label
    return {folder: found[folder] for folder in labels}


def _words(folder: Path, seed: int | None) -> list[str]:
    """The name of a run's folder without its seed; of a sweep's job, its overrides one by one.

    A seed is `random_seed=3`, `_s3`, `-seed3`, or a number at the end that equals the run's seed,
    as in margin_3. For a shortened name the overrides are read from Hydra's record, because the
    hash in the name depends on the seed too.
    """
    record = folder / ".hydra_train" / "overrides.yaml"
    if _CUT.search(folder.name) and record.exists():
        words = read_yaml(record)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{record} must hold a list of overrides")
    else:
        words = folder.name.split(",")
    words = [_SEED.sub("", word) for word in words]
    words = [word if "=" in word else re.sub(rf"[_-]{seed}$", "", word) for word in words]
    return [word for word in words if word]


def _run(folder: Path, label: str, entry: dict[str, Any], options: SummaryOptions) -> Run:
    """A run from its entry: Recall@k and MAP@R by its geometry, others of the chosen space."""
    own = entry.get("retrieval") or entry.get("sampled_retrieval") or {}
    scores = {**entry.get(options.space, {}), **_structure_of_normalised(entry), **own}
    classification = entry.get("classification") or {}
    scores |= {f"classification.{name}": v for name, v in classification.items()}
    shots = (entry.get("shots") or {}).items()
    scores |= {f"shots.{name}": v for name, v in shots if isinstance(v, int | float)}
    for section in (*SECTIONS, *_TABLES):
        table = entry.get(section)
        for name, value in table.items() if isinstance(table, dict) else ():
            if is_score(value):
                scores[f"{section}/{printable(name)[:_LONGEST_NAME]}"] = value
    open_set = not classification if entry.get("open_set") is None else entry["open_set"]
    seed = entry.get("seed")
    index = _index(entry)
    if index is not None:  # not averaged with exact scores
        label = f"index {index[0]}, {label}"
        scores["index_recall"] = index[1]
    return Run(
        folder, label, entry["dataset"], seed, _numbers(scores), bool(open_set), _intervals(entry)
    )  # fmt: skip


def _intervals(entry: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The intervals that `evaluate --resample` stored, by the names of scores of a run."""
    stored, found = entry.get("significance"), {}
    for key, one in stored.items() if isinstance(stored, dict) else ():
        section, _, name = str(key).partition("/")
        ends = [one.get(end) for end in ("low", "high")] if isinstance(one, dict) else [None]
        if all(map(is_score, ends)) and section in ("retrieval", "classification", "shots"):
            prefix = "" if section == "retrieval" else f"{section}."
            found[prefix + name] = (float(ends[0]), float(ends[1]))
    return found


def _index(entry: dict[str, Any]) -> tuple[str, float] | None:
    """Name and recall of the index that ranked the neighbours; None where they are exact."""
    about = entry.get("retrieval_about")
    index = about.get("index") if isinstance(about, dict) else None
    if not isinstance(index, dict):
        return None
    recall = index.get("recall")
    is_number = isinstance(recall, int | float)
    return printable(index.get("name"))[:20], float(recall) if is_number else math.nan


def _structure_of_normalised(entry: dict[str, Any]) -> dict[str, Any]:
    """Measures of structure that are only defined for normalised rows, whatever space is chosen."""
    normalised = entry.get("normalised", {})
    return {k: v for k, v in normalised.items() if _STRUCTURE.match(k) and k[:3] != "rho"}


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {k: math.nan if v is None else float(v) for k, v in scores.items()}


def _with_structure(run: Run, options: SummaryOptions) -> Run:
    """The run with measures of structure of another split, if `structure_split` names one."""
    if options.structure_split in (None, options.split):
        return run
    entry = _entry(run.folder, str(options.structure_split))
    if entry is None:
        extracted = typed.override("run", run.folder)
        raise FileNotFoundError(
            f"{run.folder}/metrics.json has no scores of {options.structure_split}; add them:\n"
            f"  {typed.command('main', 'mode=get_embeddings', extracted, 'split=all')}\n"
            f"  {typed.command('evaluate', typed.argument(run.folder))} metrics=[spectrum,spread] "
            f"--split {options.structure_split} --no-figures"
        )
    other = _run(run.folder, run.label, entry, options).scores
    kept = {k: v for k, v in run.scores.items() if not _STRUCTURE.match(k)}
    return replace(run, scores=kept | {k: v for k, v in other.items() if _STRUCTURE.match(k)})


def recipes(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by label, in the order of their first run."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.label, []).append(run)
    return found
