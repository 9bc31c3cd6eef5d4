"""Paths of the options' files, `conf/<group>/<name>.yaml`, for names from received data."""

from pathlib import Path

import vmf_embeddings
from vmf_embeddings.untrusted.text import path_component

CONF = Path(vmf_embeddings.__file__).parent / "conf"


def option_file(group: str, name: object) -> Path:
    """Path of an option's file, which does not exist for an unknown option or a user's own.

    Args:
        group: name of a group of `conf/`.
        name: name of the option; may come from a received checkpoint.

    Raises:
        Refused: the name cannot be a file name, as one with a slash.
    """
    return CONF / group / f"{path_component(name, f'the name of the option of {group}')}.yaml"
