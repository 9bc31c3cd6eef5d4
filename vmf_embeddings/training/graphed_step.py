"""A training step that is captured as a CUDA graph and replayed: one launch in place of hundreds.

A graph repeats the kernels of one step with the same arguments, on the same memory; Python does not
run again (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). So a step may be
captured if all that changes between steps is on the device: the batch, which is copied to where the
graph reads it, the learning rates, as tensors, and torch's default generator, whose state torch
keeps with the graph. Where the method keeps numbers in Python, such as a margin per epoch, the step
is captured again after they have changed; one that changes them in every step is refused.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from vmf_embeddings.training.host_state import changes, host_generators, host_state
from vmf_embeddings.training.step import Batch, Step
from vmf_embeddings.untrusted.refused import Refused

N_WARM_UP = 3  # eager steps before a capture: they allocate what stays, and choose kernels
MAX_GRAPHS = 4  # each keeps the memory of a step; batches of further shapes stay eager
OFF = "leave trainer.cuda_graph=false"

Run = Callable[[], Tensor]


class Capturer(Protocol):
    """Records the work that a function gives to the device."""

    def warm_up(self, run: Run, *, strict: bool) -> Tensor:
        """Runs a step as it is, and returns its loss.

        Args:
            run: the step.
            strict: whether to refuse a step in which the host waits for the device.

        Raises:
            Refused: if `strict`, it does.
        """

    def capture(self, run: Run) -> Run:
        """Records a step without executing it.

        Returns:
            Executes what was recorded; returns the tensor of the loss, the same in every call.
        """


class _Graph:
    """One captured step with the tensors that it reads its batch from."""

    def __init__(self, batch: Batch, capture: Callable[[Batch], Run]) -> None:
        self.inputs = {key: value.clone() for key, value in batch.items()}
        self.replay = capture(self.inputs)

    def __call__(self, batch: Batch) -> Tensor:
        for key, value in batch.items():
            self.inputs[key].copy_(value, non_blocking=True)
        return self.replay().clone()  # the next replay overwrites it


class GraphedStep(Step):
    """`Step`, captured for each shape of a batch after `N_WARM_UP` eager steps, then replayed.

    Args:
        model: the method, in one process.
        optimizer: Accelerate's wrapper of the optimizer, with its restored state.
        accelerator: device, precision and processes.
        capturer: records steps.

    Raises:
        Refused: a graph cannot hold the step of this optimizer, or of several processes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: AcceleratedOptimizer,
        accelerator: Accelerator,
        capturer: Capturer,
    ) -> None:
        super().__init__(model, optimizer, accelerator)
        _refuse_unsupported(optimizer.optimizer, accelerator)
        self.capturer, self.groups = capturer, optimizer.optimizer.param_groups
        device = accelerator.device
        self.rates = [torch.zeros((), device=device) for _ in self.groups]
        self.current_rates: list[float | None] = [None] * len(self.groups)
        _move_counters(optimizer.optimizer)
        self.host: dict[str, Any] = {}
        self.graphs: dict[Any, _Graph] = {}
        self.n_eager: Counter[Any] = Counter()

    def begin_epoch(self, epoch: int) -> None:
        """Forgets the graphs if a value that the method or the optimizer keeps has changed."""
        host = self._host_state()
        if changes(self.host, host):
            self.graphs.clear()
            self.n_eager.clear()
        self.host = host

    def __call__(self, batch: Batch, weight: float) -> Tensor:
        """Updates the weights once; see `Step`."""
        shapes = ((k, v.shape, v.dtype, v.stride()) for k, v in batch.items())
        key = (weight, *shapes)
        self._update_rates()
        if key not in self.graphs:
            if self.n_eager[key] < N_WARM_UP or len(self.graphs) == MAX_GRAPHS:
                return self._eager(batch, weight, key)
            self.graphs[key] = _Graph(batch, lambda inputs: self._captured(inputs, weight))
        return self.graphs[key](batch)

    def _eager(self, batch: Batch, weight: float, key: Any) -> Tensor:
        """A step without a graph; the last one before a capture must be fit for it.

        Raises:
            Refused: the host does work in the step that a replayed graph would leave out.
        """
        self.n_eager[key] += 1
        strict = self.n_eager[key] == N_WARM_UP
        device = self.accelerator.device
        if strict:
            host, generators = self._host_state(), host_generators(device)
        with self._for_graphs():
            loss = self.capturer.warm_up(lambda: Step.__call__(self, batch, weight), strict=strict)
        if strict:
            _refuse_changes(changes(host, self._host_state()))
            _refuse_draws(generators != host_generators(device))
        return loss

    def _captured(self, inputs: Batch, weight: float) -> Run:
        with self._for_graphs():
            return self.capturer.capture(lambda: Step.__call__(self, inputs, weight))

    def _update_rates(self) -> None:
        """Copies learning rates that have changed to the device."""
        for i, (group, rate) in enumerate(zip(self.groups, self.rates, strict=True)):
            if group["lr"] != self.current_rates[i]:
                rate.fill_(group["lr"])
                self.current_rates[i] = group["lr"]

    @contextlib.contextmanager
    def _for_graphs(self) -> Iterator[None]:
        """Inside, the optimizer reads its rates from the device; schedules and checkpoints do not.

        They see numbers, and a state that continues without graphs.
        """
        before = [{k: g[k] for k in ("lr", "capturable") if k in g} for g in self.groups]
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = True
        try:
            yield
        finally:
            for group, values in zip(self.groups, before, strict=True):
                group.update(values)

    def _host_state(self) -> dict[str, Any]:
        settings = [{k: v for k, v in g.items() if k != "lr"} for g in self.groups]
        return host_state({"": self.model, "optimizer": settings})


def _refuse_unsupported(optimizer: torch.optim.Optimizer, accelerator: Accelerator) -> None:
    """Refuses optimizers, scaled gradients and processes for which no graph has been tried.

    Raises:
        Refused: names what to type.
    """
    name, reason = type(optimizer).__name__, None
    if accelerator.num_processes > 1:
        reason = f"works in one process, and there are {accelerator.num_processes}"
    elif accelerator.scaler is not None:
        reason = "does not scale gradients: use trainer.precision=no or bf16"
    elif getattr(optimizer, "passes", 1) != 1:
        reason = "needs one pass per step: use optimizer=sgd, adam or adamw"
    elif isinstance(optimizer, torch.optim.SGD):
        if not all(group["fused"] for group in optimizer.param_groups):
            reason = "needs optimizer.params.fused=true, which takes learning rates as tensors"
    elif "capturable" not in optimizer.defaults:
        reason = f"needs an optimizer that can be captured, {name} cannot: use sgd, adam or adamw"
    if reason:
        raise Refused(f"trainer.cuda_graph=true {reason}; or {OFF}")


def _move_counters(optimizer: torch.optim.Optimizer) -> None:
    """Brings the counts of steps of a restored state to the device of their parameters."""
    for parameter, values in optimizer.state.items():
        if isinstance(values.get("step"), Tensor):
            values["step"] = values["step"].to(parameter.device)


def _refuse_changes(names: list[str]) -> None:
    if names:
        shown = ", ".join(name.strip(".") for name in names[:3])
        raise Refused(
            f"trainer.cuda_graph=true: every step changes what Python keeps ({shown}), which a "
            f"graph would not do; {OFF}"
        )


def _refuse_draws(drawn: bool) -> None:
    if drawn:
        raise Refused(
            "trainer.cuda_graph=true: a step draws random numbers on the CPU, which a graph would "
            f"repeat; {OFF}"
        )
