"""A captured step equals the step bit for bit; what a graph would leave out is refused.

On the CPU, with `tests/device/graphs.py` in the place of CUDA graphs; every method, on an emulated
device, is in `tests/device/test_graphed_steps.py`.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tests.device.graphs import CpuGraphs, NotCapturable
from tests.methods.laws import normal
from tests.training.test_sharpness import sharp
from vmf_embeddings.training import graphed_step
from vmf_embeddings.training.graphed_step import N_WARM_UP, GraphedStep
from vmf_embeddings.training.optimizers import restore, sgd
from vmf_embeddings.training.step import Step, step_for
from vmf_embeddings.untrusted.refused import Refused

N_STEPS, EPOCH = 100, 20


class Net(nn.Module):
    """Batch statistics, dropout, and a margin that Python keeps."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout())
        self.head = nn.Linear(8, 3)
        self.margin = 0.0

    def forward(self, batch):
        logits = self.head(self.layers(batch["x"]))
        return nn.functional.cross_entropy(logits - self.margin * batch["y"][:, None], batch["y"])


class Counts(Net):
    """Counts its steps, as a mean over an epoch does."""

    n_steps = 0

    def forward(self, batch):
        self.n_steps += 1
        return super().forward(batch)


class Reads(Net):
    def forward(self, batch):
        loss = super().forward(batch)
        return loss / 2 if float(loss.detach()) > 1 else loss


class Draws(Net):
    def forward(self, batch):
        import random

        return random.random() * super().forward(batch)


OPTIMIZERS = {
    "sgd": lambda groups: sgd(
        groups, lr=0.125, momentum=0.9, nesterov=True, weight_decay=0.01, fused=True
    ),
    "sgd without momentum": lambda groups: sgd(
        groups, lr=0.125, momentum=0.0, nesterov=False, weight_decay=0.0, fused=True
    ),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.125, fused=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.125, weight_decay=0.01, fused=True),
}


def groups(net):
    return [{"params": list(net.layers.parameters())},
            {"params": list(net.head.parameters()), "lr": 0.5, "weight_decay": 0.0}]  # fmt: skip


def parts(net, optimizer):
    accelerator = Accelerator(cpu=True)
    return net, accelerator.prepare_optimizer(optimizer), accelerator


def batch(number):
    n = 7 if number % EPOCH == EPOCH - 1 else 12  # the last of an epoch is smaller
    return {"x": normal(n, 5, seed=number).float(), "y": torch.arange(n) % 3}


