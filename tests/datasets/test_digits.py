"""The digits that need no download."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import default_collate

from vmf_embeddings.datasets.digits import Digits, DigitsOpen, read_digits


@pytest.fixture(scope="module")
def closed():
    return Digits(margin_warmup_epochs=5, views=1)


@pytest.fixture(scope="module")
def opened():
    return DigitsOpen(margin_warmup_epochs=5)


def test_splits_are_disjoint_and_complete(closed):
    parts = [closed.split(name) for name in ("train", "valid", "test")]
    images = torch.cat([part.images for part in parts]).flatten(1)
    assert len(images) == 1797
    whole = read_digits()[0].flatten(1)
    assert torch.equal(images.unique(dim=0), whole.unique(dim=0))


def test_every_class_is_in_every_split_in_proportion(closed):
    total = np.bincount(load_digits().target)
    for name, share in (("train", 0.8 * 0.85), ("valid", 0.8 * 0.15), ("test", 0.2)):
        counts = closed.split(name).class_counts.numpy()
        assert np.abs(counts - share * total).max() <= 1.5


def test_images_are_28x28_in_the_unit_interval_and_look_like_their_originals(closed):
    item = closed.split("train")[3]["examples"]
    assert item.shape == closed.image_shape
    assert item.dtype == torch.float32
    images = read_digits()[0].float() / 255
    assert images.max() == 1.0
    small = torch.nn.functional.adaptive_avg_pool2d(images[:, 0], 8).flatten(1)
    raw = torch.from_numpy(load_digits().data).float()
    small, raw = (torch.nn.functional.normalize(x - x.mean(1, keepdim=True)) for x in (small, raw))
    nearest = (small @ raw.T).argmax(1)
    assert (nearest == torch.arange(1797)).float().mean() > 0.99  # a few digits are near twins


def test_items_and_batches_agree(closed):
    split = closed.split("valid")
    one = default_collate([split[i] for i in (5, 0, 7)])
    other = split.batch(torch.tensor([5, 0, 7]))
    assert one.keys() == other.keys() == {"examples", "ids"}
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_splits_are_cached_and_the_same_in_every_object(closed):
    assert closed.split("train") is closed.split("train")
    again = Digits(margin_warmup_epochs=0, views=1).split("train")
    assert again.identity == closed.split("train").identity
    assert torch.equal(again.images, closed.split("train").images)
    assert len({closed.split(name).identity for name in ("train", "valid", "test")}) == 3


def test_open_set_tests_on_new_classes(opened):
    train, valid, test = (opened.split(name) for name in ("train", "valid", "test"))
    assert opened.open_set
    assert set(train.original_labels.tolist()) == set(valid.original_labels.tolist()) == {*range(5)}
    assert set(test.original_labels.tolist()) == {*range(5, 10)}
    assert test.labels.unique().tolist() == list(range(5))
    assert test.class_names == ["5", "6", "7", "8", "9"]
    assert train.n_classes == 5
    assert len(train) + len(valid) + len(test) == 1797


def test_open_set_items_carry_their_original_class(opened):
    test = opened.split("test")
    assert test[11]["original_ids"] == test[11]["ids"] + 5
    assert torch.equal(test.batch(torch.arange(4))["original_ids"], test.original_labels[:4])


def test_training_and_validation_images_of_the_open_set_are_disjoint(opened):
    train, valid = (opened.split(name).images.flatten(1) for name in ("train", "valid"))
    assert len(torch.cat([train, valid]).unique(dim=0)) == len(train) + len(valid)


def test_unknown_splits_are_refused(closed):
    with pytest.raises(ValueError, match="unknown split 'dev'; known: train, valid, test"):
        closed.split("dev")


def test_negative_warm_up_is_refused():
    with pytest.raises(ValueError, match="margin_warmup_epochs must be >= 0, got -1"):
        Digits(margin_warmup_epochs=-1, views=1)
