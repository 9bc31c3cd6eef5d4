"""What the emulator must catch and what it must let pass."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from tests.device.emulator import CUDA, DeviceMismatch, _Generator, emulated

Calls = dict[str, Callable[[], object]]


def wrongs() -> Iterator[str]:
    """What is not as it should be."""
    with emulated() as recorder:
        here, there = torch.randn(3, 4), torch.randn(4, 2).to(CUDA)
        yield from _not_refused(_mismatches(here, there))
        yield from _not_on_the_device(recorder)
        for kind, calls in (("waits", _waits(there)), ("copies", _copies(here, there))):
            for name, call in calls.items():
                with recorder.counting() as counts:
                    call()
                if sum(getattr(counts, kind).values()) != 1:
                    yield f"{name}: {counts}"
        with recorder.counting() as counts:
            here.to(CUDA, non_blocking=True)
        if counts.copies or counts.async_copies != 1:
            yield f"a copy that does not block: {counts}"
        if not torch.equal((there.T @ there).numbers, there.numbers.T @ there.numbers):
            yield "results differ from the CPU"
    if torch.Generator is not _Generator:
        yield "torch is not as it was"


def _not_refused(calls: Calls) -> Iterator[str]:
    for name, call in calls.items():
        try:
            call()
            yield f"not refused: {name}"
        except DeviceMismatch:
            pass


def _mismatches(here, there) -> Calls:
    cpu, cuda = torch.Generator(), torch.Generator(CUDA)
    return {
        "product of two devices": lambda: here @ there,
        "CPU generator for CUDA numbers": lambda: torch.randn(3, device=CUDA, generator=cpu),
        "CUDA generator for CPU numbers": lambda: torch.randn(3, generator=cuda),
        "CPU rows by a CUDA index": lambda: here[torch.tensor([0]).to(CUDA)],
        "CPU result of CUDA inputs": lambda: torch.mm(there.T, there, out=torch.empty(2, 2)),
    }


def _waits(there) -> Calls:
    return {
        "mask": lambda: there[there > 0],
        "item": lambda: there.sum().item(),
        "truth": lambda: bool((there > 0).all()),
        "nonzero": lambda: there.nonzero(),
        "cpu": lambda: there.cpu(),
        "tolist": lambda: there.tolist(),
    }


def _copies(here, there) -> Calls:
    return {
        "new_tensor": lambda: there.new_tensor([1.0]),
        "tensor": lambda: torch.tensor([1.0], device=CUDA),
        "to": lambda: here.to(CUDA),
        "copy_": lambda: there.copy_(torch.zeros(4, 2)),
    }


def _not_on_the_device(recorder) -> Iterator[str]:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(CUDA)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with recorder.counting() as counts:
        net(torch.randn(2, 3, 8, 8, device=CUDA)).sum().backward()
        optimizer.step()
    if net[0].weight.grad.device != CUDA or not counts.ops:
        yield "a training step is not on the device"