def rates(optimizer, number):
    """Schedules write numbers; these float32 has without rounding, as a tensor would."""
    for group, first in zip(optimizer.param_groups, (0.125, 0.5), strict=True):
        group["lr"] = first * (1 - number // 8 / 16)


def train(step, first=0, last=N_STEPS, margin=lambda epoch: 0.0):
    losses = []
    for number in range(first, last):
        if number % EPOCH == 0 or number == first:
            step.model.margin = margin(number // EPOCH)
            step.begin_epoch(number // EPOCH)
        rates(step.optimizer.optimizer, number)
        losses.append(step(batch(number), 1.0))
    return losses


def state(step):
    kept = step.optimizer.state_dict()["state"].values()
    moments = [t for values in kept for t in values.values() if t is not None]
    return [*step.model.state_dict().values(), *moments]


def assert_equal(one, other):
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def both(net, make, **options):
    """Losses and states of plain and of captured steps, and what was captured."""
    results, graphs = [], CpuGraphs()
    for captured in (False, True):
        own = copy.deepcopy(net)
        made = parts(own, make(groups(own)))
        step = GraphedStep(*made, graphs) if captured else Step(*made)
        torch.manual_seed(3)
        losses = train(step, **options)
        results.append([*losses, *state(step), torch.get_rng_state()])
    return *results, graphs


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_steps_equal_the_plain_ones_bit_for_bit(name):
    plain, captured, graphs = both(Net(), OPTIMIZERS[name])
    assert_equal(plain, captured)
    n_small = N_STEPS // EPOCH
    assert graphs.n_eager == 2 * N_WARM_UP  # each shape
    assert graphs.n_captured == 2
    assert graphs.n_replayed == N_STEPS - graphs.n_eager
    assert n_small > N_WARM_UP


def test_a_changed_number_of_the_method_is_captured_again():
    plain, captured, graphs = both(
        Net(), OPTIMIZERS["sgd"], margin=lambda epoch: 0.25 * (epoch // 2)
    )
    assert_equal(plain, captured)
    assert graphs.n_captured == 3  # 0, 0.25, 0.5; the small batches stay eager


def test_a_graph_repeats_what_python_knew():
    """The stand-in shows what a graph does: the margin of the capture stays."""
    results = []
    for margins in ((0.0, 9.0), (0.0, 0.0)):
        net = Net()
        step = GraphedStep(*parts(net, OPTIMIZERS["sgd"](groups(net))), CpuGraphs())
        torch.manual_seed(3)
        for number in range(10):
            net.margin = margins[number >= 5]  # `begin_epoch` is not told
            step(batch(number), 1.0)
        results.append(state(step))
    assert_equal(*results)


def test_a_capture_executes_nothing():
    net = Net()
    step = GraphedStep(*parts(net, OPTIMIZERS["sgd"](groups(net))), CpuGraphs())
    for number in range(N_WARM_UP):
        step(batch(number), 1.0)
    before = [t.clone() for t in state(step)] + [torch.get_rng_state()]
    replay = step._captured(batch(N_WARM_UP), 1.0)
    assert_equal(before, [*state(step), torch.get_rng_state()])
    assert torch.isfinite(replay())


def test_values_of_the_device_cannot_be_read_in_a_capture():
    with pytest.raises(NotCapturable, match="waits"):
        CpuGraphs().capture(lambda: torch.ones(()) * torch.ones(()).item())


def test_rates_and_settings_outside_a_step_are_those_of_the_plain_one():
    net = Net()
    step = GraphedStep(*parts(net, OPTIMIZERS["adamw"](groups(net))), CpuGraphs())
    before = [{k: v for k, v in g.items() if k != "params"} for g in step.groups]
    for number in range(6):
        step(batch(number), 1.0)
    assert [{k: v for k, v in g.items() if k != "params"} for g in step.groups] == before


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("second", ["captured", "plain"])
def test_a_resumed_training_ends_with_the_same_bits(name, second):
    """After an epoch, and with or without graphs."""
    whole, _, _ = both(Net(), OPTIMIZERS[name])
    net = Net()
    first = GraphedStep(*parts(net, OPTIMIZERS[name](groups(net))), CpuGraphs())
    torch.manual_seed(3)
    losses = train(first, 0, 3 * EPOCH + 5)
    stored = copy.deepcopy((net.state_dict(), first.optimizer.optimizer.state_dict()))
    draws = torch.get_rng_state()
    other = Net()
    other.load_state_dict(stored[0])
    made = parts(other, OPTIMIZERS[name](groups(other)))
    restore(made[1].optimizer, stored[1])
    step = GraphedStep(*made, CpuGraphs()) if second == "captured" else Step(*made)
    torch.set_rng_state(draws)
    losses += train(step, 3 * EPOCH + 5)
    assert_equal(whole[:-1], [*losses, *state(step)])


def test_no_more_than_a_few_graphs_are_kept(monkeypatch):
    monkeypatch.setattr(graphed_step, "MAX_GRAPHS", 1)
    plain, captured, graphs = both(Net(), OPTIMIZERS["sgd"])
    assert_equal(plain, captured)
    assert graphs.n_captured == 1


def test_a_state_that_was_kept_on_the_cpu_moves_to_the_parameters():
    net = Net()
    optimizer = OPTIMIZERS["adam"](groups(net))
    parameter = net.head.bias
    optimizer.state[parameter] = {"step": torch.tensor(3.0)}
    GraphedStep(*parts(net, optimizer), CpuGraphs())
    assert optimizer.state[parameter]["step"].device == parameter.device


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Counts, "n_steps"), (Reads, "waits"), (Draws, "random numbers on the CPU")],
)
def test_a_step_that_a_graph_would_not_repeat_is_refused_before_it_is_captured(kind, message):
    net, graphs = kind(), CpuGraphs()
    step = GraphedStep(*parts(net, OPTIMIZERS["sgd"](groups(net))), graphs)
    with pytest.raises(Refused, match=message):
        for number in range(N_WARM_UP):
            step(batch(number), 1.0)
    assert graphs.n_captured == 0


def plain_sgd(net):
    return torch.optim.SGD(groups(net), lr=0.1, fused=False)


def several(accelerator):
    return SimpleNamespace(num_processes=2, scaler=None, device=accelerator.device)


def scaled(accelerator):
    return SimpleNamespace(num_processes=1, scaler=object(), device=accelerator.device)


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (plain_sgd, None, "optimizer.params.fused=true"),
        (lambda net: sharp(groups(net)), None, "optimizer=sgd, adam or adamw"),
        (lambda net: torch.optim.LBFGS(net.parameters()), None, "LBFGS cannot"),
        (lambda net: OPTIMIZERS["sgd"](groups(net)), several, "one process, and there are 2"),
        (lambda net: OPTIMIZERS["sgd"](groups(net)), scaled, "trainer.precision=no or bf16"),
    ],
)
def test_what_no_graph_can_hold_is_refused_at_the_start(make, change, message):
    net = Net()
    model, optimizer, accelerator = parts(net, make(net))
    accelerator = change(accelerator) if change else accelerator
    with pytest.raises(Refused, match=message) as error:
        GraphedStep(model, optimizer, accelerator, CpuGraphs())
    assert "trainer.cuda_graph=false" in str(error.value)


def test_without_the_option_the_step_is_the_plain_one():
    net = Net()
    step = step_for(*parts(net, OPTIMIZERS["sgd"](groups(net))))
    assert type(step) is Step
