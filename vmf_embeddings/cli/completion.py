"""Shell completion of `vmf-embeddings COMMAND …`, on top of the scripts that Hydra installs.

`eval "$(vmf-embeddings -sc install=bash)"` makes the shell call `vmf-embeddings -sc query=bash`
with the line typed so far in `COMP_LINE`. Hydra completes overrides, but knows no commands.
"""

import importlib
import os
from collections.abc import Sequence

_FLAGS = {"-sc", "--shell-completion"}
_PATHS_AND_OPTIONS = (
    *("check", "compare", "convert", "embed", "evaluate"),
    *("export", "report", "search", "summarize"),
)


def answered(arguments: Sequence[str], commands: Sequence[str]) -> bool:
    """Prints the completions of a command's name or of its options, if that is what is asked for.

    A line that begins with `train` is handed to Hydra without that word, by `COMP_LINE`.

    Args:
        arguments: of this process, without the program's name.
        commands: names of all commands.

    Returns:
        Whether the question was answered; False leaves it to Hydra.
    """
    line = os.environ.get("COMP_LINE")
    if line is None or not _FLAGS & set(arguments) or "query=" not in " ".join(arguments):
        return False
    program, *words = line.split()
    word = "" if line[-1:].isspace() or not words else words[-1]
    finished = words[:-1] if word else words
    if not finished:
        print(" ".join(name for name in commands if name.startswith(word)))
        return "=" not in word and not word.startswith("-")
    if finished[0] in _PATHS_AND_OPTIONS:
        print(" ".join(option for option in _options(finished[0]) if option.startswith(word)))
        return True  # nothing printed: the shell completes file names
    if finished[0] == "train":
        os.environ["COMP_LINE"] = " ".join([program, *finished[1:], word])
    return False


def _options(command: str) -> list[str]:
    """Long options of a command, with their dashes."""
    arguments = importlib.import_module(f"vmf_embeddings.cli.{command}_arguments")
    parser = getattr(arguments, f"{command}_parser")(command)
    return [f"--{name}" for name in parser.options()]
