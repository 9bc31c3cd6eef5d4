"""Batches depend on seed and epoch alone, and each is divided among the processes."""

import gc
import multiprocessing

import pytest
import torch

from vmf_embeddings.datasets.arrays import ArraySplit
from vmf_embeddings.datasets.augment import Augmentation
from vmf_embeddings.training.batches import SequentialBatches, TrainBatches
from vmf_embeddings.training.feature_split import FeatureSplit
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


@pytest.mark.parametrize("kind", ["train", "sequential"])
def test_workers_end_with_the_batches_that_they_read(kind):
    gc.collect()
    gc.disable()  # which would end them too, but wait five seconds for each
    before = set(multiprocessing.active_children())
    try:
        if kind == "train":
            batches = TrainBatches(FilesLike(), Countdown(), seed=3, num_workers=1)
            examples(batches, 0)
        else:
            batches = SequentialBatches(FilesLike(), torch.arange(7), 3, num_workers=1)
            list(batches)
        workers = set(multiprocessing.active_children()) - before
        assert workers
        del batches
        assert not workers & set(multiprocessing.active_children())
    finally:
        gc.enable()


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


def images():
    """Seven random images, cropped and mirrored at random."""
    pixels = torch.randint(256, (7, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    fields = {"identity": "seven", "n_classes": 3, "open_set": False}
    fields["original_labels"] = torch.arange(7) % 3
    crops = Augmentation(pad=2, flip=True)
    return ArraySplit(pixels.byte(), torch.arange(7) % 3, augmentation=crops, **fields)


SPLITS = {
    "files": FilesLike,
    "images in memory": images,
    "features of three copies": lambda: FeatureSplit(images(), torch.rand(3, 7, 2)),
    "without augmentation": lambda: FeatureSplit(images(), torch.rand(1, 7, 2)),
}


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("world", [2, 3])
def test_an_image_is_augmented_alike_for_any_number_of_processes(name, world):
    split = SPLITS[name]()
    for epoch in (0, 1):
        alone = [b["examples"] for b, _ in TrainBatches(split, Countdown(), seed=3).epoch(epoch)]
        assert_divided(alone, split, epoch, world)


def test_files_of_a_batch_that_joins_another_are_augmented_as_before():
    alone = examples(TrainBatches(FilesLike(), Countdown(), seed=3), 0)
    assert_divided([alone], FilesLike(), 0, 4)  # the last three of seven


def assert_divided(alone, split, epoch, world):
    together = [torch.zeros_like(batch) for batch in alone]
    for rank in range(world):
        batches = TrainBatches(split, Countdown(), seed=3, rank=rank, world=world)
        for batch, (own, _) in zip(together, batches.epoch(epoch), strict=True):
            batch[rank::world] = own["examples"]
    for one, many in zip(alone, together, strict=True):
        assert torch.equal(one, many)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("n", [1, 5, 7])
def test_a_pass_over_items_is_the_same_for_any_number_of_processes(name, world, n):
    split, order = SPLITS[name](), torch.arange(7)[:n]
    alone = torch.cat([b["examples"] for b in SequentialBatches(split, order, 2, seed=4)])
    for rank in range(min(world, n)):
        place = {"rank": rank, "world": world}
        batches = SequentialBatches(split, order, 2, seed=4, **place)
        found = [batch["examples"] for batch in batches]
        assert len(found) == len(batches)
        assert torch.equal(torch.cat(found), alone[rank::world])


def test_the_seeds_of_one_process_are_those_of_published_runs():
    (first, _), _ = TrainBatches(FilesLike(), Countdown(), seed=3).epoch(2)
    generator = torch.Generator().manual_seed(epoch_seed(3, 2, 1))
    seeds = torch.randint(2**62, (4,), generator=generator).tolist()
    for row, index, seed in zip(first["examples"], first["ids"], seeds, strict=True):
        torch.manual_seed(seed)
        assert torch.equal(row, torch.rand(3) + index)
