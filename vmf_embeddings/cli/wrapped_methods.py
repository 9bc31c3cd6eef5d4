"""The method that another one wraps, named in one word: `method.params.objective=vmf_softmax`."""

import re

from vmf_embeddings import catalogue

_KEYS = tuple(f"method.params.{key}" for key in catalogue.WRAPPED)
_NAMES = re.compile(r"\w+(,\w+)*")


def spelled_out(arguments: list[str]) -> list[str]:
    """Overrides in which the name of a wrapped method is a choice of a group, as Hydra spells it.

    The name of a criterion stands for `dml` with that criterion.

    Args:
        arguments: of a command.

    >>> spelled_out(["method=matryoshka", "method.params.objective=arcface"])
    ['method=matryoshka', 'method@method.params.objective=arcface']
    >>> spelled_out(["method.params.objective=margin"])
    ['method@method.params.objective=dml', 'criterion=margin']
    """
    found = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in _KEYS or not _NAMES.fullmatch(value):
            found.append(argument)
        elif value in catalogue.names("criterion") and value not in catalogue.names("method"):
            found += [f"method@{key}=dml", f"criterion={value}"]
        else:
            found.append(f"method@{key}={value}")
    return found
