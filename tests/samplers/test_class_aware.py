"""Laws of the class-aware sampler, and the reference's counts."""

import numpy as np
import pytest
import torch

from tests.conftest import cases, load_golden
from vmf_embeddings.samplers.class_aware import ClassAwareSampler, shuffles

GOLDEN = load_golden("class_aware_sampler")
SIZES = (50, 20, 7, 3, 1)
LABELS = torch.repeat_interleave(torch.arange(5), torch.tensor(SIZES))
LABELS = LABELS[torch.randperm(81, generator=torch.Generator().manual_seed(0))]


def sampler(labels=LABELS, *, batch_size=20, n_samples=4, epoch_length="floor", seed=1):
    return ClassAwareSampler(
        labels, batch_size=batch_size, n_samples=n_samples, epoch_length=epoch_length, seed=seed
    )


def epoch_of(drawn, epoch):
    drawn.set_epoch(epoch)
    return torch.cat(list(drawn)).numpy()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_epoch_is_as_many_full_batches_as_the_data_give():
    assert [len(batch) for batch in sampler()] == [20] * 4 and len(sampler()) == 4
    assert [len(batch) for batch in sampler(batch_size=100)] == [100]


def test_the_length_of_the_reference_is_the_largest_class_for_every_class():
    drawn = sampler(epoch_length="reference_sampler", batch_size=60)
    assert [len(batch) for batch in drawn] == [60, 60, 60, 60, 10] and len(drawn) == 5
    alone = sampler(epoch_length="reference_sampler", batch_size=83)
    assert [len(batch) for batch in alone] == [83, 83, 84] and len(alone) == 3


def test_each_class_that_comes_gives_its_images_in_a_row():
    for batch in sampler():
        blocks = LABELS[batch].reshape(-1, 4)
        assert (blocks == blocks[:, :1]).all()


def test_a_pass_over_the_classes_has_each_of_them_once():
    drawn = np.concatenate([epoch_of(sampler(), e) for e in range(10)])  # 800 = 40 passes
    visits = LABELS.numpy()[drawn].reshape(-1, 5, 4)[:, :, 0]
    assert (np.sort(visits, axis=1) == np.arange(5)).all()
    assert len(np.unique(visits, axis=0)) > 20


def test_classes_are_equally_frequent_up_to_one_visit():
    odd = sampler(batch_size=27)  # an epoch of 81 images ends inside a visit
    for epoch in range(5):
        counts = np.bincount(LABELS.numpy()[epoch_of(odd, epoch)], minlength=5)
        assert counts.max() - counts.min() <= 2 * 4


def test_images_of_a_class_are_equally_frequent_through_all_epochs():
    """Lists go on: no epoch boundary makes an image come twice before the others have come."""
    drawn = sampler()  # 80 images an epoch: 20 visits of 4, none cut
    counts = np.zeros(len(LABELS), dtype=int)
    for epoch in range(13):
        counts += np.bincount(epoch_of(drawn, epoch), minlength=len(LABELS))
        for k in range(5):
            of_class = counts[LABELS.numpy() == k]
            assert of_class.max() - of_class.min() <= 1


def test_epochs_go_on_where_the_last_one_stopped():
    """One long epoch is the same sequence as many short ones."""
    short = sampler(batch_size=20)
    parts = np.concatenate([epoch_of(short, e) for e in range(3)])
    long = sampler(batch_size=20)
    long.n_images = 240
    assert np.array_equal(epoch_of(long, 0), parts)


def test_seed_and_epoch_decide_everything_and_a_saved_state_restores_them():
    one, two = sampler(), sampler()
    assert same(one, one) and same(one, two)
    one.set_epoch(3)
    assert not same(one, two)
    two.load_state_dict(one.state_dict())
    assert same(one, two)
    assert not same(sampler(seed=2), sampler())


@pytest.mark.parametrize("world", (2, 3))
def test_shares_of_processes_make_up_the_batch(world):
    batch = next(iter(sampler()))
    shares = [next(iter(sampler()))[rank::world] for rank in range(world)]
    assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())


@pytest.mark.parametrize("case", cases(GOLDEN))
def test_counts_are_those_of_the_reference(case):
    golden = {k.split("/")[1]: GOLDEN[k] for k in GOLDEN if k.startswith(f"{case}/")}
    labels, n = golden["labels"], int(golden["num_samples_cls"])
    drawn = sampler(labels, batch_size=64, n_samples=n, epoch_length="reference_sampler")
    whole_passes = golden["epoch_length"] % (len(golden["class_counts"]) * n) == 0
    for epoch in range(int(golden["n_epochs"])):
        indices = epoch_of(drawn, epoch)
        assert len(indices) == golden["epoch_length"]
        per_class = np.bincount(labels[indices])
        if not whole_passes:
            assert abs(per_class - golden["draws_per_class"][epoch]).max() <= 3 * n
            continue
        assert np.array_equal(per_class, golden["draws_per_class"][epoch])
        per_image = np.bincount(indices, minlength=len(labels))
        of_class = [per_image[labels == k] for k in range(len(per_class))]
        if epoch == 0:  # later epochs begin inside a class's list, where chance decides
            assert [x.min() for x in of_class] == golden["draws_per_sample_min"][0].tolist()
            assert [x.max() for x in of_class] == golden["draws_per_sample_max"][0].tolist()
            distinct = [np.count_nonzero(x) for x in of_class]
            assert distinct == golden["distinct_samples_drawn"][0].tolist()


def test_any_part_of_the_table_of_shuffles_is_the_same():
    table = shuffles((5, 0), 7, 0, 400)
    assert (np.sort(table, axis=1) == np.arange(7)).all()
    assert np.array_equal(shuffles((5, 0), 7, 140, 300), table[140:300])
    assert not np.array_equal(shuffles((6, 0), 7, 0, 400), table)
    counts = np.stack([np.bincount(column, minlength=7) for column in table.T])
    assert abs(counts - 400 / 7).max() < 5 * (400 / 7) ** 0.5  # 5 standard errors


def test_an_empty_class_is_refused():
    with pytest.raises(ValueError, match=r"1 of 4 classes have no training image \(first: class 2"):
        sampler(torch.tensor([0, 1, 3]))


@pytest.mark.parametrize("key", ["batch_size", "n_samples"])
def test_counts_below_one_are_refused_by_name(key):
    with pytest.raises(ValueError, match=f"sampler.{key} must be >= 1, got 0"):
        sampler(**{key: 0})


def test_an_unknown_length_is_refused():
    with pytest.raises(ValueError, match="epoch_length must be one of"):
        sampler(epoch_length="forever")
