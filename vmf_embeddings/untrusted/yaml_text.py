"""YAML from untrusted files: plain values, limited in size, without aliases or tags."""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from vmf_embeddings.untrusted.files import read_text
from vmf_embeddings.untrusted.refused import Refused
from vmf_embeddings.untrusted.text import printable

YAML_LIMIT = 2**17  # bytes, read within seconds; the configuration of a run has a few thousand


class _PlainLoader(yaml.SafeLoader):
    """Plain values only; nested aliases could expand to billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read", problem_mark=event.start_mark
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem=f"tags ({event.tag}) are not read", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


# numbers as configurations have them: YAML 1.1 takes 1e-3 for a text
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
)
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_PlainLoader.yaml_implicit_resolvers = {  # a date stays a text
    first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
    for first, forms in _PlainLoader.yaml_implicit_resolvers.items()
}


class _TextLoader(_PlainLoader):
    """As `_PlainLoader`, with every value as the text that stands in the file."""

    yaml_implicit_resolvers: ClassVar = {}


def read_yaml(path: str | Path, *, as_text: bool = False) -> Any:
    """The plain values of a YAML file: mappings, lists, texts, numbers, true, false, null.

    Args:
        path: of the file.
        as_text: every value is the text that stands in the file: `1.10` instead of 1.1.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no regular file, larger than `YAML_LIMIT`, nested too deeply, no YAML, or
            has tags or aliases.
    """
    text = read_text(path, limit=YAML_LIMIT)
    try:
        return yaml.load(text, Loader=_TextLoader if as_text else _PlainLoader)  # noqa: S506 (safe)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        words = printable(" ".join(str(error).split()))[:300]
        raise Refused(f"{path} is not usable YAML: {words}") from error
