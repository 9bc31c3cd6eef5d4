"""Two processes over gloo compute what one process computes on the same global batch."""

import pytest
import torch
from torch import nn

from vmf_embeddings.samplers.base import BatchSampler
from vmf_embeddings.training.batch_statistics import share_batch_statistics
from vmf_embeddings.training.batches import TrainBatches
from vmf_embeddings.training.embed import embed_split, local_batches
from vmf_embeddings.training.optimizers import sharpness_aware
from vmf_embeddings.training.processes import gather_rows, start
from vmf_embeddings.training.step import step_for

ROWS = 7  # odd: the two processes have 4 and 3 rows


class Rows(torch.utils.data.Dataset):
    """Rows in memory."""

    in_memory = True
    device = torch.device("cpu")

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.x = torch.randn(ROWS, 3, 6, 6, generator=draw)
        self.labels = torch.arange(ROWS) % 4

    def batch(self, indices, generator=None):
        return {"examples": self.x[indices], "ids": self.labels[indices]}


class OneBatch(BatchSampler):
    """All rows at once."""

    def __len__(self):
        return 1

    def __iter__(self):
        yield torch.arange(ROWS)


class Threes(BatchSampler):
    """Batches of 3, 3 and 1 rows."""

    def __len__(self):
        return 3

    def __iter__(self):
        yield from torch.arange(ROWS).split(3)


class Net(nn.Module):
    """Convolution and both kinds of batch statistics under a cross-entropy."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)
        )
        self.norm = nn.BatchNorm1d(4)

    def forward(self, batch, *, perturb=False):
        logits = self.layers(batch["examples"])
        if not perturb:  # a first pass may leave parameters out
            logits = self.norm(logits)
        return nn.functional.cross_entropy(logits, batch["ids"])


def gradients(rank, world):
    net = Net().double()
    accelerator = start(cpu=True)
    if world > 1:
        share_batch_statistics(net)
    model = accelerator.prepare(net)
    batches = TrainBatches(Rows(), OneBatch(Rows().labels, seed=0), seed=0, rank=rank, world=world)
    for batch, weight in batches.epoch(0):
        batch["examples"] = batch["examples"].double()
        accelerator.backward(model(batch) * weight)
    return {
        **{name: p.grad.clone() for name, p in net.named_parameters()},
        **{name: b.clone().double() for name, b in net.named_buffers()},
    }


def after_sharpness_aware_steps(rank, world):
    net = Net().double()
    accelerator = start(cpu=True)
    if world > 1:
        share_batch_statistics(net)
    optimizer = sharpness_aware(
        [{"params": list(net.parameters())}], base="sgd", rho=0.5, adaptive=False,
        batch_statistics="once", lr=0.1, momentum=0.9, nesterov=False, betas=(0.9, 0.999),
        weight_decay=0.0, fused=True,
    )  # fmt: skip
    step = step_for(*accelerator.prepare(net, optimizer), accelerator)
    batches = TrainBatches(Rows(), OneBatch(Rows().labels, seed=0), seed=0, rank=rank, world=world)
    for epoch in range(2):
        for batch, weight in batches.epoch(epoch):
            step(batch | {"examples": batch["examples"].double()}, weight)
    return {name: value.double() for name, value in net.state_dict().items()}


class FewRows(Rows):
    """The first rows only, as a split."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def __len__(self):
        return self.n


class Flat(nn.Module):
    """Embeds a row as its first numbers."""

    def embed(self, images):
        return images.flatten(1)[:, :5]


def embedded(rank, world):
    """Embeddings of splits of 1, 2, 4 and 7 items, in batches of 2."""
    accelerator, found = start(cpu=True), []
    for n in (1, 2, 4, 7):
        own = local_batches(FewRows(n), accelerator, batch_size=2, num_workers=0)
        found.append(embed_split(Flat(), own, accelerator))
    return found


def epoch_of_three_batches(rank, world):
    """Labels of the global batches, and the rows of this process in each, for seven in threes."""
    batches = TrainBatches(Rows(), Threes(Rows().labels, seed=0), seed=0, rank=rank, world=world)
    drawn = list(batches.epoch(0))
    return [len(batches), *((len(b["ids"]), b["all_ids"].tolist(), w) for b, w in drawn)]


def of_process(rank, world, folder):
    return {
        "embedded": embedded(rank, world),
        "threes": epoch_of_three_batches(rank, world),
        "gradients": gradients(rank, world),
        "rows": gather_rows(torch.arange(rank, 5, world) * 10, rank, world, 5),
        "sharpness_aware": after_sharpness_aware_steps(rank, world),
    }


def assert_alike(got, expected):
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-6, atol=1e-8, msg=name)


def test_gradients_and_batch_statistics_are_those_of_one_process(of_two_processes):
    expected = gradients(0, 1)
    for each in of_two_processes["test_processes"]:
        assert_alike(each["gradients"], expected)


def test_sharpness_aware_steps_are_those_of_one_process(of_two_processes):
    expected = after_sharpness_aware_steps(0, 1)
    for each in of_two_processes["test_processes"]:
        assert_alike(each["sharpness_aware"], expected)


def test_splits_smaller_than_the_number_of_processes_are_embedded_whole(of_two_processes):
    for each in of_two_processes["test_processes"]:
        for n, rows in zip((1, 2, 4, 7), each["embedded"], strict=True):
            assert torch.equal(rows, Rows().x[:n].flatten(1)[:, :5])


def test_a_last_batch_smaller_than_the_number_of_processes_joins_the_one_before(of_two_processes):
    labels = Rows().labels.tolist()
    for rank, each in enumerate(of_two_processes["test_processes"]):
        n, first, second = each["threes"]
        assert n == 2
        assert first == (2 - rank, labels[:3], (2 - rank) * 2 / 3)
        assert second == (2, labels[3:], 1.0)


def test_rows_come_together_in_order_without_padding(of_two_processes):
    for each in of_two_processes["test_processes"]:
        assert each["rows"].tolist() == [0, 10, 20, 30, 40]
        for n, rows in zip((1, 2, 4, 7), each["embedded"], strict=True):
            assert torch.equal(rows, Rows().x[:n].flatten(1)[:, :5])


@pytest.mark.slow
def test_more_processes_do_too(of_several):
    for each in of_several["test_processes"]:
        assert_alike(each["gradients"], gradients(0, 1))
        assert_alike(each["sharpness_aware"], after_sharpness_aware_steps(0, 1))
        assert each["rows"].tolist() == [0, 10, 20, 30, 40]
        for n, rows in zip((1, 2, 4, 7), each["embedded"], strict=True):
            assert torch.equal(rows, Rows().x[:n].flatten(1)[:, :5])
