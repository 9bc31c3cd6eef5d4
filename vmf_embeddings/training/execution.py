"""Device, precision, threads, memory layout and compilation: the options of `trainer=`.

They change results by rounding at most; measurements are in docs/speed.md.
"""

import importlib.util
import logging
import os
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from vmf_embeddings.archs.base import Arch
from vmf_embeddings.archs.checkpointing import checkpoint_blocks
from vmf_embeddings.datasets.base import Split
from vmf_embeddings.training import processes
from vmf_embeddings.training.threads import thread_count

log = logging.getLogger(__name__)

# the images are copied before the network is built, which needs most of the memory
MAX_FRACTION_OF_FREE_MEMORY = 0.25
COMPILERS = ("g++", "clang++", "c++")


@dataclass(frozen=True)
class ExecutionSettings:
    """Device, precision, threads, memory format and compilation.

    Attributes:
        precision: `no` (float32), or `bf16` (the backbone runs in bfloat16).
        cpu: stay on the CPU even if a GPU is present.
        threads: CPU threads of this process, >= 1; None divides the cores among the processes.
        channels_last: store images and weights of the backbone as [N, H, W, channels]; "auto" =
            with `bf16` only.
        compile: compile the backbone before its first batch.
        data_on_device: copy images that are in memory to the GPU once: True, False, or "auto" =
            if they take at most a quarter of its free memory.
        activation_checkpointing: whether the backbone's blocks compute their activations again in
            the backward pass instead of keeping them; not with `compile`.
        cuda_graph: capture the training step as a CUDA graph (`graphed_step`); on a GPU only, not
            with `compile`.

    Raises:
        ValueError: a value is none of these, no compiler is found for `compile`, or no GPU for
            `cuda_graph`.
    """

    precision: str
    cpu: bool
    threads: int | None
    channels_last: bool | str
    compile: bool
    data_on_device: bool | str
    activation_checkpointing: bool = False
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("no", "bf16"):
            raise ValueError(f"trainer.precision is one of no, bf16; got {self.precision!r}")
        if self.threads is not None and not (type(self.threads) is int and self.threads >= 1):
            raise ValueError(f"trainer.threads must be at least 1, or null; got {self.threads!r}")
        for key in ("channels_last", "data_on_device"):
            if getattr(self, key) not in (True, False, "auto"):
                value = getattr(self, key)
                raise ValueError(f"trainer.{key} is one of auto, true, false; got {value!r}")
        _check_bool("activation_checkpointing", self.activation_checkpointing)
        if self.compile and self.activation_checkpointing:
            raise ValueError(
                "trainer.activation_checkpointing=true and trainer.compile=true do not go together "
                "(a compiled network chooses by itself what it computes again); leave one out"
            )
        _check_bool("cuda_graph", self.cuda_graph)
        on_gpu = torch.cuda.is_available() and not self.cpu
        if self.cuda_graph and (self.compile or not on_gpu):
            raise ValueError(
                "trainer.cuda_graph=true needs an NVIDIA GPU, without trainer.cpu=true, and "
                "trainer.compile=false; leave trainer.cuda_graph=false"
            )
        if self.compile:
            _refuse_without_compiler(on_gpu=on_gpu)

    @classmethod
    def from_config(cls, trainer: dict[str, Any]) -> "ExecutionSettings":
        """Reads the options from the group `trainer` of a configuration; other keys are ignored."""
        added = {"activation_checkpointing": False, "cuda_graph": False}  # which older runs lack
        given = added | trainer
        return cls(**{key: given[key] for key in cls.__dataclass_fields__})

    def make_accelerator(self, *, find_unused_parameters: bool = False) -> Accelerator:
        """Sets the number of CPU threads, then joins the process group if torchrun started one.

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
        """Applies channels_last, checkpointing and compilation in place; its state stays as it is.

        Raises:
            Refused: `activation_checkpointing`, and the network has no blocks.
        """
        wanted = self.channels_last
        if wanted == "auto":
            # on CPUs, torch's float32 batch statistics have errors of 1e-3 in this layout
            wanted = self.precision == "bf16"
        if wanted:
            # images need no conversion: a convolution converts its input to its weights' layout
            arch.to(memory_format=torch.channels_last)
        if self.activation_checkpointing:
            log.info("The activations of %d blocks are computed twice", checkpoint_blocks(arch))
        if self.compile:
            arch.compile()

    def move_split(self, split: Split, device: torch.device) -> Split:
        """A copy of `split` on `device` if `data_on_device` allows it and it fits, else `split`."""
        if device.type == "cpu" or not split.in_memory or self.data_on_device is False:
            return split
        if self.data_on_device == "auto":
            free, _ = torch.cuda.mem_get_info(device)
            if split.n_bytes > MAX_FRACTION_OF_FREE_MEMORY * free:
                return split
        return split.to(device)


def _check_bool(key: str, value: object) -> None:
    if value not in (True, False):
        raise ValueError(f"trainer.{key} is one of true, false; got {value!r}")


def _refuse_without_compiler(*, on_gpu: bool) -> None:
    """Refuses compilation without its tools: Triton on a GPU, a C++ compiler on the CPU.

    Raises:
        ValueError: names what to install.
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
