"""What the command lines of all commands but `train` share; imports nothing slow."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from vmf_embeddings.untrusted.files import refuse_special
from vmf_embeddings.untrusted.refused import Refused

Value = TypeVar("Value")


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests similar options and also accepts `option=value`.

    A file or folder whose name begins with a dash, and which is no option, is taken as a path.
    """

    def options(self) -> list[str]:
        """Names of the long options, without their dashes."""
        return [name[2:] for name in self._option_string_actions if name.startswith("--")]

    def parse_args(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parses; exits with code 2 and a suggestion if an option is unknown."""
        given = list(sys.argv[1:] if arguments is None else arguments)
        values, unknown = self.parse_known_args(self._with_dashes(given))
        if unknown:
            self.error(f"unknown argument {unknown[0]}{self._suggestion(unknown[0])}")
        return values

    def error(self, message: str) -> NoReturn:
        """Prints usage and message to stderr and exits with code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog.split()[-1]}: {message}\nSee --help.\n")

    def _with_dashes(self, arguments: list[str]) -> list[str]:
        """Replaces `search=faiss` by `--search=faiss`, unless a file has that name.

        Replaces the name `-x` of a file by `./-x`.
        """
        replaced = []
        for argument in arguments:
            if self._is_path(argument):
                replaced.append(f"./{argument}")
                continue
            name = re.match(r"([a-z_]+)=", argument)
            if name and not Path(argument).exists():
                option = name[1].replace("_", "-")
                argument = f"--{option}{argument[name.end(1) :]}"
                if option not in self.options():
                    self.error(f"unknown argument {name[1]}={self._suggestion(name[1])}")
            replaced.append(argument)
        return replaced

    def _is_path(self, argument: str) -> bool:
        """Whether an argument with a dash is no option and no number, but a file or a folder."""
        option = argument.partition("=")[0] in self._option_string_actions
        looks_so = re.match(r"-(?!-?$|[\d.]+$)", argument) is not None
        return looks_so and not option and Path(argument).exists()

    def _suggestion(self, argument: str) -> str:
        name = argument.lstrip("-").split("=")[0]
        near = difflib.get_close_matches(name, self.options(), n=1, cutoff=0.5)
        return f"; did you mean --{near[0]}?" if near else ""


def choice(known: Sequence[str]) -> Callable[[str], str]:
    """An argparse type that accepts the known words and suggests a similar one for others."""

    def read(word: str) -> str:
        if word in known:
            return word
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f"{word!r} is unknown, known: {' '.join(known)}{hint}")

    return read


def whole_number(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number of `least` or more."""

    def read(word: str) -> int:
        if not word.isdigit() or int(word) < least:
            raise argparse.ArgumentTypeError(
                f"needs a whole number of {least} or more, got {word!r}"
            )
        return int(word)

    return read


positive_int = whole_number(1)


def several(one: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    """An argparse type: one value, or several separated by commas."""
    return lambda word: [one(part) for part in word.split(",")]


def number(least: float, most: float = float("inf")) -> Callable[[str], float]:
    """An argparse type: a finite number from `least` to `most`."""

    def read(word: str) -> float:
        value = _finite(word)
        if value is None or not least <= value <= most:
            upper = "" if most == float("inf") else f" to {most:g}"
            raise argparse.ArgumentTypeError(f"needs a number from {least:g}{upper}, got {word!r}")
        return value

    return read


def positive_float(word: str) -> float:
    """An argparse type: a finite number above 0."""
    value = _finite(word)
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"needs a number above 0, got {word!r}")
    return value


def _finite(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def folder(word: str) -> Path:
    """An argparse type: a folder that exists."""
    if not Path(word).is_dir():
        raise argparse.ArgumentTypeError(f"needs a folder, got {word!r}")
    return Path(word)


def existing(word: str) -> Path:
    """An argparse type: a file, or a folder that is read as one, that exists."""
    if not Path(word).exists():
        raise argparse.ArgumentTypeError(f"there is no file {word!r}")
    return Path(word)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the positional argument RUN."""
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run's folder, a checkpoint, or a bundle (.zip)"
    )


def add_embedding(parser: argparse.ArgumentParser) -> None:
    """Adds what commands that embed images have in common: batch size and device."""
    add = parser.add_argument
    add("--batch-size", type=positive_int, default=64, metavar="N", help="images per step (64)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, … (auto)")


def file_to_write(text: str) -> Path:
    """The path of a file that is written, or replaced; no folder and no device."""
    path = Path(text)
    try:
        refuse_special(path)
    except Refused as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file")
    return path
