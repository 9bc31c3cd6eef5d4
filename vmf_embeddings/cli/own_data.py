"""`data=PATH` on a command line: the overrides that it stands for, chosen by a look at the data.

`experiment=own_closed data=photos` becomes a command in which the data set, the size of the images,
the network and the length of the training are typed out. What the user types himself is left as it
is. Every choice is printed, so that the command can be repeated with other values.
"""

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmf_embeddings import typed
from vmf_embeddings.cli.as_typed import text_of
from vmf_embeddings.cli.help import CONF
from vmf_embeddings.untrusted.refused import Refused

EXPERIMENTS = ("own_closed", "own_open", "own_long_tail", "own_features")
_SHORT = {"data": "dataset.params.dataset_path", "weights": "arch.params.weights"}


@dataclass(frozen=True)
class _Given:
    """The overrides of a command by their keys, as typed."""

    values: dict[str, str]

    @classmethod
    def of(cls, arguments: Sequence[str]) -> "_Given":
        pairs = (one.partition("=") for one in arguments if not one.startswith("-"))
        return cls({key.lstrip("+"): value for key, equals, value in pairs if equals})

    def text(self, key: str) -> str | None:
        """The text of a value: without the quotes that it may have been typed in."""
        value = self.values.get(key)
        if value is None or not re.match(r"\s*['\"]", value):
            return value
        return text_of(f"{key}={value}") or value

    def of_data(self) -> dict[str, str]:
        """The parameters of the data set that were typed."""
        begin = "dataset.params."
        return {k.removeprefix(begin): v for k, v in self.values.items() if k.startswith(begin)}


def typed_out(arguments: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """The arguments of a command, in which `data=PATH` and `weights=FILE` are typed out.

    Args:
        arguments: overrides and flags, as they arrived.
        say: called with each line on what was found and chosen.

    Returns:
        The arguments as they were if they do not name an `own_…` experiment.

    Raises:
        Refused: `data` without such an experiment or the other way round, or nothing is there.
        ValueError: the data cannot be used, and why.
    """
    given = _Given.of(arguments)
    experiment = given.text("experiment")
    if experiment not in EXPERIMENTS:
        for key, long in _SHORT.items():
            if key in given.values:
                raise Refused(
                    f"{key}={given.values[key]}: {key} goes with one of the experiments "
                    f"{', '.join(EXPERIMENTS)}, as in experiment=own_closed data=PATH. Elsewhere "
                    f"type {long}=…"
                )
        return list(arguments)
    path = given.text("data")
    if path is None:
        if any(key in given.values for key in ("dataset", "run", "dataset.params.dataset_path")):
            return list(arguments)
        if {"--help", "-h", "--cfg", "-c", "--info", "-i"} & set(arguments):
            return list(arguments)
        raise Refused(
            f"experiment={experiment} needs your data: add data=PATH, a folder of images, a table "
            "with columns path and label, or a file of feature vectors"
        )
    added = _overrides(experiment, Path(path).expanduser(), given, say)
    if {"-m", "--multirun"} & set(arguments):
        added.append(_left_out_of_folders(one.partition("=")[0] for one in added))
    at = next((i for i, one in enumerate(arguments) if not one.startswith("-")), len(arguments))
    return [*arguments[:at], *added, *(_quoted(one, given) for one in arguments[at:])]


def _left_out_of_folders(keys: Iterable[str]) -> str:
    """The override that leaves chosen keys out of the names of a sweep's folders: all have them."""
    import yaml

    config = yaml.safe_load((CONF / "config.yaml").read_text())
    key = "hydra.job.config.override_dirname.exclude_keys"
    node = functools.reduce(lambda node, name: node[name], key.split("."), config)
    return f"{key}=[{','.join([*node, *_SHORT, *keys])}]"


def _quoted(argument: str, given: _Given) -> str:
    """`data=` and `weights=` in quotes where a path needs them; other arguments as they are."""
    key = argument.partition("=")[0]
    text = given.text(key) if key in _SHORT else None
    return argument if text is None else f"{key}={_value(Path(text))}"


def _overrides(experiment: str, path: Path, given: _Given, say: Callable[[str], None]) -> list[str]:
    """What `data=` and `weights=` stand for, less what was typed otherwise."""
    from vmf_embeddings.cli.data_kind import kind_of_data  # these import numpy
    from vmf_embeddings.cli.own_choices import Facts, choices

    if not path.exists():
        raise Refused(f"data={path}: there is no such file or folder")
    open_set = {"own_open": True, "own_closed": False, "own_long_tail": False}.get(experiment)
    kind = kind_of_data(path, open_set=open_set)
    if kind.holds_images and experiment == "own_features":
        raise Refused(
            f"data={path} holds images, and experiment=own_features takes a file of feature "
            "vectors: say experiment=own_closed, own_open or own_long_tail"
        )
    if not kind.holds_images and experiment != "own_features":
        further = " dataset.params.open_set=true" if experiment == "own_open" else ""
        further += " method=classifier loss=balanced_softmax" if "tail" in experiment else ""
        raise Refused(
            f"data={path} holds feature vectors, and experiment={experiment} takes images: say "
            f"experiment=own_features{further}"
        )
    facts = Facts.of(kind, given.of_data())
    found = choices(experiment, kind, facts, given.values, given.text("weights"))
    typed_keys = set(given.values)
    chosen = {
        key: value
        for key, value in found.items()
        if key not in typed_keys and not _of_another_option(key, typed_keys, given, found)
    }
    words = [f"{key}={_value(value)}" for key, value in chosen.items()]
    say(f"{path}: {facts.sentence}")
    say(f"data={path} stands for {typed.given(words)}")
    return words


def _of_another_option(
    key: str, typed_keys: set[str], given: _Given, found: dict[str, object]
) -> bool:
    """Whether a key belongs to the chosen option of a group of which another one was typed.

    The criterion belongs to the chosen method.
    """
    group = key.split(".")[0]
    if group == "criterion" and "method" in found:
        group = "method"
    return group in typed_keys and group in found and given.text(group) != found[group]


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    if isinstance(value, str | Path):
        text = str(value)
        return text if re.fullmatch(r"[\w./:+-]+", text) else typed.hydra_text(text)
    return str(value)
