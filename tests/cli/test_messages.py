"""Messages that say what to type: one function quotes, and no message formats a path itself."""

import ast
import re
from pathlib import Path

import pytest

import vmf_embeddings

PACKAGE = Path(vmf_embeddings.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# behind these a value is a text that somebody chose: a path or a name
TO_TYPE = re.compile(
    r"(\b(run|name|teacher|weights|mode\.stage|\w+_(path|list|file))="
    r"|--(images-from|config-dir|json|labels)[ =])$"
)
COMMANDS = re.compile(r"(vmf_embeddings\.(main|evaluate|summarize|\w+\.\w+)|\bor evaluate) $")


def of_typed(node: ast.expr) -> bool:
    """Whether an expression is a call of a function of `typed`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("typed.")


def loose_values(tree: ast.AST) -> list[str]:
    """Values in messages that are to be typed but not quoted.

    At the beginning of a message a value may stand as it came.
    """
    found = []
    for text in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        for i, (before, value) in enumerate(zip(text.values, text.values[1:], strict=False)):
            if not (isinstance(before, ast.Constant) and isinstance(value, ast.FormattedValue)):
                continue
            words = str(before.value)
            came = i == 0 and " " not in words.strip()
            if not came and (TO_TYPE.search(words) or COMMANDS.search(words)):
                shown = ast.unparse(value.value)
                # a name in capitals is a constant of this package
                if not of_typed(value.value) and not shown.isupper():
                    found.append(f"{words[-40:]}{{{shown}}}")
    return found


@pytest.mark.parametrize("folder", sorted({p.relative_to(PACKAGE).parts[0] for p in FILES}))
def test_values_to_type_are_quoted_by_typed_alone(folder):
    for path in (p for p in FILES if p.relative_to(PACKAGE).parts[0] == folder):
        tree = ast.parse(path.read_text())
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert path.name == "typed.py" or "shlex" not in names, path
        assert loose_values(tree) == [], path


@pytest.mark.parametrize(
    ("message", "is_loose"),
    {
        'f"add run={folder}"': True,
        "f\"add {typed.override('run', folder)}\"": False,
        'f"python -m vmf_embeddings.evaluate {path} metrics=all"': True,
        'f"or evaluate {path} --labels PATH"': True,
        'f"run={folder}: no such folder"': False,
        'f"use --images-from {folder}"': True,
    }.items(),
)
def test_a_loose_value_is_found(message, is_loose):
    assert bool(loose_values(ast.parse(message))) == is_loose
