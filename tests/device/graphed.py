"""Trains every method on an emulated CUDA device, with and without graphs; prints what differs.

    python -m tests.device.graphed [--only WORD] [--steps N]

In a process of its own: the guard must be loaded before torch.
"""

import argparse
import json
import logging
import warnings

from tests.device import guard

EPOCH, FIRST = 25, 30  # steps of an epoch, and the number of the first epoch
SIZES = (24, 10)  # of batches, and of the last batch of an epoch


def compared(only: str, n_steps: int) -> dict[str, str]:
    """Name -> "equal", why it is refused, or the first step with another loss."""
    from tests.device.emulator import DeviceMismatch
    from vmf_embeddings.untrusted.refused import Refused

    found = {}
    for name, build in trained().items():
        if only in name:
            try:
                found[name] = _difference(build, n_steps)
            except (Refused, DeviceMismatch) as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


def trained() -> dict:
    """Every method, and others whose steps draw or have another optimizer: (method, optimizer)."""
    import torch

    from tests.contracts import test_methods as methods
    from tests.criteria import made as criteria
    from tests.device.steps import trials
    from tests.methods.laws import TinyArch
    from tests.miners import test_laws as miners
    from vmf_embeddings.methods.dml import DML

    def sgd(method):
        rates = method.param_groups(1e-3)
        return torch.optim.SGD(rates, lr=2**-7, momentum=0.9, nesterov=True, fused=True)

    def adamw(**kind):
        return lambda method: torch.optim.AdamW(method.param_groups(1e-3), lr=2**-7, **kind)

    def mined():
        torch.manual_seed(0)
        arch = TinyArch(methods.C, methods.D)
        return DML(arch, criteria.made("margin").float(), miners.miner("distance"))

    names = [name.split()[1] for name in trials() if name.startswith("method ")]
    found = {n: (n, lambda n=n: methods.build(n), sgd) for n in names}
    found["vmf_softmax, adamw fused"] = ("vmf_softmax", found["vmf_softmax"][1], adamw(fused=True))
    single = adamw(foreach=False, capturable=True)
    found["vmf_softmax, adamw"] = ("vmf_softmax", found["vmf_softmax"][1], single)
    found["dml mined"] = ("dml", mined, sgd)
    return found


def _difference(build, n_steps: int) -> str:
    from tests.device.emulated_graphs import DeviceGraphs

    graphs = DeviceGraphs()
    (losses, state), (others, other_state) = (_run(build, n_steps, g) for g in (None, graphs))
    for number, pair in enumerate(zip(losses, others, strict=True)):
        if pair[0] != pair[1]:
            return f"step {number}: {pair}, after {graphs.n_captured} captures"
    if not all(a.equal(b) for a, b in zip(state, other_state, strict=True)):
        return "other weights"
    replayed = graphs.n_replayed
    return "equal" if replayed > n_steps // 2 else f"only {replayed} steps were replayed"


def _run(build, n_steps: int, graphs):
    """Losses and final tensors of a training; with graphs if there is a capturer."""
    from types import SimpleNamespace

    import torch

    from tests.device.emulated_graphs import device_generator
    from tests.device.emulator import CUDA, emulated
    from tests.device.steps import OneDevice
    from vmf_embeddings.training.graphed_step import GraphedStep
    from vmf_embeddings.training.step import Step

    name, make, make_optimizer = build
    with emulated(), device_generator(5):
        method = make().to(CUDA).train()
        optimizer = make_optimizer(method)
        parts = method, SimpleNamespace(optimizer=optimizer), OneDevice()
        step = Step(*parts) if graphs is None else GraphedStep(*parts, graphs)
        rates = [group["lr"] for group in optimizer.param_groups]
        torch.manual_seed(7)
        losses = []
        for number in range(n_steps):
            if number % EPOCH == 0:
                method.begin_epoch(FIRST + number // EPOCH)
                step.begin_epoch(number // EPOCH)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - number // 10 / 16)
                if graphs is None and not group["fused"]:  # numbers would be rounded otherwise
                    group["lr"] = torch.full((), group["lr"], device=CUDA)
            losses.append(step(_batch(name, number), 1.0))
        tensors = [*method.state_dict().values()]
        tensors += [t for v in optimizer.state.values() for t in v.values() if t is not None]
        return [loss.numbers.item() for loss in losses], [t.numbers for t in tensors]


def _batch(name: str, number: int):
    import torch

    from tests.contracts import test_methods as methods
    from tests.device.emulator import CUDA
    from tests.methods.laws import normal

    n = SIZES[number % EPOCH == EPOCH - 1]
    views = methods.method_class(name).batch_layout.views
    images = normal(n, *([views] if views > 1 else []), 1, 4, 4, seed=number).float()
    batch = {"examples": images, "ids": torch.arange(n) % methods.C}
    return {key: value.to(CUDA, non_blocking=True) for key, value in batch.items()}


def main() -> None:
    """Prints the comparisons as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument("--steps", type=int, default=100, help="steps of each training")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    guard.load()
    import torch

    torch.set_num_threads(1)
    print(json.dumps(compared(arguments.only, arguments.steps), indent=1))


if __name__ == "__main__":
    main()
