"""CUDA graphs for `GraphedStep`, and the options with which `trainer.cuda_graph` has been tried.

Never run on a GPU: what torch documents is used as documented, and steps are proved equal on an
emulated device (`tests/device/test_graphed_steps.py`).
"""

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from vmf_embeddings.training.graphed_step import OFF, GraphedStep, Run
from vmf_embeddings.training.job import TrainingJob
from vmf_embeddings.untrusted.refused import Refused


class CudaGraphs:
    """Captures CUDA graphs on a stream of its own; they share their memory.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def warm_up(self, run: Run, *, strict: bool) -> Tensor:
        """See `Capturer`. On the stream of the capture, to which gradient accumulation is bound."""
        current, mode = torch.cuda.current_stream(), torch.cuda.get_sync_debug_mode()
        self.stream.wait_stream(current)
        torch.cuda.set_sync_debug_mode("error" if strict else mode)
        try:
            with torch.cuda.stream(self.stream):
                loss = run()
        except RuntimeError as error:  # torch has no class of its own for this one
            if "synchronizing CUDA operation" not in str(error):
                raise
            raise Refused(
                "trainer.cuda_graph=true: the host waits for the device in a step of this method "
                f"or network, which a graph cannot; {OFF}"
            ) from error
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        current.wait_stream(self.stream)
        return loss

    def capture(self, run: Run) -> Run:
        """See `Capturer`."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: a thread that pins the next batch in memory may go on meanwhile
        where = {"pool": self.pool, "stream": self.stream, "capture_error_mode": "thread_local"}
        with torch.cuda.graph(graph, **where):
            loss = run()

        def replay() -> Tensor:
            graph.replay()
            return loss

        return replay


def graphed_step(
    job: TrainingJob, model: nn.Module, optimizer: AcceleratedOptimizer, accelerator: Accelerator
) -> GraphedStep:
    """The step of a job with `trainer.cuda_graph=true`.

    Args:
        job: what to train.
        model: the method.
        optimizer: Accelerate's wrapper of the optimizer, with its restored state.
        accelerator: device, precision and processes.

    Raises:
        Refused: an option of the job has not been tried with graphs; see also `GraphedStep`.
    """
    refuse_untried(job)
    return GraphedStep(model, optimizer, accelerator, CudaGraphs(accelerator.device))


def refuse_untried(job: TrainingJob) -> None:
    """Refuses options that a graph cannot hold, or that have not been tried with graphs.

    Raises:
        Refused: names the option.
    """
    settings = job.settings
    untried = {
        "a sampler that learns": job.sampler.learns,
        f"trainer.micro_batches={settings.micro_batches}": settings.micro_batches > 1,
        "trainer.activation_checkpointing=true": settings.execution.activation_checkpointing,
        "trainer.sampled_classes": settings.sampling is not None,
    }
    for name, asked in untried.items():
        if asked:
            raise Refused(f"trainer.cuda_graph=true does not go together with {name}; {OFF}")
