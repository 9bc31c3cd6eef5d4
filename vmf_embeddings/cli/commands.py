"""The commands of `vmf-embeddings COMMAND`: which there are, and what each imports and runs.

Nothing is imported until a command is chosen: `--help` must not wait for torch, nor for Hydra.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PROGRAM = "vmf-embeddings"
_HELP = {"--help", "-h"}


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        purpose: one line for `--help`.
        run: takes the arguments after the command's name and returns the exit code.
    """

    purpose: str
    run: Callable[[list[str]], int]


def run_command(arguments: Sequence[str]) -> int:
    """Runs the command that the first argument names.

    Arguments that begin with an option or an override, as in `vmf-embeddings experiment=demo`, are
    those of `train`: the console script once had no other command.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit code: 0, 1 for a failure, 2 for a user's mistake, 130 where it was interrupted.
    """
    from vmf_embeddings.cli import completion

    first, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if completion.answered(arguments, list(COMMANDS)):
        return 0
    if first in COMMANDS:
        return COMMANDS[first].run(rest)
    if first in _HELP:
        _print(_usage())
        return 0
    if not first or not _is_of_train(first):
        import difflib

        near = difflib.get_close_matches(first, COMMANDS, n=1, cutoff=0.5)
        came = f"unknown command {first!r}" if first else "expected a command"
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"{PROGRAM}: {came}{hint}\n\n{_usage()}", file=sys.stderr)
        return 2
    return COMMANDS["train"].run(list(arguments))


def _is_of_train(argument: str) -> bool:
    """Whether an argument is one of Hydra's options or an override, and no command."""
    return argument.startswith(("-", "+", "~")) or "=" in argument


def _usage() -> str:
    lines = [f"  {name:<10} {command.purpose}" for name, command in COMMANDS.items()]
    return (
        f"usage: {PROGRAM} COMMAND …     (or: python -m vmf_embeddings COMMAND …)\n\n"
        + "\n".join(lines)
        + f"\n\n{PROGRAM} COMMAND --help lists what a command takes.\n"
        f"Try it: {PROGRAM} train experiment=demo"
    )


def _print(text: str) -> None:
    from vmf_embeddings.cli.pipes import reader_may_leave

    with reader_may_leave():
        print(text)


def _without_warnings_of_pillow() -> None:
    """Passes over what Pillow warns of, which names no file; what it cannot read is an error."""
    import warnings

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def train(arguments: list[str]) -> int:
    """Runs `train`: every `mode=` of `conf/config.yaml`, extraction and second stages included."""
    if _HELP & set(arguments):
        from vmf_embeddings.cli.help import help_text

        _print(help_text(arguments))
        return 0
    _without_warnings_of_pillow()
    sys.argv[1:] = arguments  # Hydra reads its arguments from there
    from vmf_embeddings.cli import app

    app.main()
    return 0


def _interruptible(run: Callable[..., int]) -> Callable[..., int]:
    """A command that ends with 130, and without a traceback, where it is interrupted."""

    @functools.wraps(run)
    def interruptible(*arguments: object, **options: object) -> int:
        try:
            return run(*arguments, **options)
        except KeyboardInterrupt:
            print(f"{run.__name__}: interrupted", file=sys.stderr)
            return 130

    return interruptible


@_interruptible
def evaluate(arguments: list[str], prog: str = f"{PROGRAM} evaluate") -> int:
    """Runs `evaluate`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.evaluate_arguments import parse_evaluate

    options = parse_evaluate(arguments, prog=prog)
    _without_warnings_of_pillow()
    from vmf_embeddings.cli.evaluate import evaluate as run

    return run(options)


@_interruptible
def summarize(arguments: list[str], prog: str = f"{PROGRAM} summarize") -> int:
    """Runs `summarize`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.summarize_arguments import parse_summarize

    options = parse_summarize(arguments, prog=prog)
    if options.sweep is not None:
        from vmf_embeddings.cli.pipes import reader_may_leave
        from vmf_embeddings.cli.sweep_table import print_sweep

        with reader_may_leave():
            return print_sweep(options.sweep)
    from vmf_embeddings.cli.summarize import summarize as run

    return run(options)


@_interruptible
def check(arguments: list[str], prog: str = f"{PROGRAM} check") -> int:
    """Runs `check`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.check_arguments import parse_check

    options = parse_check(arguments, prog=prog)
    _without_warnings_of_pillow()
    from vmf_embeddings.cli.check import check as run

    return run(options)


@_interruptible
def compare(arguments: list[str], prog: str = f"{PROGRAM} compare") -> int:
    """Runs `compare`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.compare_arguments import parse_compare

    options = parse_compare(arguments, prog=prog)
    from vmf_embeddings.cli.compare import compare as run

    return run(options)


@_interruptible
def embed(arguments: list[str], prog: str = f"{PROGRAM} embed") -> int:
    """Runs `embed`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.embed_arguments import parse_embed

    options = parse_embed(arguments, prog=prog)
    _without_warnings_of_pillow()
    from vmf_embeddings.cli.embed import embed as run

    return run(options)


@_interruptible
def export(arguments: list[str], prog: str = f"{PROGRAM} export") -> int:
    """Runs `export`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.export_arguments import parse_export

    options = parse_export(arguments, prog=prog)
    from vmf_embeddings.cli.export import export as run

    return run(options)


@_interruptible
def search(arguments: list[str], prog: str = f"{PROGRAM} search") -> int:
    """Runs `search`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.search_arguments import parse_search

    options = parse_search(arguments, prog=prog)
    _without_warnings_of_pillow()
    from vmf_embeddings.cli.search import search as run

    return run(options)


@_interruptible
def convert(arguments: list[str], prog: str = f"{PROGRAM} convert") -> int:
    """Runs `convert`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.convert_arguments import parse_convert

    options = parse_convert(arguments, prog=prog)
    from vmf_embeddings.cli.convert import convert as run

    return run(options)


@_interruptible
def report(arguments: list[str], prog: str = f"{PROGRAM} report") -> int:
    """Runs `report`; the arguments are read before anything slow is imported."""
    from vmf_embeddings.cli.report_arguments import parse_report

    options = parse_report(arguments, prog=prog)
    _without_warnings_of_pillow()
    from vmf_embeddings.cli.report import report as run

    return run(options)


COMMANDS = {
    "train": Command("train, extract embeddings (mode=get_embeddings), second stages", train),
    "check": Command("look at data before training on them: counts, faults, what to type", check),
    "embed": Command("embeddings of new images by a trained run, in one file", embed),
    "evaluate": Command("score embedding files: tables, metrics.json, figures", evaluate),
    "compare": Command("two runs on the same rows, or a run and its published figure", compare),
    "search": Command("the nearest images of a file of embeddings: table, sheet, HTML", search),
    "report": Command("one HTML file on a run, or on several side by side", report),
    "summarize": Command("one table over many scored runs", summarize),
    "convert": Command("embeddings in another format, also divided among files", convert),
    "export": Command("a trained run as .onnx, .pt2, or a bundle for a colleague", export),
}
