"""Execution settings of the commands that write embeddings."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from vmf_embeddings.training.execution import ExecutionSettings


def float32_execution(cfg: DictConfig) -> "ExecutionSettings":
    """The execution settings of a command that writes embeddings: as `trainer`, in float32."""
    from vmf_embeddings.training.execution import ExecutionSettings

    trainer = OmegaConf.to_container(cfg.trainer, resolve=True)
    return ExecutionSettings.from_config(trainer | {"precision": "no"})
