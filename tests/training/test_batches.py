"""Batches depend on seed and epoch alone, and each is divided among the processes."""

import pytest
import torch

from vmf_embeddings.training.batches import SequentialBatches, TrainBatches
from vmf_embeddings.training.seeding import epoch_seed


class FilesLike(torch.utils.data.Dataset):
    """Seven items whose augmentation is a random number, as a split that reads files has."""

    in_memory = False
    device = torch.device("cpu")
    labels = torch.arange(7) % 3

    def __len__(self):
        return 7

    def batch(self, indices, generator=None):
        return {"examples": torch.rand(len(indices), 3, generator=generator), "ids": indices}

    def __getitem__(self, index):
        return {"examples": torch.rand(3) + index, "ids": index}


class Countdown:
    """Two batches an epoch; which, depends on the epoch."""

    learns = pairs = False

    def __len__(self):
        return 2

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        order = (torch.arange(7) + self.epoch) % 7
        yield from order.split(4)


def examples(batches, epoch):
    return torch.cat([batch["examples"] for batch, _ in batches.epoch(epoch)])


def test_epoch_is_the_same_whatever_came_before_and_however_many_workers():
    straight = examples(TrainBatches(FilesLike(), Countdown(), seed=3), 1)
    torch.manual_seed(99)
    history = TrainBatches(FilesLike(), Countdown(), seed=3, num_workers=2)
    examples(history, 0)
    assert torch.equal(examples(history, 1), straight)


def test_local_batches_are_weighted_so_that_their_mean_is_that_of_the_global_batch():
    for in_memory in (False, True):
        sums = torch.zeros(2)
        for rank in (0, 1):
            split = FilesLike()
            split.in_memory = in_memory
            batches = TrainBatches(split, Countdown(), seed=3, rank=rank, world=2, num_workers=2)
            got, whole = [], []
            for batch, weight in batches.epoch(0):
                got.append((batch["ids"], weight))
                whole += batch["all_ids"].tolist()
            assert whole == split.labels.tolist()
            assert [weight for _, weight in got] == [1.0, 4 / 3 if rank == 0 else 2 / 3]
            sums += torch.tensor([ids.double().mean() * weight / 2 for ids, weight in got])
        assert sums.tolist() == pytest.approx([1.5, 5.0])


def test_workers_stay_from_one_pass_to_the_next():
    passes = SequentialBatches(FilesLike(), torch.arange(7), 3, num_workers=1)
    first = [batch["ids"].tolist() for batch in passes]
    pool = [worker.pid for worker in passes.loader._iterator._workers]
    assert [batch["ids"].tolist() for batch in passes] == first
    assert [worker.pid for worker in passes.loader._iterator._workers] == pool


def test_epochs_and_seeds_draw_different_augmentations():
    first, second = (examples(TrainBatches(FilesLike(), Countdown(), seed=s), 0) for s in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first.floor(), second.floor())


def test_reading_items_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    examples(TrainBatches(FilesLike(), Countdown(), seed=3), 0)
    assert torch.equal(torch.rand(2), expected)


def test_sequential_batches_keep_order_and_reach_every_item():
    ids = [batch["ids"] for batch in SequentialBatches(FilesLike(), torch.arange(7), 3)]
    assert [len(i) for i in ids] == [3, 3, 1]
    assert torch.cat(ids).tolist() == list(range(7))


def test_epoch_seeds_do_not_collide():
    seeds = {epoch_seed(s, e, r) for s in range(20) for e in range(20) for r in range(4)}
    assert len(seeds) == 20 * 20 * 4


def test_pass_over_augmented_items_is_the_same_whatever_the_workers():
    order = torch.arange(7)
    passes = [
        torch.cat([b["examples"] for b in SequentialBatches(FilesLike(), order, 3, n, seed=4)])
        for n in (0, 2)
    ]
    assert torch.equal(*passes)
