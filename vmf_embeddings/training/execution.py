"""How fast, not what: switches that change results by rounding at most; docs/speed.md."""

import importlib.util
import logging
import os
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.training import processes
from vmf_embeddings.training.threads import thread_count

log = logging.getLogger(__name__)

SHARE_OF_FREE_MEMORY = 0.25  # what pictures may take of an accelerator, before the network has come
COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True)
class ExecutionSettings:
    """The keys of `trainer` that say where and how fast the work is done.

    Attributes:
        precision: `no`, or `bf16` for the backbone in bfloat16.
        cpu: whether to stay on the processor even where a GPU is present.
        threads: of this process, >= 1; None = its share of the cores.
        channels_last: whether the backbone keeps colours together in memory; "auto" =
            in bfloat16.
        compile: whether the backbone is compiled before its first batch.
        data_on_device: whether pictures in memory move to a GPU once: True, False, or "auto" =
            where they take at most a quarter of its free memory.
    """

    precision: str
    cpu: bool
    threads: int | None
    channels_last: bool | str
    compile: bool
    data_on_device: bool | str

    def __post_init__(self) -> None:
        if self.precision not in ("no", "bf16"):
            raise ValueError(f"trainer.precision is one of no, bf16; got {self.precision!r}")
        if self.threads is not None and not (type(self.threads) is int and self.threads >= 1):
            raise ValueError(f"trainer.threads must be at least 1, or null; got {self.threads!r}")
        for key in ("channels_last", "data_on_device"):
            if getattr(self, key) not in (True, False, "auto"):
                value = getattr(self, key)
                raise ValueError(f"trainer.{key} is one of auto, true, false; got {value!r}")
        if self.compile:
            _refuse_without_compiler(on_gpu=torch.cuda.is_available() and not self.cpu)

    @classmethod
    def from_config(cls, trainer: dict[str, Any]) -> "ExecutionSettings":
        """Reads the switches from the configuration's `trainer`."""
        return cls(**{key: trainer[key] for key in cls.__dataclass_fields__})

    def make_accelerator(self, *, find_unused_parameters: bool = False) -> Accelerator:
        """Joins the other processes, or works alone, with the threads that are due.

        Args:
            find_unused_parameters: see `processes.start`.
        """
        threads = thread_count(self.threads)
        if threads is not None:
            torch.set_num_threads(threads)
        accelerator = processes.start(
            cpu=self.cpu, precision=self.precision, find_unused_parameters=find_unused_parameters
        )
        log.info(
            "Process %d of %d works on %s with %d threads",
            *(accelerator.process_index + 1, accelerator.num_processes),
            *(accelerator.device, torch.get_num_threads()),
        )
        return accelerator

    def configure_backbone(self, arch: Arch) -> None:
        """Lays out and compiles a backbone in place; names and values in its state stay."""
        wanted = self.channels_last
        if wanted == "auto":
            # torch's float32 batch statistics of this layout err by 1e-3 on a processor
            wanted = self.precision == "bf16"
        if wanted:
            # a convolution brings its images into the layout of its weights
            arch.to(memory_format=torch.channels_last)
        if self.compile:
            arch.compile()

    def move_split(self, split: Any, device: torch.device) -> Any:
        """The split itself, or a copy of it on `device` where that is wanted and has room."""
        if device.type == "cpu" or not split.in_memory or self.data_on_device is False:
            return split
        if self.data_on_device == "auto":
            free, _ = torch.cuda.mem_get_info(device)
            if split.n_bytes > SHARE_OF_FREE_MEMORY * free:
                return split
        return split.to(device)


def _refuse_without_compiler(*, on_gpu: bool) -> None:
    """Compiled code needs Triton on a GPU, and a C++ compiler on the processor.

    Raises:
        ValueError: saying what to install.
    """
    if on_gpu and importlib.util.find_spec("triton") is None:
        raise ValueError(
            "trainer.compile=true needs triton on a GPU, which is not installed: pip install "
            "triton, or leave trainer.compile=false"
        )
    named = os.environ.get("CXX")
    if not on_gpu and not any(map(shutil.which, (named,) if named else COMPILERS)):
        raise ValueError(
            f"trainer.compile=true needs a C++ compiler ({named or ', '.join(COMPILERS)}), and "
            "none was found: install one, or leave trainer.compile=false"
        )
