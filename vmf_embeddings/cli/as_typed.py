"""Overrides whose keys are text, quoted so that their values stay what was typed.

The grammar of overrides reads `name=1.10` as a number and fails on `run=my run (1)`. Here a value
of a key that is declared as text is put in quotes where that grammar would read another one. Read
by the grammar as ever are: a value wholly in quotes, `${…}`, `null` where a key may be null, and
with `-m` lists `a,b` and functions such as `choice(a,b)`, whose parts are taken as typed.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from vmf_embeddings import typed
from vmf_embeddings.cli.declared import PATHS, Declarations, Declared
from vmf_embeddings.untrusted.refused import Refused

_OF_SWEEPS = re.compile(r"(choice|shuffle|sort|range|interval|glob|tag)\((.*)\)", re.DOTALL)
_OF_PARTS = ("choice", "shuffle", "sort")  # their arguments are the values to be tried
_CAST = re.compile(r"str\((.*)\)", re.DOTALL)
_OPTION = Declared(frozenset({str, type(None)}))


def as_typed(
    arguments: Sequence[str], declarations: Declarations, is_group: Callable[[str], bool]
) -> list[str]:
    """The arguments of a command, in which values of text keys are quoted where they must be.

    Args:
        arguments: overrides and flags, as they arrived.
        declarations: what the keys take.
        is_group: whether a key chooses the option of a group, whose names are text.

    Returns:
        The flags as they were, and behind them the overrides.

    Raises:
        Refused: a value can be read in two ways; says what to type for either.
    """
    parsed = get_args_parser().parse_intermixed_args(list(arguments))
    sweep = parsed.multirun or "hydra.mode=MULTIRUN" in parsed.overrides
    flags, waiting = [], list(parsed.overrides)
    for argument in arguments:
        if waiting and argument == waiting[0]:
            waiting.pop(0)
        else:
            flags.append(argument)
    folder = parsed.config_dir or ""
    if folder.startswith("~") and not os.path.lexists(folder):
        flags = [one.replace(folder, os.path.expanduser(folder)) for one in flags]
    typed_values = [_one(one, declarations, is_group, sweep=sweep) for one in parsed.overrides]
    return [*flags, *typed_values]


def _one(
    argument: str, declarations: Declarations, is_group: Callable[[str], bool], *, sweep: bool
) -> str:
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if not equals or key.startswith("~") or not value or _read_as_it_is(argument, value):
        return argument
    declared = _OPTION if is_group(name.split("@")[0]) else declarations.of(name)
    if declared is None or not declared.text:
        return argument
    return f"{key}={_Reader(argument, name, declared, sweep).value(value)}"


def _read_as_it_is(argument: str, value: str) -> bool:
    """Whether the grammar reads a value as the text that it is."""
    override = _parsed(argument)
    return override is not None and type(override._value) is str and override._value == value


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def text_of(argument: str) -> str | None:
    """The text that an override gives its key; None where it gives no single text."""
    override = _parsed(argument)
    if override is None or isinstance(override._value, QuotedString):
        return None if override is None else override._value.text
    return override._value if isinstance(override._value, str) else None


class _Reader:
    """Reads the value of one override of a text key.

    Args:
        argument: the override as it arrived, for messages.
        key: its key.
        declared: what the key takes.
        sweep: whether commas separate values of a sweep.
    """

    def __init__(self, argument: str, key: str, declared: Declared, sweep: bool) -> None:
        self.argument, self.key, self.declared, self.sweep = argument, key, declared, sweep

    def value(self, value: str) -> str:
        """The value, with quotes where they are needed."""
        if self._is_there(value):
            return typed.hydra_text(value)
        function = _OF_SWEEPS.fullmatch(value)
        if not self.sweep:
            if function is not None or (len(parts(value)) > 1 and not self.declared.is_list):
                raise Refused(self._ambiguous(value))
            return self._element(value)
        if function is None:
            found = parts(value)
            return ",".join(self._element(one.strip() if found[1:] else one) for one in found)
        if function[1] not in _OF_PARTS:
            return value
        return f"{function[1]}({','.join(map(self._argument, parts(function[2])))})"

    def _argument(self, text: str) -> str:
        """An argument of a function, which may be one of its own options, as `reverse=true`."""
        if re.match(r"(list|shuffle|reverse)\s*=", text.strip()):
            return text
        return self.value(text) if _OF_SWEEPS.fullmatch(text) else self._element(text.strip())

    def _element(self, text: str) -> str:
        """One value, or the elements of a list."""
        if not self.declared.is_list:
            return self._text(text)
        if not (text.startswith("[") and text.endswith("]")):
            return text
        elements = parts(text[1:-1]) if text[1:-1].strip() else []
        return f"[{','.join(self._text(one.strip()) for one in elements)}]"

    def _text(self, text: str) -> str:
        cast = _CAST.fullmatch(text)
        if cast is not None:
            return self._text(cast[1])
        override = _parsed(f"key={text}")
        value = None if override is None else override._value
        quoted = isinstance(value, QuotedString)
        if quoted or (override is not None and "${" in text and isinstance(value, str)):
            return text
        if text.lower() == "null":
            if type(None) in self.declared.kinds:
                return text
            raise Refused(f"{self.argument}: expected a text; {self._to_type(text)}")
        others = self.declared.kinds - {str}
        if override is not None and (
            type(value) in others or (type(value) is int and float in others)
        ):
            return text
        expanded = self._expanded(text)
        plain = type(value) is str and value == expanded and not expanded.endswith("\\")
        return expanded if plain else typed.hydra_text(expanded)

    def _expanded(self, text: str) -> str:
        """A path in which `~` is the home folder, as the shell has it at the start of a word."""
        if text.startswith("~") and PATHS.fullmatch(self.key) and not os.path.lexists(text):
            return os.path.expanduser(text)
        return text

    def _is_there(self, value: str) -> bool:
        """Whether a path with a comma or another sign of the grammar exists as it was typed."""
        special = re.search(r"[,'\"()$]", value)
        if special is None or self.declared.is_list or not PATHS.fullmatch(self.key):
            return False
        try:
            return Path(value).exists()
        except (OSError, ValueError):  # too long, or with a NUL
            return False

    def _ambiguous(self, value: str) -> str:
        return (
            f"{self.argument}: add -m to try the values one after the other; {self._to_type(value)}"
        )

    def _to_type(self, value: str) -> str:
        return f"for the text itself type {typed.override(self.key, value)}"


def parts(value: str) -> list[str]:
    """The parts of a value between its commas; not those in quotes or brackets.

    >>> parts("1.10,a (1,2),'b,c',it's")
    ['1.10', 'a (1,2)', "'b,c'", "it's"]
    """
    found, depth, quote = [""], 0, ""
    for at, sign in enumerate(value):
        if quote:
            quote = "" if sign == quote and value[at - 1] != "\\" else quote
        elif sign in "'\"" and not found[-1].strip("[( "):
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif sign == "," and depth <= 0:
            found.append("")
            continue
        found[-1] += sign
    return found
