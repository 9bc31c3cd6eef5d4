"""What a message tells the user to type: overrides and paths, quoted for the shell.

Every message that contains a value to type takes it from here, so that the text can be copied into
a shell as it stands, whatever characters a path has.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

# read by the command line as something else than the text itself, unless it is quoted
_READ_OTHERWISE = re.compile(r"\s*|null|\s*['\"].*|~.*|\w+\(.*\)|.*[,\n].*|.*\$\{.*", re.I | re.S)
# moves a terminal's cursor, fakes a line, changes the direction of what follows, or is no character
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)


def hydra_text(text: str) -> str:
    r"""A text in quotes as an override contains it: it is read as this text, whatever is in it.

    >>> print(hydra_text("it's"), hydra_text("1.10"), hydra_text("C:\\"), hydra_text('a "b"'))
    "it's" "1.10" "C:\\" 'a "b"'
    """
    quote = "'" if '"' in text and "'" not in text else '"'
    # backslashes count only in front of a quote, the closing one included
    escaped = re.sub(rf"(\\*){quote}", lambda found: found[1] * 2 + "\\" + quote, text)
    escaped = re.sub(r"\\+\Z", lambda found: found[0] * 2, escaped)
    return f"{quote}{escaped}{quote}"


def argument(text: str | Path) -> str:
    """A path as an argument of a command, quoted for the shell.

    >>> print(argument("runs/a"), argument("my runs/a"), argument("-x"))
    runs/a 'my runs/a' ./-x
    """
    return _shell_word(f"./{text}" if str(text).startswith("-") else str(text))


def override(key: str, value: object) -> str:
    """`key=value`, quoted for the shell, and for the command line where it would read it otherwise.

    Args:
        key: dotted key, or the name of a group.
        value: a text or path is typed as it is; other values by their text.

    >>> print(override("run", "runs/a"), override("run", "a (1)"), override("name", "a,b"))
    run=runs/a 'run=a (1)' 'name="a,b"'
    """
    text = str(value)
    if isinstance(value, str | Path) and _READ_OTHERWISE.fullmatch(text):
        text = hydra_text(text)
    return _shell_word(f"{key}={text}")


def quoted_override(key: str, value: str) -> str:
    """`key="value"`, which is read as this text by every key, quoted for the shell.

    >>> print(quoted_override("name", "a (1)"))
    'name="a (1)"'
    """
    return _shell_word(f"{key}={hydra_text(value)}")


def option(name: str, value: object) -> str:
    """`--name=value`, quoted for the shell; the value may begin with a dash.

    >>> print(option("ignore-label", -1), option("ignore-label", "no class"))
    --ignore-label=-1 '--ignore-label=no class'
    """
    return _shell_word(f"--{name}={value}")


def command(module: str, *words: str) -> str:
    """`python -m vmf_embeddings.MODULE words`; the words come from `argument` and `override`."""
    return " ".join([f"python -m vmf_embeddings.{module}", *words])


def given(arguments: Sequence[str]) -> str:
    """Arguments as they arrived, quoted for the shell."""
    return " ".join(map(_shell_word, arguments))


def _shell_word(word: str) -> str:
    if not _CONTROL.search(word):
        return shlex.quote(word)
    escaped = word.replace("\\", r"\\").replace("'", r"\'").replace("\n", r"\n")
    return f"$'{_CONTROL.sub(_bytes_of, escaped)}'"


def _bytes_of(found: re.Match) -> str:
    """A character as the bytes that the shell makes it of; some surrogates stand for one byte."""
    errors = "surrogateescape" if "\udc80" <= found[0] <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode(errors=errors))
