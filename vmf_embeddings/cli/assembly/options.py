"""The files of the groups' options, `conf/<group>/<name>.yaml`, by names that data hold."""

from pathlib import Path

import vmf_embeddings
from vmf_embeddings.untrusted.text import path_component

CONF = Path(vmf_embeddings.__file__).parent / "conf"


def option_file(group: str, name: object) -> Path:
    """Where an option of a group would stand; options of somebody's own have no file there.

    Args:
        group: name of a group, ours.
        name: as a configuration says it, which may come from a received checkpoint.

    Raises:
        Refused: the name cannot be that of a file.
    """
    return CONF / group / f"{path_component(name, f'the name of the option of {group}')}.yaml"
