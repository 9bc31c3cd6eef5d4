"""Remote addresses of data: only those that the user typed are opened, none from a file."""

from collections.abc import Iterator
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from vmf_embeddings.cli.assembly.refused import Refused
from vmf_embeddings.untrusted.text import printable


def refuse_addresses_not_typed(cfg: DictConfig) -> None:
    """Refuses a remote address in `dataset` that does not stand in the command itself.

    Runs and folders of options may come from others: what they name is not fetched.

    Raises:
        Refused: names the key and the address.
    """
    from vmf_embeddings.datasets.remote_tars import is_address

    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    values = dict(one.lstrip("+").split("=", 1) for one in typed if "=" in one)
    node = OmegaConf.to_container(cfg.dataset, resolve=True)
    for key, value in _texts(node, "dataset"):
        if is_address(value) and values.get(key, "").strip("'\"") != value:
            raise Refused(
                f"{key} is the remote address {printable(value)}, which a file names: addresses "
                "are opened only if they are typed. If you trust it, add "
                f"dataset={printable(cfg.dataset.name)} {key}=ADDRESS "
                "dataset.params.cache_path=FOLDER to the command; or name a folder by "
                f"{key}=FOLDER"
            )


def _texts(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """The texts in nested dicts, each with its dotted key."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(value, f"{prefix}.{key}")
    elif isinstance(node, str):
        yield prefix, node
