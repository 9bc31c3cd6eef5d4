"""Batches depend on seed and epoch alone, and processes share each of them."""

import torch

from vmf_embeddings.training.batches import TrainBatches, sequential_batches
from vmf_embeddings.training.seeding import epoch_seed


class FilesLike(torch.utils.data.Dataset):
    """Seven items whose augmentation is a random number, as a split that reads files has."""

    in_memory = False

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {"examples": torch.rand(3) + index, "ids": index}


class Countdown:
    """Two batches an epoch; which, depends on the epoch."""

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
    ids = [batch["ids"] for batch in sequential_batches(FilesLike(), torch.arange(7), 3)]
    assert [len(i) for i in ids] == [3, 3, 1]
    assert torch.cat(ids).tolist() == list(range(7))


def test_epoch_seeds_do_not_collide():
    seeds = {epoch_seed(s, e, r) for s in range(20) for e in range(20) for r in range(4)}
    assert len(seeds) == 20 * 20 * 4


def test_pass_over_augmented_items_is_the_same_whatever_the_workers():
    order = torch.arange(7)
    passes = [
        torch.cat([b["examples"] for b in sequential_batches(FilesLike(), order, 3, n, seed=4)])
        for n in (0, 2)
    ]
    assert torch.equal(*passes)
